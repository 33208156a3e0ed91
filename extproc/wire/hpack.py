"""Header compression of HTTP/2 (RFC 7541): header blocks in, names and values out, and back.

Decodes everything a peer may send, with a dynamic table of at most 4,096 bytes,
or none at all once `limit(0)` was told to the peer: all fields are literals
then, and what a block begins with is known from the block before. Encodes
without Huffman and without a dynamic table, so that a block is a constant.
Never keeps more than its limits, however large a block claims to be.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from extproc.wire import huffman

Field = tuple[str, str]

DEFAULT_TABLE = 4096
"""bytes of dynamic table that a peer may assume before it is told otherwise (RFC 9113, 6.5.2)"""
ENTRY = 32
"""bytes that an entry counts beyond its text (RFC 7541, section 4.1)"""
_INTEGER_OCTETS = 5
"""octets after the prefix: enough for every length that we accept"""

_LEARNT = 2048
"""bytes of a block beyond which nothing is learnt from it"""

_STATIC_TEXT = """
:authority|:method GET|:method POST|:path /|:path /index.html|:scheme http|:scheme https
:status 200|:status 204|:status 206|:status 304|:status 400|:status 404|:status 500
accept-charset|accept-encoding gzip, deflate|accept-language|accept-ranges|accept
access-control-allow-origin|age|allow|authorization|cache-control|content-disposition
content-encoding|content-language|content-length|content-location|content-range|content-type
cookie|date|etag|expect|expires|from|host|if-match|if-modified-since|if-none-match|if-range
if-unmodified-since|last-modified|link|location|max-forwards|proxy-authenticate
proxy-authorization|range|referer|refresh|retry-after|server|set-cookie
strict-transport-security|transfer-encoding|user-agent|vary|via|www-authenticate
"""


def _static() -> tuple[Field, ...]:
    entries = _STATIC_TEXT.strip().replace("\n", "|").split("|")
    pairs = [entry.partition(" ") for entry in entries]
    return tuple((name, value) for name, _, value in pairs)


STATIC = _static()
"""the static table (appendix A); index 1 is STATIC[0]"""
_STATIC_COUNT = len(STATIC)
_INDEX_OF = {field: i for i, field in reversed(list(enumerate(STATIC, 1)))}
_INDEX_OF_NAME = {field[0]: i for i, field in reversed(list(enumerate(STATIC, 1)))}


class BadBlock(Exception):
    """A header block that cannot be decoded. Both tables differ now, so the connection must end."""


class _Known(NamedTuple):
    """What blocks of literals have in common: bytes at both ends, and the fields that these are."""

    head: bytes
    first: list[Field]
    tail: bytes
    last: list[Field]
    room: int
    """of the limit on a list, less these fields"""


_NOTHING = _Known(b"", [], b"", [], 0)


class Decoder:
    """The decoding half of a connection. `list_limit`: bytes of a whole list, as section 4.1 counts."""

    __slots__ = (
        "_entries",
        "_known",
        "_limit",
        "_list_limit",
        "_must_resize",
        "_previous",
        "_size",
        "_table",
    )

    def __init__(self, list_limit: int, table: int = DEFAULT_TABLE) -> None:
        self._list_limit = list_limit
        self._table = self._limit = table
        self._entries: deque[Field] = deque()
        self._size = 0
        self._must_resize = False
        self._previous = b""
        self._known = _NOTHING

    def limit(self, table: int) -> None:
        """The peer has acknowledged this size, and must say so in its next block (RFC 9113, 4.3.1)."""
        self._limit = table
        self._must_resize = self._table > table

    def decode(self, block: bytes) -> list[Field] | None:
        """Names and values (octets as Latin-1) in order; None when the list is over its limit.

        Raises BadBlock. A list over the limit is decoded to its end all the same, as
        later blocks depend on it, but not kept.
        """
        if self._must_resize and (not block or block[0] & 0xE0 != 0x20):
            raise BadBlock("the peer did not reduce its table as it had agreed to")
        head, first, tail, last, room = self._known
        end = len(block) - len(tail)
        if head and end >= len(head) and block.startswith(head) and block.endswith(tail):
            fields = first.copy()
            try:
                room = self._fields(block, len(head), end, fields, [], room)
            except BadBlock:
                pass  # what looked like the tail is part of something else
            else:
                return fields + last if room >= 0 else None
        fields = list[Field]()
        ends: list[int] = []
        room = self._fields(block, 0, len(block), fields, ends, self._list_limit)
        if self._limit == 0 and room >= 0 and len(block) <= _LEARNT:
            self._learn(block, fields, ends)
        return fields if room >= 0 else None

    def _fields(
        self, block: bytes, at: int, end: int, fields: list[Field], ends: list[int], room: int
    ) -> int:
        """Adds the fields from `at` to `end`, and where each one ends. Gives what is left of `room`."""
        try:
            while at < end:
                octet = block[at]
                if octet & 0x80:  # 6.1: indexed
                    index, at = _integer(block, at, 0x7F)
                    field = self._entry(index)
                elif octet & 0x60 == 0x20:  # 6.3: the table's new size
                    if ends or fields:
                        raise BadBlock("a table size update after the first field")
                    table, at = _integer(block, at, 0x1F)
                    self._resize(table)
                    continue
                else:  # 6.2: literal; added to the table, or not, or never
                    added = octet & 0x40
                    index, at = _integer(block, at, 0x3F if added else 0x0F)
                    if index:
                        name = self._entry(index)[0]
                    else:
                        name, at = _string(block, at)
                    value, at = _string(block, at)
                    field = name, value
                    if added and self._table:
                        self._add(field)
                room -= len(field[0]) + len(field[1]) + ENTRY
                if room >= 0:
                    fields.append(field)
                ends.append(at)
        except IndexError:
            raise BadBlock("the block ends inside a field") from None
        except huffman.BadHuffman as error:
            raise BadBlock(str(error)) from None
        if at > end:
            raise BadBlock("a field goes on behind the end")
        return room

    def _learn(self, block: bytes, fields: list[Field], ends: list[int]) -> None:
        """Without a table a field means the same wherever it stands.

        What this block and the one before it begin and end with is not decoded again,
        when they begin with much the same.
        """
        previous, self._previous = self._previous, block
        same = 0
        while same < len(ends) and previous.startswith(block[: ends[same]]):
            same += 1
        if not same or 3 * ends[same - 1] < len(block):
            return
        begins = [0, *ends]
        rest = len(fields)
        while rest > same and previous.endswith(block[begins[rest - 1] :]):
            rest -= 1
        first, last = fields[:same], fields[rest:]
        used = sum(len(name) + len(value) + ENTRY for name, value in first + last)
        room = self._list_limit - used
        self._known = _Known(block[: ends[same - 1]], first, block[begins[rest] :], last, room)

    def _entry(self, index: int) -> Field:
        if 0 < index <= _STATIC_COUNT:
            return STATIC[index - 1]
        at = index - _STATIC_COUNT - 1
        if 0 <= at < len(self._entries):
            return self._entries[at]
        raise BadBlock(f"index {index} is in no table")

    def _add(self, field: Field) -> None:
        """Section 4.4: an entry larger than the table empties it."""
        size = len(field[0]) + len(field[1]) + ENTRY
        self._shrink(self._table - size)
        if size <= self._table:
            self._entries.appendleft(field)
            self._size += size

    def _resize(self, table: int) -> None:
        if table > self._limit:
            raise BadBlock(f"a table of {table} bytes; the limit is {self._limit}")
        self._table = table
        self._must_resize = False
        self._shrink(table)

    def _shrink(self, size: int) -> None:
        while self._entries and self._size > size:
            name, value = self._entries.pop()
            self._size -= len(name) + len(value) + ENTRY


def _integer(block: bytes, at: int, prefix: int) -> tuple[int, int]:
    """Section 5.1: a number that begins in the low bits of an octet, and where it ends."""
    value = block[at] & prefix
    at += 1
    if value < prefix:
        return value, at
    for shift in range(0, 7 * _INTEGER_OCTETS, 7):
        octet = block[at]
        at += 1
        value += (octet & 0x7F) << shift
        if octet < 0x80:
            return value, at
    raise BadBlock("a number is too long")


def _string(block: bytes, at: int) -> tuple[str, int]:
    """Section 5.2: a text, plain or Huffman-coded, and where it ends."""
    octet = block[at]
    size = octet & 0x7F
    if size < 0x7F:
        at += 1
    else:
        size, at = _integer(block, at, 0x7F)
    end = at + size
    if end > len(block):
        raise BadBlock("the block ends inside a text")
    raw = block[at:end]
    return (huffman.decode(raw) if octet & 0x80 else raw.decode("latin-1")), end


def encode(fields: Iterable[Field]) -> bytes:
    """A block of static entries and literals that no table keeps: the same for every connection."""
    out = bytearray()
    for name, value in fields:
        index = _INDEX_OF.get((name, value))
        if index is not None:
            out += _number(index, 0x7F, 0x80)
            continue
        known = _INDEX_OF_NAME.get(name, 0)
        out += _number(known, 0x0F, 0x00)
        for text in (value,) if known else (name, value):
            raw = text.encode("latin-1")
            out += _number(len(raw), 0x7F, 0x00) + raw
    return bytes(out)


def _number(value: int, prefix: int, pattern: int) -> bytes:
    if value < prefix:
        return bytes((pattern | value,))
    out = bytearray((pattern | prefix,))
    value -= prefix
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
