"""Where log lines go: a file descriptor that is written without ever waiting for its reader.

Takes whole lines, gives the number of lines that it had to throw away. A full
disk, a closed pipe or a reader that stopped costs log lines, never an exchange.
Not thread safe: `Log` holds the lock.
"""

from __future__ import annotations

import os
import select
import socket
import stat
from collections import deque
from collections.abc import Callable

MAX_PENDING = 1 << 20
"""bytes kept for a reader that is behind; what comes on top is lost"""
ATOMIC = 4096
"""PIPE_BUF of Linux: a pipe never mixes a write of this size with another process's"""


class Sink:
    """`pending` is true while lines wait for a reader that is behind."""

    def __init__(self, fd: int) -> None:
        self._write = _writer(fd)
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._mid_line = False

    @property
    def pending(self) -> bool:
        return bool(self._lines)

    def put(self, line: bytes) -> int:
        """Keep a line for the next flush. Gives 1 if there is no room for it, else 0."""
        if self._size + len(line) > MAX_PENDING:
            return 1
        self._lines.append(line)
        self._size += len(line)
        return 0

    def flush(self) -> int:
        """Write what the reader takes now. Gives the number of lines lost for good."""
        while self._lines:
            batch = self._batch()
            data = batch[0] if len(batch) == 1 else b"".join(batch)
            try:
                written = self._write(data)
            except (BlockingIOError, InterruptedError):
                return 0
            except OSError:
                return self.drop()
            self._took(batch, written)
        return 0

    def drop(self) -> int:
        """Give up what is pending. Gives the number of lines."""
        lost = len(self._lines)
        self._lines.clear()
        self._size = 0
        if self._mid_line:
            self.put(b"\n")
            self._mid_line = False
        return lost

    def _batch(self) -> list[bytes]:
        batch: list[bytes] = []
        size = 0
        for line in self._lines:
            size += len(line)
            if batch and size > ATOMIC:
                break
            batch.append(line)
        return batch

    def _took(self, batch: list[bytes], written: int) -> None:
        self._size -= written
        for line in batch:
            if written < len(line):
                self._lines[0] = line[written:]
                self._mid_line = self._mid_line or written > 0
                return
            written -= len(line)
            self._lines.popleft()
            self._mid_line = False


def _writer(fd: int) -> Callable[[bytes], int]:
    """A write that takes what fits and raises BlockingIOError when nothing does."""
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return lambda data: os.write(fd, data)
    if stat.S_ISSOCK(mode):
        return _socket_writer(fd)
    if stat.S_ISFIFO(mode):
        return _pipe_writer(fd)
    if stat.S_ISCHR(mode):
        return _polled_writer(fd)
    return lambda data: os.write(fd, data)


def _socket_writer(fd: int) -> Callable[[bytes], int]:
    peer = socket.socket(fileno=os.dup(fd))
    return lambda data: peer.send(data, socket.MSG_DONTWAIT)


def _pipe_writer(fd: int) -> Callable[[bytes], int]:
    # O_NONBLOCK on `fd` itself would change the pipe for every process that
    # shares it; opening the same pipe anew gives us flags of our own.
    try:
        own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return _polled_writer(fd)
    return lambda data: os.write(own, data)


def _polled_writer(fd: int) -> Callable[[bytes], int]:
    poller = select.poll()
    poller.register(fd, select.POLLOUT)

    def write(data: bytes) -> int:
        if not poller.poll(0):
            raise BlockingIOError
        return os.write(fd, data[:ATOMIC])

    return write
