"""The native transport's call of an attempt: credit, its timer, and how its stream ends.

What the hop holds back lies with Envoy: of its pieces nothing is kept here, so
credit is given for all that was read. The stream ends OK once there is a
verdict; without one it never does.
"""

from __future__ import annotations

import asyncio

from google.protobuf.message import DecodeError

from extproc.wire import grpc_frames
from extproc.wire.calls import Calls, Lines
from extproc.wire.grpc_frames import BadMessage, Messages, Status
from extproc.wire.hop import Asking, Said
from extproc.wire.translate import Unexpected

_CREDIT = 16 << 10
"""bytes taken of a stream before its peer gets new credit"""


class AttemptCall:
    """One stream of the hop. Answers come in order; while one waits, nothing more is read."""

    __slots__ = (
        "_asking",
        "_begun",
        "_calls",
        "_ended",
        "_lines",
        "_messages",
        "_over",
        "_stream",
        "_task",
        "_timer",
        "_uncredited",
    )

    def __init__(self, calls: Calls, lines: Lines, stream: int, asking: Asking) -> None:
        self._calls = calls
        self._lines = lines
        self._stream = stream
        self._asking = asking
        self._messages = Messages(calls.limit)
        self._task: asyncio.Task[Said] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._uncredited = 0
        self._begun = self._ended = self._over = False

    def received(self, data: bytes, ended: bool) -> None:
        if self._over:
            return
        self._ended = ended
        if data:
            self._uncredited += len(data)
            self._messages.feed(data)
        if self._task is None:
            self._work()

    def sendable(self) -> None:
        """What waited for the peer's window has gone; nothing here waits for that."""

    def stop(self, status: Status, why: str) -> None:
        """Ends the stream undecided. The peer may be gone: then nobody is told."""
        if self._task is not None:
            self._task.cancel()
        self._finish(status, why)
        self._lines.touch()

    def _work(self) -> None:
        messages, asking = self._messages, self._asking
        try:
            while not self._over:
                message = messages.next()
                if message is None:
                    break
                said = asking.at_once(message)
                if said is None:
                    said = self._calls.eager.begin(asking.heard(message))
                    if isinstance(said, asyncio.Task):
                        self._task = said
                        said.add_done_callback(self._answered)
                        return
                self._say(said)
        except (Exception, asyncio.CancelledError) as error:
            self._broken(error)
        if self._over:
            return
        if self._ended:
            self._finish(Status.UNAVAILABLE, "the attempt was not decided")
            return
        if self._uncredited >= _CREDIT:
            self._lines.http2.consumed(self._stream, self._uncredited)
            self._uncredited = 0
        self._set_timer()

    def _answered(self, task: asyncio.Task[Said]) -> None:
        self._task = None
        if self._over:
            if not task.cancelled():
                task.exception()
            return
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None:
            self._broken(error)
        else:
            self._say(task.result())
            self._work()
        self._lines.touch()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wait = self._asking.wait()
        if wait is not None:
            self._timer = asyncio.get_running_loop().call_later(wait, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        try:
            self._say(self._asking.on_time())
        except Exception as error:
            self._broken(error)
        if not self._over:
            self._set_timer()
        self._lines.touch()

    def _say(self, said: Said) -> None:
        if said.data:
            http2 = self._lines.http2
            if not self._begun:
                self._begun = True
                http2.begin(self._stream, grpc_frames.REPLY)
            http2.send(self._stream, grpc_frames.message(said.data))
        if said.ends:
            self._finish(Status.OK, "")

    def _broken(self, error: BaseException) -> None:
        match error:
            case BadMessage():
                self._finish(error.status, str(error))
            case DecodeError() | Unexpected() | asyncio.CancelledError():
                self._finish(Status.UNAVAILABLE, f"{type(error).__name__}: {error}")
            case _:
                self._calls.report("an attempt failed", error)
                self._finish(Status.UNAVAILABLE, "the worker failed")

    def _finish(self, status: Status, why: str) -> None:
        if self._over:
            return
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        self._asking.lost()
        block = grpc_frames.ending(status, why, begun=self._begun)
        self._lines.http2.finish(self._stream, block, at_once=status is not Status.OK)
        self._lines.ended(self._stream)
