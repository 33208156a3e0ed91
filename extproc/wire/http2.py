"""The server's half of an HTTP/2 connection (RFC 9113), as far as gRPC needs it, without I/O.

`receive` takes bytes as they come and gives events; answers are put in by stream
id, and `take` gives the bytes to write. Knows nothing of gRPC, sockets or tasks.
It never raises on what a peer sends: a peer that breaks the protocol, or asks for
more than `Limits`, gets a GOAWAY and the last event is `Failed`.

A stream, by what arrives (section 5.1). `idle` is an id above the highest seen;
`closed` are all others that are not kept, so their frames may be late ones:

    state        HEADERS              DATA             WINDOW_UPDATE, RST_STREAM
    idle         -> open              BadFrame         BadFrame
    open         END_STREAM -> half   END -> half      window grows; -> closed
    half-closed  STREAM_CLOSED        STREAM_CLOSED    window grows; -> closed
    closed       decoded, dropped     dropped          dropped

and by what we send: `finish` closes; where the peer's side is still open it is
told NO_ERROR, that nobody reads on (section 8.1). PRIORITY and unknown frames
are ignored, PUSH_PROMISE is an error. What brings nothing is counted by a `Meter`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from extproc.wire import frames
from extproc.wire.frames import (
    ACK,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    HEAD,
    HEAD_SIZE,
    LAST_STREAM,
    MAX_FRAME,
    MAX_WINDOW,
    PADDED,
    PREFACE,
    PRIORITY,
    BadFrame,
    BadHeaders,
    BadSize,
    BadWindow,
    Code,
    Kind,
    Limits,
    Meter,
    PeerError,
    Setting,
    TooMuch,
)
from extproc.wire.hpack import BadBlock, Decoder
from extproc.wire.outbox import Outbox, Stream
from extproc.wire.requests import request_headers

_DRAIN_PING = b"draining"
_SETTING = struct.Struct(">HL")
_SETTINGS, _CONTINUATION = int(Kind.SETTINGS), int(Kind.CONTINUATION)
_BLOCK_PER_UNIT = 256
"""octets of a header block over the limit that cost as much as a stream in vain"""
_STREAMS_PER_UNIT = 64
"""streams whose windows a SETTINGS frame may move for the price of one idle frame"""


class Request(NamedTuple):
    """A stream begins. Pseudo-headers are among `headers`; `ended`: no data follows."""

    stream: int
    headers: Mapping[str, str]
    ended: bool


class Data(NamedTuple):
    """A piece of a stream, never longer than a frame; trailers count as an empty last one."""

    stream: int
    data: bytes
    ended: bool


class Reset(NamedTuple):
    """The stream is gone, by the peer's will or by its fault; nothing can be sent on it."""

    stream: int


class Sendable(NamedTuple):
    """All that waited for the peer's window has been sent."""

    stream: int


class Failed(NamedTuple):
    """The connection is over: write what is there, then close."""

    error: PeerError


Event: TypeAlias = Request | Data | Reset | Sendable | Failed


_Handler: TypeAlias = Callable[[int, int, bytes, list[Event]], None]
"""stream, flags, payload, and where its events go"""


