"""A peer that makes up HTTP/2: frames that mostly fit together, and what spoils them.

`octets` is all that it says in one connection, and how it is cut on its way. All is
drawn from the `Random` that is given, so that a seed tells the whole of it.
"""

from __future__ import annotations

import struct
from random import Random

from extproc.wire import frames
from extproc.wire.frames import (
    ACK,
    END_HEADERS,
    END_STREAM,
    HEAD,
    PADDED,
    PREFACE,
    PRIORITY,
    Kind,
    frame,
)
from extproc.wire.hpack import encode
from tests.fuzz import mutate
from tests.wire.h2peer import CHECK, NO_TABLE, REQUEST, data, grpc, ping, reset, settings, window

_BLOCK = encode(REQUEST)
_BLOCKS = (
    *(_BLOCK, _BLOCK, _BLOCK, _BLOCK),
    encode([*REQUEST, ("grpc-timeout", "1m")]),
    encode([(n, CHECK if n == ":path" else v) for n, v in REQUEST]),
    encode([(n, "/x" if n == ":path" else v) for n, v in REQUEST]),
    encode([(n, "text/plain" if n == "content-type" else v) for n, v in REQUEST]),
    encode([*REQUEST, ("a", "x" * 3000)]),
    encode(REQUEST[:2]),
    encode([("a", "b"), *REQUEST]),
)
_FIELDS = (
    *(b"\x40\x01a\x01b", b"\x40\x03abc\x7f\x21" + b"v" * 160, b"\x10\x01a\x01b", b"\x00\x01a\x01b"),
    *(b"\xbe", b"\xbf", b"\xc0", b"\x82", b"\x80", b"\x7e\x01x", b"\x20", b"\x3f\xe1\x1f"),
    *(b"\x3f\xe2\x1f", b"\x3f\x45", b"\x41\x8c\xf1\xe3\xc2\xe5\xf2:k\xa0\xab\x90\xf4\xff"),
    *(b"\x00\x84\xff\xff\xff\xff\x00", b"\xff\xff\xff\xff\xff\x7f", b"\x00\x7f\xff\xff\xff\x0f"),
)
_WORDS = (b"x", b"", b"over", b"wait", b"much", b"decode", b"slow-end", b"y" * 700)
_SIZES = (0, 1, 2, 100, 1000, 16_384, 65_535, 1 << 20, 2**31 - 2, 2**31 - 1)
_SMALL = (1, 2, 100, 1000, 16_384, 65_535)
_FLOOD = 80
_PIECES = 300
AGREED = NO_TABLE + frame(Kind.HEADERS, END_HEADERS, 1, b"\x20" + _BLOCK)
"""it takes our table of nothing, and says so in its first block"""


