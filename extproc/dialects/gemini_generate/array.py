"""A stream that is one JSON array, in pieces: bytes cut anywhere to its elements.

The frames are those of server-sent events, so that one reader serves both.
`event` is `[` for an element and `]` for the array's end; `raw`, joined, is the
stream again. Nothing here looks into an element.
"""

from __future__ import annotations

import re

from extproc.codec.sse import MAX_EVENT, Frame, SseSplitter

ELEMENT = b"["
END = b"]"
_OPEN = frozenset(b"[{")
_QUOTE = ord('"')
_SPACE = b" \t\r\n\xef\xbb\xbf"

# All that opens and closes nothing: other characters, and whole strings. No group is possessive:
# Python before 3.11.5 matches those wrongly.
_PLAIN = re.compile(rb'[^"\[\]{}]*+(?:"[^"\\]*+(?:\\.[^"\\]*+)*"[^"\[\]{}]*+)*', re.DOTALL)
_IN_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*', re.DOTALL)


class ArraySplitter:
    """Linear in the stream's length; holds at most one element of `max_event` bytes."""

    __slots__ = ("_at", "_depth", "_in_string", "_max", "_pending", "too_long")

    def __init__(self, max_event: int = MAX_EVENT) -> None:
        self._max = max_event
        self._pending = bytearray()
        self._at = 0
        self._depth = 0
        self._in_string = False
        self.too_long = False

    @property
    def pending(self) -> int:
        return len(self._pending)

    def feed(self, chunk: bytes) -> list[Frame]:
        if self.too_long:
            return []
        pending = self._pending
        pending += chunk
        frames: list[Frame] = []
        start = 0
        while (end := self._next_edge()) is not None:
            if self._depth == 1 and pending[end - 1] not in _OPEN:
                raw = bytes(pending[start:end])
                frames.append(Frame(raw, raw.lstrip(b"[," + _SPACE), ELEMENT))
                start = end
            elif self._depth == 0:
                frames.append(Frame(bytes(pending[start:]), None, END))
                start = self._at = len(pending)
        del pending[:start]
        self._at -= start
        if len(pending) > self._max:
            self.too_long = True
            pending.clear()
        return frames

    def close(self) -> list[Frame]:
        """Half an element is none; what follows the array passes."""
        rest = bytes(self._pending)
        self._pending.clear()
        self._at = 0
        return [Frame(rest, None)] if rest.strip(_SPACE) == b"" and rest else []

    def _next_edge(self) -> int | None:
        """Where the next bracket ends, with `_depth` as it is after it."""
        pending = self._pending
        while self._at < len(pending):
            if self._in_string:
                self._at = _end(_IN_STRING, pending, self._at)
                if self._at >= len(pending) or pending[self._at] != _QUOTE:
                    return None
                self._in_string = False
                self._at += 1
                continue
            self._at = _end(_PLAIN, pending, self._at)
            if self._at >= len(pending):
                return None
            found = pending[self._at]
            self._at += 1
            if found == _QUOTE:
                self._in_string = True
                continue
            self._depth += 1 if found in _OPEN else -1
            return self._at
        return None


def _end(pattern: re.Pattern[bytes], data: bytearray, at: int) -> int:
    found = pattern.match(data, at)
    return at if found is None else found.end()


class AnySplitter:
    """Server-sent events or an array: the first byte that is not space decides."""

    __slots__ = ("_chosen",)

    def __init__(self) -> None:
        self._chosen: SseSplitter | ArraySplitter | None = None

    @property
    def pending(self) -> int:
        return 0 if self._chosen is None else self._chosen.pending

    @property
    def too_long(self) -> bool:
        return self._chosen is not None and self._chosen.too_long

    def feed(self, chunk: bytes) -> list[Frame]:
        if self._chosen is None:
            is_array = chunk.lstrip(_SPACE)[:1] == b"["
            self._chosen = ArraySplitter() if is_array else SseSplitter()
        return self._chosen.feed(chunk)

    def close(self) -> list[Frame]:
        return [] if self._chosen is None else self._chosen.close()
