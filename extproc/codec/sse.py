"""Server-sent events: bytes in any pieces to frames, and frames to bytes.

Takes what a stream brings, cut anywhere; gives `Frame`s, whose `raw` bytes,
joined, are the stream again. It knows line ends (LF, CRLF, CR), `data`,
`event`, comments and the byte order mark of the WHATWG rules, and never looks
into the data: no JSON, no decoding of text.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MAX_EVENT = 16 * 1024 * 1024
"""bytes of one event: a picture as base64 still fits"""

_BOM = b"\xef\xbb\xbf"

# A CR at the very end may be half of a CRLF, so it ends nothing until the next byte is there.
_BLANK = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?=[^\n]))")
_LONGEST_PREFIX = 3
"""of a blank line, left at the end of what was searched: CR LF CR"""


class Frame(NamedTuple):
    """One event with its blank line. `data` is None where it carries none (a comment, a retry)."""

    raw: bytes
    data: bytes | None
    event: bytes = b""


class SseSplitter:
    """Cuts a stream into frames; linear in its length, and holds at most `max_event` bytes.

    `too_long` becomes true when an event outgrows that; nothing comes after it.
    """

    __slots__ = ("_first", "_max", "_pending", "_searched", "too_long")

    def __init__(self, max_event: int = MAX_EVENT) -> None:
        self._max = max_event
        self._pending = bytearray()
        self._searched = 0
        self._first = True
        self.too_long = False

    @property
    def pending(self) -> int:
        """How many bytes of an unfinished event are held."""
        return len(self._pending)

    @property
    def begun(self) -> bool:
        """Whether the first event, before which a byte order mark may stand, is over."""
        return not self._first

    def feed(self, chunk: bytes) -> list[Frame]:
        """The frames that `chunk` completes. `chunk` itself is the `raw` of a frame that fills it."""
        size = len(chunk)
        if self._pending or self._first or self.too_long or size > self._max:
            return self._feed_slowly(chunk)
        ends = chunk.endswith(b"\n\n")
        if ends and chunk.find(b"\n") == size - 2 and chunk[:6] == b"data: " and b"\r" not in chunk:
            # Nearly every piece of a stream is one event on one line.
            return [Frame(chunk, chunk[6:-2])]
        if chunk.endswith(b"\r\n\r\n"):
            return self._feed_lines(chunk)
        if not ends or b"\r" in chunk:
            return self._feed_slowly(chunk)
        pieces = chunk.split(b"\n\n")
        pieces.pop()
        if len(pieces) == 1:
            return [_frame(chunk, pieces[0])]
        return [_frame(piece + b"\n\n", piece) for piece in pieces]

    def _feed_lines(self, chunk: bytes) -> list[Frame]:
        """Whole events of one line each, with CRLF; anything else takes the slow way."""
        pieces = chunk.split(b"\r\n\r\n")
        pieces.pop()
        ends = 2 * len(pieces)
        if chunk.count(b"\n") != ends or chunk.count(b"\r") != ends:
            return self._feed_slowly(chunk)
        if len(pieces) == 1:
            return [_frame(chunk, pieces[0])]
        return [_frame(piece + b"\r\n\r\n", piece) for piece in pieces]

    def close(self) -> list[Frame]:
        """What the stream left unfinished, as a frame, if there is anything."""
        rest = bytes(self._pending)
        self._pending.clear()
        self._searched = 0
        if not rest or self.too_long:
            return []
        return [self._first_frame(rest) if self._first else _parse(rest, rest)]

    def _feed_slowly(self, chunk: bytes) -> list[Frame]:
        if self.too_long:
            return []
        pending = self._pending
        pending += chunk
        frames: list[Frame] = []
        start = 0
        search = max(0, self._searched - _LONGEST_PREFIX)
        while (blank := _BLANK.search(pending, search)) is not None:
            end = blank.end()
            if end - start > self._max:
                break
            raw = bytes(pending[start:end])
            frames.append(self._first_frame(raw) if self._first else _frame(raw, raw.rstrip(b"\n")))
            start = search = end
        if start:
            del pending[:start]
        self._searched = len(pending)
        if len(pending) > self._max:
            self.too_long = True
            pending.clear()
        return frames

    def _first_frame(self, raw: bytes) -> Frame:
        self._first = False
        return _parse(raw, raw.removeprefix(_BOM))


def _frame(raw: bytes, text: bytes) -> Frame:
    """The common case at once: one line, `data: ` and nothing else."""
    if text.startswith(b"data: ") and b"\n" not in text and b"\r" not in text:
        return Frame(raw, text[6:])
    return _parse(raw, text)


def _parse(raw: bytes, text: bytes) -> Frame:
    data: list[bytes] = []
    event = b""
    for line in text.splitlines():
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            data.append(value)
        elif name == b"event":
            event = value
    return Frame(raw, b"\n".join(data) if data else None, event)


def write(data: bytes, event: bytes = b"") -> bytes:
    """One event. `data: ` keeps its space: some clients read nothing without it."""
    head = b"event: " + event + b"\n" if event else b""
    if b"\n" not in data and b"\r" not in data:
        return head + b"data: " + data + b"\n\n"
    lines = data.splitlines() + ([b""] if data[-1:] in (b"\n", b"\r") else [])
    return head + b"".join(b"data: " + line + b"\n" for line in lines) + b"\n"


def comment(text: bytes = b"") -> bytes:
    """A line that every client skips: keeps a silent connection alive."""
    return b":" + text + b"\n\n"