class Hostile:
    """Knows which streams it has begun, so that most of what it says is heard.

    `agreed`: its first stream is behind it. `gentle`: nothing that ends its connection.
    How much it does that no peer may is drawn, too: one that always does is soon cut off.
    """

    def __init__(self, dice: Random, *, agreed: bool = False, gentle: bool = False) -> None:
        self._dice = dice
        self.spite = 0.0 if gentle else dice.choice((0.0, 0.02, 0.1, 1.0))
        self._agreed = agreed
        self._next, self._begun = (3, [1]) if agreed else (1, [])
        if gentle:
            self._kinds = (self._plain_request, self._plain_data, self._plain_data, self._small)
            return
        self._kinds = (
            *([self._request] * 6 + [self._data] * 7 + [self._windows] * 3 + [self._reset] * 2),
            *(self._settings, self._settings, self._ping, self._trailers, self._harmless),
        )

    def frame(self) -> bytes:
        if self._bad(0.1):
            return self._odd()
        return self._dice.choice(self._kinds if self._begun else self._kinds[:1])()

    def _bad(self, often: float) -> bool:
        """Whether to break a rule here."""
        return self._dice.random() < often * self.spite

    def _plain_request(self) -> bytes:
        self._begun = [*self._begun[-5:], self._next]
        self._next += 2
        value = b"b" * self._dice.randrange(100)
        # A literal, and one for the table, while there is one.
        field = (b"\x00" if self._agreed else b"\x40") + b"\x01a" + bytes([len(value)]) + value
        return frame(Kind.HEADERS, END_HEADERS, self._begun[-1], _BLOCK + field)

    def _plain_data(self) -> bytes:
        return data(self._dice.choice(self._begun), self._dice.randbytes(self._dice.randrange(60)))

    def _small(self) -> bytes:
        stream = self._dice.choice(self._begun)
        return self._dice.choice(
            (reset(stream), window(stream, 100), window(0, 100), ping(), settings(s4=99))
        )

    def _stream(self) -> int:
        """Mostly one that was begun."""
        dice = self._dice
        if self._begun and not self._bad(0.08):
            return dice.choice(self._begun[-6:])
        return dice.choice((0, 1, 2, 3, self._next, self._next + 20, 2**31 - 1))

    def _request(self) -> bytes:
        dice = self._dice
        stream = self._stream() if self._bad(0.05) else self._next
        if stream == self._next:
            self._begun.append(stream)
            self._next += dice.choice((2, 2, 2, 2, 2, 4, 50))
        block = dice.choice(_BLOCKS)
        if self._bad(0.2):
            block = b"".join(dice.choices(_FIELDS, k=dice.randrange(1, 9))) + block
        flags = END_HEADERS | (END_STREAM if dice.random() < 0.15 else 0)
        if dice.random() < 0.1:
            flags |= PRIORITY
            block = bytes(5) + block
        if dice.random() < 0.1:
            flags |= PADDED
            block = self._padded(block)
        if dice.random() < 0.1:
            return self._continued(stream, flags & ~END_HEADERS, block)
        return frame(Kind.HEADERS, flags, stream, block)

    def _continued(self, stream: int, flags: int, block: bytes) -> bytes:
        """In pieces, some of them empty; sometimes without an end."""
        dice = self._dice
        at = sorted(dice.randrange(len(block) + 1) for _ in range(dice.randrange(1, 5)))
        pieces = [block[a:b] for a, b in zip([0, *at], [*at, len(block)], strict=True)]
        last = 0 if self._bad(0.1) else END_HEADERS
        return frame(Kind.HEADERS, flags, stream, pieces[0]) + b"".join(
            frame(Kind.CONTINUATION, last if i == len(pieces) - 1 else 0, stream, piece)
            for i, piece in enumerate(pieces[1:], 1)
        )

    def _padded(self, payload: bytes) -> bytes:
        """Truly, or not."""
        size = self._dice.choice((0, 1, 5, 200, 255))
        kept = self._dice.randrange(size + 1) if self._bad(0.2) else size
        return bytes([size]) + payload + bytes(kept)

    def _data(self) -> bytes:
        dice = self._dice
        words = dice.choices(_WORDS, k=dice.choice((0, 1, 1, 1, 2, 5)))
        payload = b"".join(grpc(word, compressed=dice.random() < 0.02) for word in words)
        match dice.randrange(12):
            case 0:
                payload = payload[: dice.randrange(len(payload) + 1)]
            case 1:
                payload = b"\0" + dice.choice(_SIZES).to_bytes(4, "big") + payload
            case 2:
                payload = dice.randbytes(dice.randrange(300))
            case 3:
                payload = bytes(16_385 if self._bad(0.3) else dice.choice((1000, 9000, 16_384)))
            case _:
                pass
        flags = END_STREAM if dice.random() < 0.1 else 0
        if dice.random() < 0.1:
            flags |= PADDED
            payload = self._padded(payload)
        return data(self._stream(), payload, flags=flags)

    def _trailers(self) -> bytes:
        flags = END_HEADERS | (0 if self._bad(0.1) else END_STREAM)
        return frame(Kind.HEADERS, flags, self._stream(), encode([("a", "b")]))

    def _windows(self) -> bytes:
        size = self._dice.choice(_SIZES if self._bad(0.3) else _SMALL)
        return window(0 if self._dice.random() < 0.3 else self._stream(), size)

    def _reset(self) -> bytes:
        return reset(self._stream(), self._dice.choice((0, 8, 99)))

    def _settings(self) -> bytes:
        dice = self._dice
        match dice.randrange(5):
            case 0 if self._agreed:
                return NO_TABLE
            case 1 if self._bad(0.5):
                pairs = [(dice.randrange(9), dice.choice(_SIZES)) for _ in range(dice.randrange(8))]
                payload = b"".join(struct.pack(">HL", *pair) for pair in pairs)
                return frame(Kind.SETTINGS, 0, dice.choice((0, 0, 0, 1)), payload)
            case _:
                return settings(s4=dice.choice(_SIZES if self._bad(0.3) else _SMALL))

    def _ping(self) -> bytes:
        return ping(self._dice.choice((b"12345678", b"draining")), ack=self._dice.random() < 0.5)

    def _harmless(self) -> bytes:
        """What is ignored."""
        head = HEAD.pack(0, 5, self._dice.choice((2, 7, 10, 99)), 0, 0)
        return head + self._dice.randbytes(5)

    def _odd(self) -> bytes:
        dice = self._dice
        stream = self._stream()
        match dice.randrange(8):
            case 0:
                return frame(Kind.PUSH_PROMISE, END_HEADERS, stream, _BLOCK)
            case 1:
                return frame(Kind.CONTINUATION, END_HEADERS, stream, _BLOCK)
            case 2:
                return frames.goaway(stream, frames.Code.NO_ERROR, "bye")
            case 3:
                return HEAD.pack(dice.randrange(256), 0, dice.randrange(10), 0, stream)
            case 4:
                return frame(Kind.SETTINGS, ACK, 0, bytes(6))
            case 5:
                return dice.randbytes(dice.randrange(60))
            case 6:
                size = dice.choice((0, 1, 3, 4, 5, 6, 8, 9))
                head = HEAD.pack(0, size, dice.randrange(14), dice.randrange(256), stream)
                return head + dice.randbytes(size)
            case _:
                return frame(Kind.PRIORITY, 0, stream, bytes(5))


def octets(dice: Random) -> tuple[bytes, int]:
    """All that is said, and the size of the pieces that it comes in."""
    made = [PREFACE + frame(Kind.SETTINGS, 0, 0)]
    agreed = dice.random() < 0.7
    if agreed:
        made.append(AGREED)
    peer = Hostile(dice, agreed=agreed)
    made += [peer.frame() for _ in range(dice.randrange(40))]
    if dice.random() < 0.05:
        made += [peer.frame()] * _FLOOD
    if dice.random() < 0.1 * peer.spite:
        dice.shuffle(made)
    said = b"".join(made)
    if dice.random() < 0.15:
        said = mutate.spoiled_bytes(said, made, dice)
    return said, max(dice.choice((1, 9, 30, 200, 1000, 1 << 18)), len(said) // _PIECES)
