"""Parses URIs and JDBC URLs with Python libraries and by documented grammars. Each function returns the parts of a
connection under podcreds' field names.
"""
from urllib.parse import parse_qsl, unquote, unquote_plus, urlsplit


def text(path):
    return path.read_bytes().decode("utf-8")


def fields(username, password, host, port, database, options):
    parts = dict(username=username, password=password, host=host, port=str(port), database=database)
    return {name: value for name, value in {**parts, **options}.items() if value is not None}


def urllib(path):
    uri = urlsplit(text(path))
    options = dict(parse_qsl(uri.query, keep_blank_values=True, strict_parsing=True))
    # The path of SQL Server's URI is an instance.
    database = options.pop("database") if uri.scheme == "sqlserver" else unquote(uri.path[1:])
    return fields(unquote(uri.username), unquote(uri.password), uri.hostname, uri.port, database, options)


PORTS = dict(postgresql=5432, mysql=3306, mongodb=27017, amqp=5672)


def parts(path):
    """The parts of a URL that may lack password, port and database."""
    uri = urlsplit(text(path))
    found = dict(username=unquote(uri.username), host=uri.hostname, port=str(uri.port or PORTS[uri.scheme]))
    if uri.password is not None:
        found["password"] = unquote(uri.password)
    if uri.path[1:]:
        found["database"] = unquote(uri.path[1:])
    return found


def sqlalchemy(path):
    from sqlalchemy.engine import make_url

    url = make_url(text(path))
    return fields(url.username, url.password, url.host, url.port, url.database, dict(url.query))


def dj_database_url(path):
    import dj_database_url

    found = dj_database_url.parse(text(path))
    parts = (found[name] for name in ["USER", "PASSWORD", "HOST", "PORT", "NAME"])
    return fields(*parts, found.get("OPTIONS", {}))


def pymongo(path):
    from pymongo.uri_parser import parse_uri

    found = parse_uri(text(path), warn=False)
    ((host, port),) = found["nodelist"]
    return fields(found["username"], found["password"], host, port, found["database"], dict(found["options"]))


def jdbc(decode):
    """jdbc:ENGINE://HOST:PORT/DATABASE?NAME=VALUE&… with values decoded like this."""

    def read(path):
        _, _, rest = text(path).partition("//")
        authority, _, rest = rest.partition("/")
        database, _, query = rest.partition("?")
        host, _, port = authority.partition(":")
        options = dict(pair.split("=", 1) for pair in query.split("&"))
        options = {decode(name): decode(value) for name, value in options.items()}
        return fields(options.pop("user"), options.pop("password"), host, port, decode(database), options)

    return read


def jdbc_sqlserver(path):
    """jdbc:sqlserver://HOST:PORT;NAME={VALUE};… with } doubled in values.
    https://learn.microsoft.com/en-us/sql/connect/jdbc/building-the-connection-url
    """
    authority, _, rest = text(path).removeprefix("jdbc:sqlserver://").partition(";")
    host, _, port = authority.partition(":")
    options = {}
    while rest:
        name, _, rest = rest.partition("={")
        value = ""
        while True:
            piece, closed, rest = rest.partition("}")
            if not closed:
                raise ValueError("a brace is open")
            value += piece
            if not rest.startswith("}"):
                break
            value, rest = value + "}", rest[1:]
        if rest and not rest.startswith(";"):
            raise ValueError("no semicolon behind a brace")
        options[name], rest = value, rest[1:]
    parts = options.pop("user"), options.pop("password"), host, port, options.pop("databaseName")
    return fields(*parts, options)


def readers(format):
    kind, engine = format.split("-", 1)
    if kind == "scheme":
        yield ("SQLAlchemy", sqlalchemy) if "+" in engine else ("dj-database-url", dj_database_url)
        return
    if kind == "url":
        yield "urllib", parts
        return
    if kind == "jdbc":
        yield {
            "postgresql": ("the grammar of PgJDBC", jdbc(unquote_plus)),
            "mysql": ("the grammar of Connector/J", jdbc(unquote)),
            "mariadb": ("the grammar of MariaDB's", jdbc(lambda value: value)),
            "sqlserver": ("the grammar of SQL Server's", jdbc_sqlserver),
        }[engine]
        return
    yield "urllib", urllib
    if engine in ["postgresql", "mysql", "mariadb", "clickhouse"]:
        yield "SQLAlchemy", sqlalchemy
    if engine in ["postgresql", "mysql"]:
        yield "dj-database-url", dj_database_url
    if engine == "mongodb":
        yield "pymongo", pymongo
