"""Reads the key store and trust store of each case with `cryptography`.

    keystores.py DIRECTORY

The files and the output are those of KeyStores.java, without `peer`.
"""
import base64
import json
import sys
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, pkcs12


def read(directory):
    password = (directory / "password").read_bytes()
    keys = pkcs12.load_pkcs12((directory / "keystore.p12").read_bytes(), password)
    trusted = pkcs12.load_pkcs12((directory / "truststore.p12").read_bytes(), password)
    fields = {"key": keys.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())}
    alias = keys.cert.friendly_name.decode()
    for place, entry in enumerate([keys.cert, *keys.additional_certs]):
        fields[f"{alias}/{place}"] = entry.certificate.public_bytes(Encoding.DER)
    for entry in trusted.additional_certs:
        fields[entry.friendly_name.decode()] = entry.certificate.public_bytes(Encoding.DER)
    return fields


for directory in sorted(Path(sys.argv[1]).iterdir()):
    line = {"reader": "cryptography", "case": directory.name}
    try:
        line["fields"] = {name: base64.b64encode(value).decode() for name, value in read(directory).items()}
    except Exception as error:
        line["error"] = repr(error)
    print(json.dumps(line))
