"""Parses connection strings and URIs with libpq itself.

libpq.py names           the parameters of libpq, as a JSON list
libpq.py parse TEXT...   for each text the parameters that it sets, or null if libpq rejects it, as a JSON list
"""
import ctypes
import json
import sys


class Option(ctypes.Structure):
    """PQconninfoOption of libpq-fe.h."""

    _fields_ = [(name, ctypes.c_char_p) for name in ("keyword", "envvar", "compiled", "val", "label", "dispchar")]
    _fields_ += [("dispsize", ctypes.c_int)]


libpq = ctypes.CDLL("libpq.so.5")
libpq.PQconndefaults.restype = ctypes.POINTER(Option)
libpq.PQconninfoParse.restype = ctypes.POINTER(Option)
libpq.PQconninfoParse.argtypes = [ctypes.c_char_p, ctypes.c_void_p]


def options(array):
    """The options of an array, which ends with an option without a name."""
    index = 0
    while array[index].keyword is not None:
        yield array[index]
        index += 1


def parse(text):
    array = libpq.PQconninfoParse(text.encode(), None)
    if not array:
        return None
    return {option.keyword.decode(): option.val.decode() for option in options(array) if option.val is not None}


def main(action, *texts):
    if action == "names":
        print(json.dumps([option.keyword.decode() for option in options(libpq.PQconndefaults())]))
    else:
        print(json.dumps([parse(text) for text in texts]))


main(*sys.argv[1:])
