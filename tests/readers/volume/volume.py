"""Prints the files that Python's directory walks and pydantic-settings find.

    python volume.py DIRECTORY…

Each line is a JSON object: `reader`, `directory`, and either `files`, with the text of each, or `error`. A walk's `files` are the entries
that it does not treat as directories.
"""

import glob
import json
import os
import sys
from pathlib import Path

from pydantic_settings import BaseSettings


class Settings(BaseSettings):
    password: str | None = None
    username: str | None = None


def walk(directory, follow):
    for parent, directories, files in os.walk(directory, followlinks=follow):
        yield from (os.path.join(parent, name) for name in files)
        # os.walk lists links to directories among the directories, also where it does not follow them.
        if not follow:
            links = (os.path.join(parent, name) for name in directories)
            yield from (path for path in links if os.path.islink(path))


def texts(directory, paths):
    return {
        os.path.relpath(path, directory): Path(path).read_text() if os.path.isfile(path) else "" for path in paths
    }


def settings(directory):
    read = Settings(_secrets_dir=directory).model_dump()
    return {name: text for name, text in read.items() if text is not None}


READERS = {
    "os.walk": lambda at: texts(at, walk(at, follow=False)),
    "os.walk, links followed": lambda at: texts(at, walk(at, follow=True)),
    "glob": lambda at: texts(at, glob.glob(os.path.join(at, "*"))),
    "glob, recursive": lambda at: texts(at, filter(os.path.isfile, glob.glob(os.path.join(at, "**/*"), recursive=True))),
    "Path.rglob": lambda at: texts(at, filter(os.path.isfile, Path(at).rglob("*"))),
    "pydantic-settings": settings,
}

for directory in sys.argv[1:]:
    for reader, read in READERS.items():
        line = {"reader": reader, "directory": directory}
        try:
            line["files"] = read(directory)
        except Exception as error:
            line["error"] = repr(error)
        print(json.dumps(line))
