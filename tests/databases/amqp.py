"""Defines users of RabbitMQ, and logs in as them.

amqp.py define < USERS      prints definitions of these users (a JSON list of objects with name, password, database)
amqp.py login FILE…         prints, for the URI in each file, the name of the logged-in user as hexadecimal digits of its
                                UTF-8, or the name of the exception
"""
import base64
import hashlib
import json
import os
import sys
from pathlib import Path


def define(users):
    # https://www.rabbitmq.com/docs/passwords#this-is-the-algorithm
    def hashed(password):
        salt = os.urandom(4)
        return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()

    everything = {"configure": ".*", "read": ".*", "write": ".*"}
    return {
        "vhosts": [{"name": name} for name in sorted({user["database"] for user in users})],
        "users": [
            {
                "name": user["name"],
                "password_hash": hashed(user["password"]),
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": "",
            }
            for user in users
        ],
        "permissions": [{"user": user["name"], "vhost": user["database"], **everything} for user in users],
    }


def login(uri):
    import pika

    parameters = pika.URLParameters(uri)
    pika.BlockingConnection(parameters).close()
    return parameters.credentials.username.encode().hex()


def main(command, *files):
    if command == "define":
        print(json.dumps(define(json.load(sys.stdin))))
    for file in files:
        try:
            print(login(Path(file).read_text(encoding="utf-8")))
        except Exception as error:
            print(type(error).__name__)


main(*sys.argv[1:])