class Connection:
    """One connection. `clock` gives seconds, and is asked only when a peer floods us."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._in = bytearray()
        self._need = len(PREFACE)
        self._greeted = self._introduced = False
        self._hpack = Decoder(limits.header_list)
        self._block: tuple[int, int, bytearray] | None = None
        """stream, flags and beginning of a header block that is not complete"""
        self._streams: dict[int, Stream] = {}
        self._seen = self._accepted = 0
        """the highest stream that the peer has begun, and the highest that we have served"""
        self._credit = limits.connection_window
        self._enough = limits.connection_window >> 1
        """bytes of the connection's window below which its peer gets all of it back"""
        self._idle = Meter(limits.idle_frames, "frames that bring nothing", clock)
        self._vain = Meter(limits.vain_streams, "streams that came to nothing", clock)
        self._draining = self._drained = False
        self.failed: PeerError | None = None
        self._outbox = Outbox()
        self._outbox.put(frames.settings(limits))
        self._outbox.put(frames.window_update(0, limits.connection_window - DEFAULT_WINDOW))
        self._handlers: tuple[_Handler, ...] = (  # by `Kind`
            self._on_data,
            self._on_headers,
            self._on_other,
            self._on_reset,
            self._on_settings,
            self._on_push,
            self._on_ping,
            self._on_other,
            self._on_window,
            self._on_continuation,
        )

    # --- bytes in ---

    def receive(self, data: bytes) -> list[Event]:
        """What these bytes mean, together with those before them."""
        events: list[Event] = []
        if self.failed is not None:
            return events
        if self._in:
            self._in += data
            if len(self._in) < self._need:
                return events
            data = bytes(self._in)
            self._in.clear()
        try:
            self._in += data[self._read(data, events) :]
        except PeerError as error:
            # Their frames would hold on to all that was received.
            error.__traceback__ = error.__context__ = None
            self._fail(error)
            events.append(Failed(error))
        return events

    def _read(self, data: bytes, events: list[Event]) -> int:
        """Handles all whole frames, and says where the first one that is not begins."""
        at, size = 0, len(data)
        if not self._greeted:
            if data[: len(PREFACE)] != PREFACE[:size]:
                raise BadFrame("this is not HTTP/2")
            if size < len(PREFACE):
                return 0
            self._greeted = True
            at = len(PREFACE)
        handlers, known = self._handlers, len(self._handlers)
        while size - at >= HEAD_SIZE:
            head: tuple[int, int, int, int, int] = HEAD.unpack_from(data, at)
            high, low, kind, flags, stream = head
            length = high << 8 | low
            if length > MAX_FRAME:
                raise BadSize(f"a frame of {length} bytes")
            start = at + HEAD_SIZE
            end = start + length
            if end > size:
                self._need = HEAD_SIZE + length
                return at
            if not self._introduced:
                if kind != _SETTINGS or flags & ACK:
                    raise BadFrame("the first frame is not SETTINGS")
                self._introduced = True
            if self._block is not None and kind != _CONTINUATION:
                raise BadFrame("a header block was interrupted")
            handler = handlers[kind] if kind < known else self._on_other
            handler(stream & LAST_STREAM, flags, data[start:end], events)
            at = end
        self._need = HEAD_SIZE
        return at

    # --- frames (section 6) ---

    def _on_data(self, stream_id: int, flags: int, payload: bytes, events: list[Event]) -> None:
        """6.1. Padding counts for the windows like data, and is consumed at once.

        The connection's window is always given back: a stream that waits must not hold up
        the others. What a stream may have unread is its own window.
        """
        size = len(payload)
        credit = self._credit - size
        if credit < self._enough:
            if credit < 0:
                raise BadWindow("more data than the connection's window")
            credit = self._restored(credit)
        self._credit = credit
        stream = self._streams.get(stream_id)
        if stream is None or stream.ended:
            self._late(stream_id)
            if stream is not None:
                self._refuse(stream_id, Code.STREAM_CLOSED, events)
            return
        stream.credit -= size
        if stream.credit < 0:
            raise BadWindow("more data than the stream's window")
        if flags & PADDED:
            payload = frames.unpadded(payload)
            self.consumed(stream_id, size - len(payload))
        if flags & END_STREAM:
            stream.ended = True
            events.append(Data(stream_id, payload, True))
        elif payload:
            events.append(Data(stream_id, payload, False))
        else:
            self._idle.spend()

    def _on_headers(self, stream_id: int, flags: int, payload: bytes, events: list[Event]) -> None:
        """6.2. The priority in it is as deprecated as the frame of that name."""
        if not stream_id & 1:
            raise BadFrame(f"a client opened stream {stream_id}")
        if flags & PADDED:
            payload = frames.unpadded(payload)
        if flags & PRIORITY:
            if len(payload) < 5:
                raise BadSize("HEADERS without room for their priority")
            payload = payload[5:]
        if flags & END_HEADERS:
            self._on_block(stream_id, flags, payload, events)
        else:
            self._block = stream_id, flags, bytearray(payload)

    def _on_continuation(
        self, stream_id: int, flags: int, payload: bytes, events: list[Event]
    ) -> None:
        """6.10. Each one is counted: they may be empty, and a block must end some time."""
        if self._block is None or self._block[0] != stream_id:
            raise BadFrame("CONTINUATION of nothing")
        self._idle.spend()
        _, first_flags, block = self._block
        block += payload
        if len(block) > self._limits.header_list:
            raise TooMuch(f"a header block of more than {self._limits.header_list} bytes")
        if flags & END_HEADERS:
            self._block = None
            self._on_block(stream_id, first_flags, bytes(block), events)

    def _on_block(self, stream_id: int, flags: int, block: bytes, events: list[Event]) -> None:
        """A whole header block: a request (8.3.1) or trailers (8.1). Always decoded (4.3)."""
        try:
            fields = self._hpack.decode(block)
        except BadBlock as error:
            raise BadHeaders(str(error)) from None
        ended = bool(flags & END_STREAM)
        stream = self._streams.get(stream_id)
        if stream is not None:
            if stream.ended or not ended:
                code = Code.STREAM_CLOSED if stream.ended else Code.PROTOCOL_ERROR
                self._refuse(stream_id, code, events)
            else:
                stream.ended = True
                events.append(Data(stream_id, b"", True))
            return
        if stream_id <= self._seen or self._drained:
            self._seen = max(self._seen, stream_id)
            self._idle.spend()
            return
        self._seen = self._accepted = stream_id
        if fields is None:
            self._vain.spend(len(block) // _BLOCK_PER_UNIT)
            self._refuse(stream_id, Code.ENHANCE_YOUR_CALM, events)
            return
        if len(self._streams) >= self._limits.streams:
            self._refuse(stream_id, Code.REFUSED_STREAM, events)
            return
        headers = request_headers(fields)
        if headers is None:
            self._refuse(stream_id, Code.PROTOCOL_ERROR, events)
            return
        self._streams[stream_id] = Stream(
            stream_id, self._outbox.stream_window, self._limits.stream_window, ended
        )
        events.append(Request(stream_id, headers, ended))

    def _on_reset(self, stream_id: int, _: int, payload: bytes, events: list[Event]) -> None:
        """6.4. A stream that is reset before it got any answer is the rapid reset attack's."""
        if len(payload) != 4:
            raise BadSize("RST_STREAM is not 4 bytes")
        stream = self._streams.get(stream_id)
        if stream is None:
            self._late(stream_id)
            return
        if not stream.answered:
            self._vain.spend()
        self._forget(stream)
        events.append(Reset(stream_id))

    def _on_settings(self, stream_id: int, flags: int, payload: bytes, events: list[Event]) -> None:
        """6.5. We send no dynamic table, no push, and no frames beyond the default size."""
        if stream_id:
            raise BadFrame("SETTINGS on a stream")
        if len(payload) % _SETTING.size or (flags & ACK and payload):
            raise BadSize("SETTINGS of a wrong size")
        self._idle.spend()
        if flags & ACK:
            self._hpack.limit(0)
            return
        window = self._outbox.stream_window
        for key, value in _SETTING.iter_unpack(payload):
            match key:
                case Setting.INITIAL_WINDOW_SIZE if value > MAX_WINDOW:
                    raise BadWindow(f"INITIAL_WINDOW_SIZE is {value}")
                case Setting.INITIAL_WINDOW_SIZE:
                    window = value
                case Setting.ENABLE_PUSH if value > 1:
                    raise BadFrame(f"ENABLE_PUSH is {value}")
                case Setting.MAX_FRAME_SIZE if not MAX_FRAME <= value < 2**24:
                    raise BadFrame(f"MAX_FRAME_SIZE is {value}")
                case _:
                    pass
        if window != self._outbox.stream_window:
            self._move_windows(window, events)
        self._outbox.put(frames.frame(Kind.SETTINGS, ACK, 0))

    def _move_windows(self, size: int, events: list[Event]) -> None:
        """6.9.2. All streams move by the difference, and may go below zero."""
        self._idle.spend(len(self._streams) // _STREAMS_PER_UNIT)
        change = size - self._outbox.stream_window
        self._outbox.stream_window = size
        for stream in list(self._streams.values()):
            stream.window += change
            if stream.window > MAX_WINDOW:
                raise BadWindow("a stream's window is too large")
            if change > 0 and stream.queue:
                self._idle.spend()
                if self._outbox.pump(stream):
                    self._emptied(stream, events)

    def _on_other(self, _: int, __: int, ___: bytes, ____: list[Event]) -> None:
        """5.5: PRIORITY, GOAWAY and what we do not know."""
        self._idle.spend()

    def _on_push(self, _: int, __: int, ___: bytes, ____: list[Event]) -> None:
        raise BadFrame("a client sent PUSH_PROMISE")

    def _on_ping(self, stream_id: int, flags: int, payload: bytes, _: list[Event]) -> None:
        """6.7. Our own PING comes back once the peer has seen our first GOAWAY (6.8)."""
        if stream_id:
            raise BadFrame("PING on a stream")
        if len(payload) != 8:
            raise BadSize("PING is not 8 bytes")
        self._idle.spend()
        if not flags & ACK:
            self._outbox.put(frames.frame(Kind.PING, ACK, 0, payload))
        elif self._draining and not self._drained and payload == _DRAIN_PING:
            self._drained = True
            self._outbox.put(frames.goaway(self._accepted, Code.NO_ERROR))

    def _on_window(self, stream_id: int, _: int, payload: bytes, events: list[Event]) -> None:
        """6.9."""
        if len(payload) != 4:
            raise BadSize("WINDOW_UPDATE is not 4 bytes")
        self._idle.spend()
        size = int.from_bytes(payload, "big") & MAX_WINDOW
        if not stream_id:
            if not size:
                raise BadFrame("WINDOW_UPDATE by nothing")
            for emptied in self._outbox.widen(size):
                self._emptied(emptied, events)
            return
        stream = self._streams.get(stream_id)
        if stream is None:
            self._late(stream_id)
            return
        stream.window += size
        if not size or stream.window > MAX_WINDOW:
            code = Code.FLOW_CONTROL_ERROR if size else Code.PROTOCOL_ERROR
            self._refuse(stream_id, code, events)
        elif stream.queue and self._outbox.pump(stream):
            self._emptied(stream, events)

    # --- answers ---

    def begin(self, stream_id: int, block: bytes) -> None:
        """The reply's header block. A stream that is gone takes this and all below in silence."""
        stream = self._streams.get(stream_id)
        if stream is not None:
            stream.answered = True
            self._outbox.headers(stream, block, end=False)

    def send(self, stream_id: int, data: bytes) -> bool:
        """All of `data`, which is not empty, as soon as the windows allow.

        False: some of it waits, and `Sendable` will tell when it has gone.
        """
        stream = self._streams.get(stream_id)
        return stream is None or self._outbox.send(stream, data)

    def finish(self, stream_id: int, block: bytes, *, at_once: bool = False) -> None:
        """The last header block, after all data. `at_once` lets go what still waits for a window."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        if stream.queue and not at_once:
            stream.trailers = block
            return
        self._outbox.headers(stream, block, end=True)
        if not stream.ended:
            self._outbox.put(frames.rst_stream(stream_id, Code.NO_ERROR))
        self._forget(stream)

    def consumed(self, stream_id: int, size: int) -> None:
        """So much of a stream's data is done with: the peer may send as much again."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        stream.owed += size
        if stream.owed >= self._limits.stream_window >> 1 and not stream.ended:
            self._outbox.put(frames.window_update(stream_id, stream.owed))
            stream.credit += stream.owed
            stream.owed = 0

    def drain(self) -> None:
        """6.8: no new streams, but those that are on their way already are served."""
        if not self._draining:
            self._draining = True
            self._outbox.put(frames.goaway(LAST_STREAM, Code.NO_ERROR))
            self._outbox.put(frames.frame(Kind.PING, 0, 0, _DRAIN_PING))

    def close(self) -> None:
        """The last GOAWAY: nothing is read or sent after it."""
        self._fail(PeerError("closed by us"), Code.NO_ERROR)

    def take(self) -> bytes:
        """The bytes to write now, in order."""
        return self._outbox.take()

    @property
    def streams(self) -> int:
        return len(self._streams)

    # --- inside ---

    def _emptied(self, stream: Stream, events: list[Event]) -> None:
        if stream.trailers is not None:
            self.finish(stream.id, stream.trailers)
        else:
            events.append(Sendable(stream.id))

    def _restored(self, credit: int) -> int:
        whole = self._limits.connection_window
        self._outbox.put(frames.window_update(0, whole - credit))
        return whole

    def _late(self, stream_id: int) -> None:
        """A frame of a stream that we do not keep: harmless when it existed, and counted."""
        if stream_id > self._seen or not stream_id & 1:
            raise BadFrame(f"a frame on stream {stream_id}, which is idle")
        self._idle.spend()

    def _refuse(self, stream_id: int, code: Code, events: list[Event]) -> None:
        """An error of one stream (5.4.2)."""
        self._vain.spend()
        self._outbox.put(frames.rst_stream(stream_id, code))
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._forget(stream)
            events.append(Reset(stream_id))

    def _forget(self, stream: Stream) -> None:
        del self._streams[stream.id]
        self._outbox.forget(stream)

    def _fail(self, error: PeerError, code: Code | None = None) -> None:
        if self.failed is None:
            self.failed = error
            why = "" if code is Code.NO_ERROR else str(error)
            code = error.code if code is None else code
            self._outbox.stop(frames.goaway(self._accepted, code, why))
            self._streams.clear()
            self._in.clear()
