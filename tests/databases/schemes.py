"""Logs in with SQLAlchemy, and prints, for the URI in each file, the name of the logged-in user as hexadecimal digits of its
UTF-8, or the name of the exception.

    schemes.py FILE…
"""
import asyncio
import sys
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

QUERY = text("SELECT current_user")


async def log_in_async(uri):
    async with create_async_engine(uri, poolclass=NullPool).connect() as connection:
        return (await connection.execute(QUERY)).scalar_one()


def log_in(uri):
    if "+asyncpg://" in uri:
        return asyncio.run(log_in_async(uri))
    with create_engine(uri, poolclass=NullPool).connect() as connection:
        return connection.execute(QUERY).scalar_one()


for file in sys.argv[1:]:
    try:
        print(log_in(Path(file).read_bytes().decode()).encode().hex())
    except Exception as error:
        print(type(error).__name__)
