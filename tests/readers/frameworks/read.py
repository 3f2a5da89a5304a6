"""Runs the blocks of one application per case, and prints the credentials with which it connects.

    read.py django|sqlalchemy|alembic DIRECTORY

The blocks of the page are DIRECTORY/CASE/INDEX.python. Each printed line is a JSON object: `reader`, `case`, and either `fields`, with
values in base64, or `error`.
"""
import base64
import json
import os
import sys
from pathlib import Path


def rotate(case):
    (case / "podcreds").rename(case / "earlier")
    (case / "rotated").rename(case / "podcreds")


def django(case):
    """The parameters that libpq has after it has read the service file. Nothing listens at the host."""
    from django.conf import settings
    from django.db.utils import ConnectionHandler
    from psycopg import pq
    from psycopg.conninfo import make_conninfo

    names = {}
    exec((case / "0.python").read_text(), names)
    if not settings.configured:
        settings.configure()
    rotate(case)
    wrapper = ConnectionHandler(names["DATABASES"])["default"]
    parameters = wrapper.get_connection_params()
    for setting in ["context", "cursor_factory", "prepare_threshold"]:
        parameters.pop(setting, None)
    # An address and a port of loopback, so that libpq neither looks up the name nor waits.
    connection = pq.PGconn.connect_start(make_conninfo(**parameters, hostaddr="127.0.0.1", port=9).encode())
    found = {"username": connection.user, "password": connection.password, "host": connection.host}
    connection.finish()
    return {name: value.decode() for name, value in found.items()}


class Captured(Exception):
    """The arguments for the driver."""


def capture(parameters):
    password = parameters.get("password", "")
    raise Captured({"username": parameters["user"], "password": password, "host": parameters["host"]})


def sqlalchemy(case):
    from sqlalchemy import event

    names = {}
    exec((case / "0.python").read_text(), names)
    rotate(case)
    event.listen(names["engine"], "do_connect", lambda dialect, record, arguments, parameters: capture(parameters))
    try:
        names["engine"].connect()
    except Captured as captured:
        return captured.args[0]


ENV = """
from alembic import context
{}
with connectable.connect() as connection:
    context.configure(connection=connection)
"""


def alembic(case):
    from alembic import command
    from alembic.config import Config
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    scripts = case / "migrations"
    scripts.mkdir()
    (scripts / "env.py").write_text(ENV.format(sorted(case.glob("*.python"))[-1].read_text()))
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    if not event.contains(Engine, "do_connect", connecting):
        event.listen(Engine, "do_connect", connecting)
    try:
        command.current(config)
    except Captured as captured:
        return captured.args[0]


def connecting(dialect, record, arguments, parameters):
    capture(parameters)


def main(name, root):
    for case in sorted(Path(root).iterdir()):
        line = {"reader": name, "case": case.name}
        try:
            fields = globals()[name](case)
            line["fields"] = {key: base64.b64encode(value.encode()).decode() for key, value in fields.items()}
        except Exception as error:
            line["error"] = f"{type(error).__name__}: {error}"
        print(json.dumps(line))


main(*sys.argv[1:])
