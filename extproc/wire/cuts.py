"""Exchanges that were cut, and what Envoy's access log says of each: brought together here.

An exchange whose stream ended in the midst of its reply waits for Envoy's word, which may
also have come before; then it is settled, once. Both wait for a second at most, and there
are so many of them at most, of which the oldest goes: an exchange without a word is settled
as it would have been without Envoy. Exchanges that end properly never come here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeAlias

from extproc.config.names import CALL_TAG, DETAILS_TAG, FLAGS_TAG, STATUS_TAG
from extproc.flow.cuts import Cut
from extproc.model.call import CallId
from extproc.wire.eager import Eager
from extproc.wire.pb import access_log_pb2 as pb

SERVICE = "envoy.service.accesslog.v3.AccessLogService"
METHOD = "StreamAccessLogs"
MESSAGE = 1 << 20
"""bytes of the largest message: an entry has the client's path and some of its headers"""

PATIENCE = 1.0
"""seconds for which an exchange waits for its word, and a word for its exchange"""
MOST = 1024
"""of either"""
MOST_LOGS = 1024
"""streams of Envoy's log: one for each of its threads and listeners"""

Settle: TypeAlias = Callable[[Cut | None], Coroutine[Any, Any, None]]
"""ends an exchange for good; None: Envoy said nothing"""


class Cuts:
    """Belongs to the running loop."""

    def __init__(self, patience: float = PATIENCE, most: int = MOST) -> None:
        self._loop = asyncio.get_running_loop()
        self._eager = Eager()
        self._patience = patience
        self._most = most
        self._waiting: dict[CallId, tuple[float, Settle]] = {}
        self._words: dict[CallId, tuple[float, Cut]] = {}
        self._settling: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._logs = 0
        self._news = asyncio.Event()

    def __len__(self) -> int:
        """How many exchanges wait."""
        return len(self._waiting)

    # --- the exchanges' side ---

    def word(self, call: CallId) -> Cut | None:
        """What Envoy has said of a call before its stream ended."""
        found = self._words.pop(call, None)
        return None if found is None else found[1]

    def keep(self, call: CallId, settle: Settle) -> None:
        """Settles it when Envoy has said its word, or in a second without."""
        if len(self._waiting) >= self._most:
            self._settle(next(iter(self._waiting)), None)
        self._waiting[call] = (self._loop.time(), settle)
        self._set_timer()

    # --- Envoy's side ---

    def begins(self) -> bool:
        """A stream of the log begins, if there are not too many; the other end of it is `ends`."""
        if self._logs >= MOST_LOGS:
            return False
        self._logs += 1
        return True

    def ends(self) -> None:
        self._logs -= 1
        self._news.set()

    def hear(self, message: bytes) -> None:
        """One message of such a stream. Raises DecodeError."""
        for entry in pb.StreamAccessLogsMessage.FromString(message).http_logs.log_entry:
            tags = entry.common_properties.custom_tags
            status, flags = tags.get(STATUS_TAG, ""), tags.get(FLAGS_TAG, "")
            cut = Cut(
                int(status) if status.isdecimal() else 0,
                frozenset(flags.split(",")),
                tags.get(DETAILS_TAG, ""),
            )
            self._hear(CallId(tags.get(CALL_TAG, "")), cut)

    def _hear(self, call: CallId, cut: Cut) -> None:
        if call in self._waiting:
            self._settle(call, cut)
            return
        if not call:
            return
        if len(self._words) >= self._most:
            del self._words[next(iter(self._words))]
        self._words[call] = (self._loop.time(), cut)
        self._set_timer()

    # --- the end ---

    def _settle(self, call: CallId, cut: Cut | None) -> None:
        _, settle = self._waiting.pop(call)
        self._news.set()
        try:
            task = self._eager.begin(settle(cut))
        except Exception as error:
            self._report(error)
            return
        if task is not None:
            self._settling.add(task)
            task.add_done_callback(self._settled)

    def _settled(self, task: asyncio.Task[None]) -> None:
        self._settling.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._report(error)

    def _report(self, error: BaseException) -> None:
        told = {"message": "an exchange did not settle", "exception": error}
        self._loop.call_exception_handler(told)

    def _set_timer(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(self._patience, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        until = self._loop.time() - self._patience
        for call in _older(self._waiting, until):
            self._settle(call, None)
        for call in _older(self._words, until):
            del self._words[call]
        times = [next(iter(kept.values()))[0] for kept in (self._waiting, self._words) if kept]
        if times:
            self._timer = self._loop.call_at(min(times) + self._patience, self._on_time)

    async def settled(self) -> None:
        """Returns when no exchange waits any more. Nothing is waited for when Envoy has hung up."""
        while self._waiting and self._logs:
            self._news.clear()
            await self._news.wait()

    async def close(self) -> None:
        """Settles what waits, at once."""
        for call in list(self._waiting):
            self._settle(call, None)
        if self._timer is not None:
            self._timer.cancel()
        if self._settling:
            await asyncio.wait(self._settling)
        await self._eager.close()


def _older(kept: Mapping[CallId, tuple[float, object]], until: float) -> list[CallId]:
    return [call for call, (since, _) in kept.items() if since <= until]
