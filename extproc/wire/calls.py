"""The gRPC calls of the native transport: an exchange with Envoy, its log, and a health check.

A call is told what its stream brings and puts its answers into the connection.
It settles its `Conversation` exactly once, whoever ends the stream, and only
then says how it ended: OK when the exchange was over, UNAVAILABLE when it was
not. Does no I/O; a task exists only while an answer waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from google.protobuf.message import DecodeError

from extproc.flow.exchange import OutOfTurn
from extproc.wire import grpc_frames, processor
from extproc.wire.cuts import MESSAGE, Cuts
from extproc.wire.eager import Eager
from extproc.wire.frames import Limits
from extproc.wire.grpc_frames import BadMessage, Messages, Status
from extproc.wire.hop import Ask, nobody
from extproc.wire.http2 import Connection
from extproc.wire.processor import Conversation, MessageLimit
from extproc.wire.translate import Unexpected

Converse = Callable[[str, str], Conversation]
"""call id and peer -> a conversation"""

_HELD_MESSAGES = 8
"""messages of the greatest size that may always be held, whatever `Limits.held` says"""
_CREDIT = 64 << 10
"""bytes taken of a stream before its peer gets new credit: most streams never need any"""


class Lines(Protocol):
    """What a call needs of its connection."""

    http2: Connection

    def touch(self) -> None:
        """Something was put in outside a read: write it soon."""
        ...

    def ended(self, stream: int) -> None: ...


class Calls:
    """What the calls of a server share: how they begin, which of them run, what they hold."""

    def __init__(
        self,
        eager: Eager,
        converse: Converse,
        limit: MessageLimit,
        limits: Limits,
        ask: Ask = nobody,
        cuts: Cuts | None = None,
    ) -> None:
        self.eager = eager
        self.converse = converse
        self.ask = ask
        self.cuts = cuts
        self.limit = limit
        self.most_running = limits.streams
        self.most_held = max(limits.held, _HELD_MESSAGES * limit)
        self.held = 0
        self.serving = True
        self._running: set[Exchange] = set()
        self._empty: asyncio.Future[None] | None = None

    def open(self, lines: Lines, stream: int, call_id: str, peer: str) -> Exchange | None:
        """None when there are too many, those that still settle included, or none may begin."""
        if not self.serving or len(self._running) >= self.most_running:
            return None
        try:
            conversation = self.converse(call_id, peer)
        except Exception as error:
            self.report("an exchange could not begin", error)
            return None
        call = Exchange(self, lines, stream, conversation)
        self._running.add(call)
        return call

    def over(self, call: Exchange) -> None:
        self._running.discard(call)
        if self._empty is not None and not self._running and not self._empty.done():
            self._empty.set_result(None)

    async def empty(self, patience: float) -> bool:
        """Waits so many seconds until nothing runs, and says whether it is so."""
        if self._running:
            self._empty = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._empty], timeout=patience)
        return not self._running

    def report(self, what: str, error: BaseException) -> None:
        loop = asyncio.get_running_loop()
        loop.call_exception_handler({"message": what, "exception": error})


class Exchange:
    """One stream of ext_proc messages, answered in order, one at a time."""

    __slots__ = (
        "_begun",
        "_blocked",
        "_calls",
        "_conversation",
        "_counted",
        "_deadline",
        "_doom",
        "_ended",
        "_lines",
        "_messages",
        "_settling",
        "_stream",
        "_task",
        "_uncredited",
        "_unsent",
    )

    def __init__(self, calls: Calls, lines: Lines, stream: int, conversation: Conversation) -> None:
        self._calls = calls
        self._lines = lines
        self._stream = stream
        self._conversation = conversation
        self._messages = Messages(calls.limit)
        self._task: asyncio.Task[bytes] | None = None
        """the answer that waits; messages behind it stay where they are"""
        self._doom: tuple[Status, str] | None = None
        """how the stream ends as soon as that task does"""
        self._deadline: asyncio.TimerHandle | None = None
        self._begun = False
        self._blocked = False
        """an answer waits for the peer's window, so the next one is not made"""
        self._ended = False
        self._settling = False
        self._counted = 0
        self._uncredited = 0
        self._unsent = 0
        """bytes of the answer that waits for the peer's window"""

    def expire_in(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(
            seconds, self.stop, Status.DEADLINE_EXCEEDED, "the deadline has passed"
        )

    def received(self, data: bytes, ended: bool) -> None:
        if self._settling:
            return
        self._ended = ended
        if data:
            self._uncredited += len(data)
            self._messages.feed(data)
        if self._task is None:
            self._work()
        if not self._settling and (
            self._messages.held or self._unsent or self._counted or self._uncredited >= _CREDIT
        ):
            self._account()

    def sendable(self) -> None:
        self._blocked = False
        self._unsent = 0
        if not self._settling:
            self._go_on()

    def stop(self, status: Status, why: str) -> None:
        """Ends the stream, whatever it waits for. The peer may be gone: then nobody is told."""
        if self._task is not None:
            self._doom = status, why
            self._task.cancel()
        else:
            self._settle(status, why)
            self._lines.touch()

    def _work(self) -> None:
        """Answers what is there, until a message is not complete, or something waits."""
        messages = self._messages
        try:
            while messages.held and not self._blocked:
                message = messages.next()
                if message is None:
                    break
                answer = self._conversation.at_once(message)
                if answer is None:
                    answer = self._calls.eager.begin(self._conversation.answer(message))
                    if isinstance(answer, asyncio.Task):
                        self._task = answer
                        answer.add_done_callback(self._answered)
                        return
                self._send(answer)
        except (Exception, asyncio.CancelledError) as error:
            self._broken(error)
            return
        if self._ended and not self._blocked:
            if messages.held:
                self._settle(Status.UNAVAILABLE, "the stream ended inside a message")
            else:
                self._finish("the exchange was not over")

    def _go_on(self) -> None:
        """Nothing waits any more."""
        self._work()
        if not self._settling:
            self._account()

    def _account(self) -> None:
        """Counts what is held; new credit for the rest, unless an answer waits: then its peer does."""
        held = self._messages.held + self._unsent
        if held != self._counted:
            self._calls.held += held - self._counted
            self._counted = held
            if self._calls.held > self._calls.most_held:
                self.stop(Status.RESOURCE_EXHAUSTED, "too many bytes wait in this worker")
                return
        if self._uncredited >= _CREDIT and self._task is None and not self._blocked:
            self._lines.http2.consumed(self._stream, self._uncredited)
            self._uncredited = 0

    def _send(self, answer: bytes) -> None:
        http2 = self._lines.http2
        if not self._begun:
            self._begun = True
            http2.begin(self._stream, grpc_frames.REPLY)
        if not http2.send(self._stream, grpc_frames.message(answer)):
            self._blocked = True
            self._unsent = len(answer)

    def _answered(self, task: asyncio.Task[bytes]) -> None:
        """The answer that had to wait."""
        self._task = None
        error = None if task.cancelled() else task.exception()
        if self._doom is not None:
            self._settle(*self._doom)
        elif task.cancelled():
            self._finish("the answer was cancelled")
        elif error is not None:
            self._broken(error)
        else:
            self._send(task.result())
            self._go_on()
        self._lines.touch()

    def _broken(self, error: BaseException) -> None:
        match error:
            case BadMessage():
                self._settle(error.status, str(error))
            case asyncio.CancelledError():
                self._finish("the answer was cancelled")
            case DecodeError() | Unexpected() | OutOfTurn():
                self._finish(f"{type(error).__name__}: {error}")
            case _:
                self._calls.report("an exchange failed", error)
                self._settle(Status.UNAVAILABLE, "the worker failed")

    def _finish(self, why: str) -> None:
        """The one way to end OK: with an exchange that is over."""
        if self._conversation.over:
            self._settle(Status.OK, "")
        else:
            self._settle(Status.UNAVAILABLE, why)

    def _settle(self, status: Status, why: str) -> None:
        """Closes the conversation, once, and tells the peer when that is done."""
        if self._settling:
            return
        self._settling = True
        self._calls.held -= self._counted
        if self._deadline is not None:
            self._deadline.cancel()
        try:
            closing = self._calls.eager.begin(self._conversation.close())
        except (Exception, asyncio.CancelledError) as error:
            self._calls.report("an exchange did not settle", error)
            closing = None
        if closing is None:
            self._end(status, why)
            return

        def settled(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                self._calls.report("an exchange did not settle", error)
            self._end(status, why)
            self._lines.touch()

        closing.add_done_callback(settled)

    def _end(self, status: Status, why: str) -> None:
        block = grpc_frames.ending(status, why, begun=self._begun)
        self._lines.http2.finish(self._stream, block, at_once=status is not Status.OK)
        self._lines.ended(self._stream)
        self._calls.over(self)


class Check:
    """grpc.health.v1.Health/Check: whether new exchanges are welcome. Its request says nothing."""

    __slots__ = ("_calls", "_lines", "_stream")

    def __init__(self, calls: Calls, lines: Lines, stream: int) -> None:
        self._calls = calls
        self._lines = lines
        self._stream = stream

    def received(self, data: bytes, ended: bool) -> None:
        http2 = self._lines.http2
        http2.consumed(self._stream, len(data))
        if ended:
            answer = processor.SERVING if self._calls.serving else processor.NOT_SERVING
            http2.begin(self._stream, grpc_frames.REPLY)
            http2.send(self._stream, grpc_frames.message(answer))
            http2.finish(self._stream, grpc_frames.ENDED_OK)
            self._lines.ended(self._stream)

    def sendable(self) -> None:
        pass

    def stop(self, status: Status, why: str) -> None:
        make = grpc_frames.trailers_only
        self._lines.http2.finish(self._stream, make(status, why))
        self._lines.ended(self._stream)


class LogCall:
    """One stream of Envoy's log: heard as long as it goes on. Its answer says nothing."""

    __slots__ = ("_cuts", "_lines", "_messages", "_over", "_stream")

    def __init__(self, cuts: Cuts, lines: Lines, stream: int) -> None:
        self._cuts = cuts
        self._lines = lines
        self._stream = stream
        self._messages = Messages(MESSAGE)
        self._over = False

    def received(self, data: bytes, ended: bool) -> None:
        if self._over:
            return
        messages = self._messages
        messages.feed(data)
        try:
            while (message := messages.next()) is not None:
                self._cuts.hear(message)
        except BadMessage as error:
            self.stop(error.status, str(error))
        except DecodeError as error:
            self.stop(Status.UNAVAILABLE, f"DecodeError: {error}")
        else:
            http2 = self._lines.http2
            http2.consumed(self._stream, len(data))
            if ended:
                http2.begin(self._stream, grpc_frames.REPLY)
                http2.send(self._stream, grpc_frames.message(b""))
                self._end(grpc_frames.ENDED_OK)

    def sendable(self) -> None:
        pass

    def stop(self, status: Status, why: str) -> None:
        self._end(grpc_frames.trailers_only(status, why))
        self._lines.touch()

    def _end(self, block: bytes) -> None:
        if not self._over:
            self._over = True
            self._cuts.ends()
            self._lines.http2.finish(self._stream, block)
            self._lines.ended(self._stream)
