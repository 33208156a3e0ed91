"""The exact protobuf schema of the Envoy that we run, taken out of its own binary.

Envoy links the serialised FileDescriptorProto of every file it speaks. This
finds them all and gives a DescriptorPool, so that a test can hold generated
configuration, or our own `proto/`, against what the binary really knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message, message_factory

_HEAD = re.compile(rb"\x0a([\x05-\x7f])([a-zA-Z0-9_/.-]+?\.proto)", re.DOTALL)
"""field 1 of a FileDescriptorProto, its name: tag, length, text"""
_FIELDS = range(2, 15)
_VARINT, _BYTES = 0, 2


def load_pool(binary: Path) -> descriptor_pool.DescriptorPool:
    """The schema of `binary`. Takes a few tenths of a second, so nothing is cached."""
    return build_pool(extract(binary.read_bytes()))


def extract(data: bytes) -> dict[str, descriptor_pb2.FileDescriptorProto]:
    """Every FileDescriptorProto in `data`, by file name."""
    found: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    for head in _HEAD.finditer(data):
        if len(head[2]) != head[1][0]:
            continue
        file = descriptor_pb2.FileDescriptorProto()
        try:
            file.ParseFromString(data[head.start() : _end(data, head.end())])
        except message.DecodeError:
            continue
        found[file.name] = file
    return found


def build_pool(
    files: Mapping[str, descriptor_pb2.FileDescriptorProto],
) -> descriptor_pool.DescriptorPool:
    """A pool of `files`, each after those it imports."""
    pool = descriptor_pool.DescriptorPool()
    added: set[str] = set()

    def add(name: str) -> None:
        if name in added:
            return
        added.add(name)
        for imported in files[name].dependency:
            add(imported)
        pool.Add(files[name])

    for name in files:
        add(name)
    return pool


def parse(
    pool: descriptor_pool.DescriptorPool, type_name: str, value: Mapping[str, object]
) -> message.Message:
    """`value` as the message `type_name`. Raises json_format.ParseError on any field that it lacks."""
    kind = message_factory.GetMessageClass(pool.FindMessageTypeByName(type_name))
    return json_format.ParseDict(dict(value), kind(), descriptor_pool=pool)


def _end(data: bytes, at: int) -> int:
    """Where the message that `at` is inside of ends: the first byte that is no field of it."""
    for following in _walk(data, at):
        at = following
    return at


def _walk(data: bytes, at: int) -> Iterator[int]:
    while at < len(data):
        try:
            tag, after = _varint(data, at)
            number, wire = tag >> 3, tag & 7
            if number not in _FIELDS or wire not in (_VARINT, _BYTES):
                return
            value, after = _varint(data, after)
        except IndexError:
            return
        at = after + value if wire == _BYTES else after
        if at > len(data):
            return
        yield at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
