"""The client's name for a model, in a reply whose bytes otherwise pass as they came.

A client that asked for an alias is answered by it: who really answered is told in a
header, and may change from call to call. Only the place where the provider's language
names the model is written over; what a tool is called with stays what it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import orjson

from extproc.codec import jsontext

_DATA = b"data:"


class Naming:
    """Writes `name` at the first of `paths` that an object of the reply has."""

    __slots__ = ("_keys", "_paths", "_text")

    def __init__(self, name: str, paths: Sequence[tuple[str, ...]]) -> None:
        self._text = jsontext.dumps(name)
        self._paths = paths
        self._keys = tuple({orjson.dumps(path[-1]) for path in paths})

    def whole(self, body: bytes) -> bytes:
        """A body that is one object, with the name; the very body, if it names none."""
        for key in self._keys:
            if key in body:
                break
        else:
            return body
        for path in self._paths:
            named = jsontext.put(body, path, self._text)
            if named is not body:
                return named
        return body

    def piece(self, piece: bytes) -> bytes:
        """Whole events, or whole lines, of a stream; the very piece, if none names a model."""
        for key in self._keys:
            if key in piece:
                return b"\n".join(self._lines(piece.split(b"\n")))
        return piece

    def _lines(self, lines: Sequence[bytes]) -> Iterator[bytes]:
        """An event's data may be spread over several lines; what is put in has no end of a line."""
        data: list[bytes] = []
        for line in lines:
            if line.startswith(_DATA):
                data.append(line[len(_DATA) :])
                continue
            if data:
                yield from self._event(data)
                data = []
            yield self.whole(line)
        if data:
            yield from self._event(data)

    def _event(self, data: Sequence[bytes]) -> Iterator[bytes]:
        for line in self.whole(b"\n".join(data)).split(b"\n"):
            yield _DATA + line
