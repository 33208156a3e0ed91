"""A worker's health, told of attempts in one line each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from extproc.config.schema import Breaker, Routing
from extproc.model.call import Failure, Target, Tried
from extproc.model.ports import SharedStanding
from extproc.routing.breaker import State
from extproc.routing.health import Health
from tests.kit import FakeClock

KEY = "acme/gpt"
OTHER = "zeta/gpt"


def routing(**breaker: Any) -> Routing:
    return Routing(breaker=Breaker(**breaker))


@dataclass
class Worker:
    """`attempt` is one from begin to end, the clock moved by `seconds` where it is said."""

    routing: Routing = field(default_factory=Routing)
    shared: SharedStanding | None = None
    clock: FakeClock = field(default_factory=FakeClock)
    told: list[tuple[str, State, str]] = field(default_factory=list[tuple[str, State, str]])

    def __post_init__(self) -> None:
        self.health = Health(
            self.routing, self.clock, self.shared, lambda *what: self.told.append(what)
        )

    def begin(self, key: str = KEY) -> float:
        self.health.begun(key)
        return self.clock.now

    def end(
        self,
        began: float,
        failure: Failure | None = None,
        *,
        key: str = KEY,
        tokens: int = 0,
        status: int = 200,
        head: float | None = None,
        first: float | None = None,
        retry_after: float | None = None,
    ) -> None:
        """`head` and `first` are seconds from the beginning."""
        provider, _, model = key.partition("/")
        tried = Tried(
            1,
            Target(provider, model, "openai_chat"),
            failure,
            status,
            "",
            began,
            self.clock.now,
            head_at=None if head is None else began + head,
            first_at=None if first is None else began + first,
            retry_after=retry_after,
        )
        self.health.ended(tried, tokens)

    def attempt(self, failure: Failure | None = None, *, seconds: float = 0.0, **more: Any) -> None:
        began = self.begin(more.get("key", KEY))
        self.clock.advance(seconds)
        self.end(began, failure, **more)

    def good(self, times: int = 1, **more: Any) -> None:
        for _ in range(times):
            self.attempt(**more)

    def bad(self, times: int = 1, **more: Any) -> None:
        for _ in range(times):
            self.attempt(Failure.SERVER_ERROR, status=500, **more)

    def state(self, key: str = KEY) -> State:
        return self.health.standing(key).state

    def until(self, key: str = KEY) -> float:
        return self.health.standing(key).until
