"""What an HTTP/2 connection has to write: frames in order, DATA as far as the peer's windows allow.

Takes whole pieces and cuts them into frames; what no window allows waits in its
stream (RFC 9113, section 6.9). Reads nothing and decides nothing.
"""

from __future__ import annotations

from collections import deque

from extproc.wire import frames
from extproc.wire.frames import DEFAULT_WINDOW, HEAD, MAX_FRAME, MAX_WINDOW, BadWindow


class Stream:
    """One stream: the peer's half is `credit`, `owed` and `ended`, the rest is ours."""

    __slots__ = ("answered", "credit", "ended", "id", "owed", "queue", "trailers", "window")

    def __init__(self, id: int, window: int, credit: int, ended: bool) -> None:
        self.id = id
        self.window = window
        """bytes that we may send; below zero when the peer has shrunk it"""
        self.credit = credit
        """bytes that the peer may send"""
        self.owed = 0
        """bytes consumed, for which the peer has not got new credit yet"""
        self.ended = ended
        self.answered = False
        self.queue: deque[memoryview] | None = None
        """what waits for a window"""
        self.trailers: bytes | None = None
        """the last header block, which waits for the queue"""


class Outbox:
    """The frames of one connection, and the windows that its peer has given us."""

    def __init__(self) -> None:
        self.stream_window = DEFAULT_WINDOW
        """what a new stream begins with"""
        self._window = DEFAULT_WINDOW
        self._out: list[bytes | memoryview] = []
        self._starved: dict[int, Stream] = {}
        """streams, in order, that wait for the connection's window and not for their own"""

    def put(self, frame: bytes) -> None:
        """A frame that no window holds back."""
        self._out.append(frame)

    def send(self, stream: Stream, data: bytes) -> bool:
        """True: all of it has been sent."""
        size = len(data)
        if size > MAX_FRAME or size > stream.window or size > self._window or stream.queue:
            if stream.queue is None:
                stream.queue = deque()
            stream.queue.append(memoryview(data))
            return self.pump(stream)
        stream.window -= size
        self._window -= size
        self._out += (HEAD.pack(size >> 8, size & 0xFF, 0, 0, stream.id), data)
        return True

    def pump(self, stream: Stream) -> bool:
        """Sends of a stream's queue what the windows allow. True: all of it."""
        queue = stream.queue
        while queue:
            piece = queue[0]
            room = min(stream.window, self._window, MAX_FRAME)
            if room <= 0:
                if stream.window > 0:
                    self._starved[stream.id] = stream
                return False
            part = piece[:room]
            size = len(part)
            if size == len(piece):
                queue.popleft()
            else:
                queue[0] = piece[room:]
            stream.window -= size
            self._window -= size
            self._out += (HEAD.pack(size >> 8, size & 0xFF, 0, 0, stream.id), part)
        return True

    def widen(self, size: int) -> list[Stream]:
        """The connection's window grows. Gives the streams whose queue is empty now. Raises BadWindow."""
        self._window += size
        if self._window > MAX_WINDOW:
            raise BadWindow("the connection's window is too large")
        emptied: list[Stream] = []
        while self._starved and self._window > 0:
            stream = self._starved.pop(next(iter(self._starved)))
            if self.pump(stream):
                emptied.append(stream)
        return emptied

    def forget(self, stream: Stream) -> None:
        self._starved.pop(stream.id, None)

    def stop(self, last: bytes) -> None:
        """Nothing after this frame."""
        self._out.append(last)
        self._starved.clear()

    def take(self) -> bytes:
        """The bytes to write now."""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def headers(self, stream: Stream, block: bytes, *, end: bool) -> None:
        self._out.append(frames.headers(stream.id, block, end=end))
