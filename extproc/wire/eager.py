"""Runs a coroutine at once, and gives it a task only when it really waits.

Most of our coroutines never wait: a task for each would cost more than they do.
A coroutine may ask which task it runs in before it waits for the first time
(`asyncio.timeout` does), so a spare task stands ready whose name it runs under,
and which takes over what is left of it. One spare serves until somebody waits.
"""

from __future__ import annotations

import asyncio
from asyncio import (
    _enter_task,  # pyright: ignore[reportPrivateUsage, reportUnknownVariableType]
    _leave_task,  # pyright: ignore[reportPrivateUsage, reportUnknownVariableType]
)
from collections.abc import Coroutine
from contextvars import Context, copy_context
from typing import Any, TypeVar

T = TypeVar("T")
Waits = Coroutine[Any, Any, T]


class Eager:
    """Belongs to the running loop. Meant for its callbacks: inside a task, `begin` makes another."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._spare = _Spare(self._loop)

    def begin(self, coroutine: Waits[T]) -> T | asyncio.Task[T]:
        """What the coroutine returns; or the task that it goes on in. Raises what it raises."""
        loop, spare = self._loop, self._spare
        task = spare.task
        try:
            _enter_task(loop, task)
        except RuntimeError:  # another task is running
            return loop.create_task(coroutine)
        try:
            awaited = spare.context.run(coroutine.send, None)
        except StopIteration as returned:
            return returned.value
        finally:
            _leave_task(loop, task)
        self._spare = _Spare(self._loop)
        spare.take(coroutine, awaited)
        return spare.task

    async def close(self) -> None:
        self._spare.task.cancel()
        await asyncio.wait([self._spare.task])


class _Spare(Coroutine[Any, Any, Any]):
    """What a spare task runs: nothing, until it is given a coroutine that waits; then that one."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._ready: asyncio.Future[None] = loop.create_future()
        self._inner: Waits[Any] | None = None
        self._awaited: object = None
        self._told = False
        self.context: Context = copy_context()
        self.task: asyncio.Task[Any] = loop.create_task(self, context=self.context)

    def take(self, coroutine: Waits[Any], awaited: object) -> None:
        """`awaited` is what the coroutine has yielded, which the task must hear first."""
        self._inner, self._awaited = coroutine, awaited
        self._ready.set_result(None)

    def send(self, value: Any, /) -> Any:
        if self._inner is None:
            return next(self._ready.__await__())
        if not self._told:
            self._told = True
            return self._awaited
        return self._inner.send(value)

    def throw(self, *error: Any) -> Any:
        if self._inner is None:
            raise error[0]
        self._told = True
        return self._inner.throw(*error)

    def close(self) -> None:
        if self._inner is not None:
            self._inner.close()

    def __await__(self) -> Any:
        raise TypeError("only a task runs this")
