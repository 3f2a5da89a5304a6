"""Reads one file per case and prints the fields that each reader finds.

    read.py FORMAT DIRECTORY

For URIs and JDBC URLs, FORMAT names the engine: uri-ENGINE, jdbc-ENGINE. The file of a case is DIRECTORY/CASE/db.EXTENSION. Each printed line is a JSON object: `reader`, `case`, and either `fields`,
with values in base64, or `error`.
"""
import base64
import json
import sys
from pathlib import Path

import connections


def plain_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def python_dotenv(path):
    import dotenv

    return dotenv.dotenv_values(path)


def pyyaml(loader):
    import yaml

    return lambda path: yaml.load(path.read_bytes(), Loader=getattr(yaml, loader))


def readers(format):
    if format == "json":
        yield "Python json", plain_json
    elif "-" in format:
        yield from connections.readers(format)
    elif format == "dotenv":
        yield "python-dotenv", python_dotenv
    elif format == "yaml":
        yield "PyYAML", pyyaml("SafeLoader")
        yield "PyYAML with libyaml", pyyaml("CSafeLoader")


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
