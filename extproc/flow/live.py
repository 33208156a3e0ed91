"""What is going on in this worker right now: the running exchanges and the bytes they hold."""

from __future__ import annotations

from collections.abc import Callable

from extproc.model.errors import Overloaded


class Live:
    """Counts exchanges and bodies, and refuses a body that would pass the limit.

    `limit` is in bytes. `changed` is told how many are held, whenever that changes.
    """

    def __init__(self, limit: int, changed: Callable[[int], None] | None = None) -> None:
        self.limit = limit
        self.exchanges = 0
        self.held = 0
        self._changed = changed

    def enter(self) -> None:
        self.exchanges += 1

    def leave(self) -> None:
        self.exchanges -= 1

    def hold(self, size: int) -> None:
        """Raises Overloaded when the worker already holds as much as it may."""
        if self.held + size > self.limit:
            raise Overloaded(
                "The gateway is holding as many request and reply bytes as it may; try again.",
                code="gateway_busy",
                retry_after=1.0,
            )
        self._move(size)

    def release(self, size: int) -> None:
        self._move(-size)

    def _move(self, size: int) -> None:
        self.held += size
        if size and self._changed is not None:
            self._changed(self.held)
