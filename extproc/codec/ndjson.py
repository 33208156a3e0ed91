"""JSON lines (NDJSON): bytes in any pieces to lines, and values to lines.

Takes what a stream brings, cut anywhere; gives `Line`s, whose `raw` bytes,
joined, are the stream again. Only LF ends a line: the CR of a CRLF is white
space around the JSON, as are blanks. It never looks into the data.
"""

from __future__ import annotations

from typing import NamedTuple

MAX_LINE = 16 * 1024 * 1024
"""bytes of one line with its end: a picture as base64 still fits"""

_BOM = b"\xef\xbb\xbf"
_SPACE = b" \t\r\n"


class Line(NamedTuple):
    """One line with its end. `data` has no white space around it; None where nothing is left."""

    raw: bytes
    data: bytes | None


class LineSplitter:
    """Cuts a stream into lines; linear in its length, and holds at most `max_line` bytes.

    `too_long` becomes true when a line outgrows that; nothing comes after it.
    """

    __slots__ = ("_first", "_max", "_pending", "too_long")

    def __init__(self, max_line: int = MAX_LINE) -> None:
        self._max = max_line
        self._pending = bytearray()
        self._first = True
        self.too_long = False

    @property
    def pending(self) -> int:
        """How many bytes of an unfinished line are held."""
        return len(self._pending)

    def feed(self, chunk: bytes) -> list[Line]:
        """The lines that `chunk` completes. `chunk` itself is the `raw` of a line that fills it."""
        if self.too_long:
            return []
        lines: list[Line] = []
        start = 0
        while end := chunk.find(b"\n", start) + 1:
            if len(self._pending) + end - start > self._max:
                return self._overflow(lines)
            raw = chunk[start:end]
            if self._pending:
                raw = bytes(self._pending) + raw
                self._pending.clear()
            lines.append(self._line(raw))
            start = end
        if len(self._pending) + len(chunk) - start > self._max:
            return self._overflow(lines)
        self._pending += chunk[start:]
        return lines

    def close(self) -> list[Line]:
        """What the stream left without a line end, as a line, if there is anything."""
        rest = bytes(self._pending)
        self._pending.clear()
        return [self._line(rest)] if rest else []

    def _line(self, raw: bytes) -> Line:
        text = raw
        if self._first:
            self._first = False
            text = raw.removeprefix(_BOM)
        return Line(raw, text.strip(_SPACE) or None)

    def _overflow(self, lines: list[Line]) -> list[Line]:
        self.too_long = True
        self._pending.clear()
        return lines


def write(data: bytes) -> bytes:
    """One line. A line end inside of JSON is white space, so a blank stands for it."""
    return data.replace(b"\n", b" ") + b"\n"
