"""An async context in an event loop and a thread of its own, while a blocking test goes on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def in_a_thread(serving: Callable[[], AbstractAsyncContextManager[T]]) -> Iterator[T]:
    """Gives what the async context gives. It is left, in its thread, at the end."""
    started, over = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()
    given: list[T] = []

    async def main() -> None:
        async with serving() as value:
            given.append(value)
            started.set()
            await over.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()), daemon=True)
    thread.start()
    assert started.wait(10), "it did not start"
    try:
        yield given[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
        loop.close()
