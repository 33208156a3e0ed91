"""A stage is one policy: one file in `stages/`, one block of the same name in the configuration.

One instance lives as long as one exchange, so its private state is its own
attributes. Override what you need; what is not overridden costs nothing.
Requests pass the stages inwards, events pass them outwards.

A stage's file has two names: `STAGE`, its class, and `BLOCK`, the language of
its block (`config.shapes`). A stage is active when its block is there, or when
it has a default one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from extproc.model.call import Attempt, Call, Ending
from extproc.model.ports import Ports
from extproc.model.reply import Event
from extproc.model.value import value


@value
class Answer:
    """A stage knows the answer: no provider is asked."""

    events: Sequence[Event]


@value
class OnWish:
    """What makes a stage that is needed only where a client wishes something (`chat.Options`).

    Other exchanges do without it, and spend nothing on it. One that READS_REQUESTS is made for all.
    """

    make: Callable[[], Stage]


class Stage:
    """Does nothing. A `GatewayError` that a stage raises is the client's answer.

    Any other exception is a defect: the exchange is refused, never let through.
    """

    AFTER: ClassVar[tuple[str, ...]] = ()
    """Names of stages that must come before this one."""
    READS_REQUESTS: ClassVar[bool] = True
    """Whether it must see what a request says. If so, no upload passes unseen."""
    DEFAULT: ClassVar[object] = None
    """Its block where the configuration has none; None: it is not active then."""

    watches: bool = True
    """Whether it wants the events of this exchange's reply. An instance may say so in `on_request`;
    after that nobody asks."""

    @classmethod
    def prepare(cls, block: object, ports: Ports) -> Callable[[], Stage] | OnWish | None:
        """Called once, when a configuration loads: what makes an instance for each exchange.

        `block` is the stage's block as checked plain values. Compile here what can be.
        None: the block says that it is off.
        """
        del block, ports
        return cls

    async def on_request(self, call: Call) -> Call | Answer:
        """The request, parsed. Give back the call, changed or not, or the answer."""
        return call

    async def on_attempt(self, call: Call, attempt: Attempt) -> None:
        """Before every attempt leaves, the first too. Raise to refuse it."""

    def on_event(self, event: Event) -> Sequence[Event]:
        """An event of the reply on its way out. Synchronous: nothing waits while a stream flows.

        For those that may change it: where one of them watches, no reply passes untouched.
        """
        return (event,)

    def on_seen(self, event: Event) -> None:
        """As `on_event`, for those that only look: raw bytes may pass. One or the other, not both."""

    async def on_end(self, ending: Ending) -> None:
        """Exactly once, also when the client hung up."""
