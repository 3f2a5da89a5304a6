"""Reads one file per case and prints the fields that each reader finds.

    read.py FORMAT DIRECTORY

For URIs and JDBC URLs, FORMAT names the engine or the scheme: uri-ENGINE, scheme-SCHEME, jdbc-ENGINE. `dotenv-lines` is `dotenv` without line breaks in values, and
`dynaconf` is `json` or `yaml`, and
`django-environ` is `dotenv` or `json`. `ini` has the field VALUE in the section of alembic. The file of a case is DIRECTORY/CASE/db.EXTENSION. Each printed line is a JSON object: `reader`, `case`, and either `fields`,
with values in base64, or `error`.
"""
import base64
import json
import os
import sys
from pathlib import Path

import connections


def plain_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def python_dotenv(path):
    import dotenv

    return dotenv.dotenv_values(path)


def decouple(path):
    from decouple import RepositoryEnv

    return RepositoryEnv(path).data


def starlette(path):
    from starlette.config import Config

    return Config(path).file_values


def django_environ(path):
    """Variables from a dotenv file, or as another program has set them."""
    import environ

    os.environ.clear()
    if path.suffix == ".env":
        environ.Env.read_env(path)
    else:
        os.environ.update(plain_json(path))
    return {name: environ.Env().str(name) for name in os.environ}


def dynaconf(cast):
    def read(path):
        from dynaconf import Dynaconf

        os.environ["AUTO_CAST_FOR_DYNACONF"] = cast
        loaded = Dynaconf(settings_files=[str(path)], environments=False)
        return {name: loaded[name] for name in plain_names(path)}

    return read


def plain_names(path):
    """The names in the file itself: dynaconf adds its own settings and changes the case."""
    return plain_json(path) if path.suffix == ".json" else pyyaml("SafeLoader")(path)


def pyyaml(loader):
    import yaml

    return lambda path: yaml.load(path.read_bytes(), Loader=getattr(yaml, loader))


def configparser(path):
    from configparser import ConfigParser

    parser = ConfigParser()
    parser.read(path, encoding="utf-8")
    return {"VALUE": parser["alembic"]["VALUE"]}


def alembic(path):
    from alembic.config import Config

    return {"VALUE": Config(path).get_main_option("VALUE")}


def readers(format):
    if format == "json":
        yield "Python json", plain_json
    elif format == "dotenv":
        yield "python-dotenv", python_dotenv
    elif format == "dotenv-lines":
        yield "python-decouple", decouple
        yield "starlette", starlette
    elif format == "django-environ":
        yield "django-environ", django_environ
    elif format == "dynaconf":
        yield "dynaconf", dynaconf("true")
        yield "dynaconf without casts", dynaconf("false")
    elif format == "ini":
        yield "configparser", configparser
        yield "alembic", alembic
    elif format == "yaml":
        yield "PyYAML", pyyaml("SafeLoader")
        yield "PyYAML with libyaml", pyyaml("CSafeLoader")
    else:
        yield from connections.readers(format)


def encoded(text):
    if not isinstance(text, str):
        raise TypeError(f"{type(text).__name__} instead of str")
    return base64.b64encode(text.encode("utf-8", "surrogatepass")).decode("ascii")


def main(format, directory):
    for name, read in readers(format):
        for case in sorted(Path(directory).iterdir()):
            line = {"reader": name, "case": case.name}
            try:
                (path,) = case.iterdir()
                fields = read(path)
                for key in fields:
                    encoded(key)
                line["fields"] = {key: encoded(value) for key, value in fields.items()}
            except Exception as error:
                line["error"] = f"{type(error).__name__}: {error}"
            print(json.dumps(line))


main(*sys.argv[1:])
