"""The gateway's own log: structured, one line an event, JSON or text for people.

Takes events with fields, writes them to a file descriptor. Inside an event
loop the lines of a moment leave together; errors leave at once. It never
raises, never waits for the reader, and never holds more than a bounded buffer:
lines that cannot be written are counted in `lost`. It never sees a body.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping
from time import gmtime, strftime

from extproc.model.ports import Clock
from extproc.telemetry.lines import Lines
from extproc.telemetry.sink import Sink

LEVELS: Mapping[str, int] = {"debug": 10, "info": 20, "warning": 30, "error": 40}
GATHER = 0.01
"""seconds in which lines gather, so that a busy process does not write each one for itself"""
RETRY = 0.05
"""seconds until a reader that was behind is tried again"""


class Log:
    """`part` names the process (`worker-1`); `format` is auto, json or console.

    `auto` is console when the descriptor is a terminal. `on_lost` is told the
    number of lines, each time some are lost. `gather` is for how many seconds
    lines gather before they are written.
    """

    def __init__(
        self,
        stream_fd: int,
        part: str,
        level: str,
        format: str,
        clock: Clock,
        *,
        on_lost: Callable[[int], None] | None = None,
        gather: float = GATHER,
    ) -> None:
        console = format == "console" or (format == "auto" and os.isatty(stream_fd))
        self._lines = Lines(part, console)
        self._sink = Sink(stream_fd)
        self._threshold = LEVELS[level]
        self._clock = clock
        self._on_lost = on_lost
        self._gather = gather
        self._lock = threading.RLock()
        self._scheduled = False
        self._second = -1
        self._stamp = ""
        self.lost = 0

    def set_level(self, level: str) -> None:
        """The least that is logged from now on."""
        self._threshold = LEVELS[level]

    def debug(self, event: str, /, **fields: object) -> None:
        if self._threshold <= 10:
            self._emit("debug", event, fields)

    def info(self, event: str, /, **fields: object) -> None:
        if self._threshold <= 20:
            self._emit("info", event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        if self._threshold <= 30:
            self._emit("warning", event, fields)

    def error(self, event: str, /, **fields: object) -> None:
        self._emit("error", event, fields)

    def exchange(self, fields: Mapping[str, object]) -> None:
        """The one line of an exchange. `fields` are flat, and the caller does not change them later."""
        if self._threshold <= 20:
            self._emit("info", "exchange", fields)

    def flush(self) -> None:
        """Write what the reader takes now. Called a moment after a line came, and at exit."""
        with self._lock:
            self._lose(self._sink.flush())

    def close(self) -> None:
        """Write what can be written, count the rest as lost. The descriptor stays open."""
        with self._lock:
            self.flush()
            self._lose(self._sink.drop())

    def _emit(self, level: str, event: str, fields: Mapping[str, object]) -> None:
        with self._lock:
            line = self._lines.render(self._time(), level, event, fields)
            self._lose(self._sink.put(line))
            loop = None if level == "error" else _running_loop()
            if loop is None:
                self.flush()
            elif not self._scheduled:
                self._scheduled = True
                loop.call_later(self._gather, self._tick)

    def _tick(self) -> None:
        with self._lock:
            self.flush()
            self._scheduled = self._sink.pending
            if self._scheduled:
                asyncio.get_running_loop().call_later(RETRY, self._tick)

    def _lose(self, count: int) -> None:
        if count:
            self.lost += count
            if self._on_lost is not None:
                self._on_lost(count)

    def _time(self) -> str:
        now = self._clock.time()
        second = int(now)
        if second != self._second:
            self._second = second
            self._stamp = strftime("%Y-%m-%dT%H:%M:%S", gmtime(second))
        return f"{self._stamp}.{int((now - second) * 1000):03d}Z"


def bridge_stdlib(log: Log, names: Iterable[str] = ("grpc", "uvicorn", "asyncio")) -> None:
    """Send what libraries say through `logging` into our log, from warnings upwards.

    The root logger gets our handler alone; the loggers in `names` lose their own
    handlers. uvicorn's access lines are turned off: Envoy writes them.
    """
    root = logging.getLogger()
    root.handlers[:] = [_Bridge(log)]
    root.setLevel(logging.WARNING)
    for name in names:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.WARNING)
    logging.getLogger("uvicorn.access").disabled = True


class _Bridge(logging.Handler):
    """Of an exception it tells the type, a short text and where; never a value on the stack."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, object] = {"logger": record.name}
        try:
            fields["message"] = record.getMessage()[:500]
        except Exception:
            # The library's own format string and arguments do not fit together.
            fields["message"] = str(record.msg)[:500]
        if record.exc_info and record.exc_info[1] is not None:
            raised = record.exc_info[1]
            fields["error"] = type(raised).__name__
            fields["reason"] = str(raised)[:200]
            frames = traceback.extract_tb(raised.__traceback__)[-5:]
            fields["where"] = [f"{frame.filename}:{frame.lineno}" for frame in frames]
        if record.levelno >= logging.ERROR:
            self._log.error("library", **fields)
        elif record.levelno >= logging.WARNING:
            self._log.warning("library", **fields)
        else:
            self._log.info("library", **fields)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
