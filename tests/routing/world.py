"""What tests of decisions need: a configuration compiled, health that can be brought low, and calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from extproc import discover
from extproc.config.schema import ModelRoute, Provider, Routing, Settings, TargetRef
from extproc.flow.snapshot import ERROR_DIALECT, Registry
from extproc.model.call import LOCAL, Call, Caller, CallId, Failure, Target, Tried
from extproc.model.chat import Chat, Message, Role, Text
from extproc.model.embed import Routed
from extproc.routing.atlas import Atlas, compile_atlas
from extproc.routing.backend import Plan, compile_backend
from extproc.routing.explain import Explanation, explain
from extproc.routing.health import Health
from extproc.routing.hearing import Asked
from extproc.routing.router import plan
from tests.kit import FakeClock, provider


@cache
def registry() -> Registry:
    return discover.registry()


def atlas_of(settings: Settings) -> Atlas:
    """As `compile_snapshot` makes it, without all else."""
    known = registry()
    usable = {n: p for n, p in settings.providers.items() if not p.unavailable}
    backends = {
        name: compile_backend(one, {one.dialect: known.dialects[one.dialect]}, known.credential)
        for name, one in usable.items()
    }
    unavailable = {n: p.unavailable for n, p in settings.providers.items() if p.unavailable}
    return compile_atlas(
        settings, backends, unavailable, known.dialects, known.dialects[ERROR_DIALECT]
    )


def chosen(atlas: Atlas, caller: Caller, request: Routed) -> Plan:
    """As `plan`, while nothing is known of any target."""
    asked = Asked(Call(CallId("gw-1"), caller, request), {}, 0.0)
    return plan(atlas, Health(Routing(), FakeClock()), asked)


def chat(*texts: str, model: str = "chat", system: str = "", **changes: Any) -> Chat:
    """What the user said, turn by turn, with an answer between."""
    roles = (Role.USER, Role.ASSISTANT)
    said = [Message(roles[i % 2], (Text(text),)) for i, text in enumerate(texts or ("hi",))]
    if system:
        said.insert(0, Message(Role.SYSTEM, (Text(system),)))
    return Chat("openai_chat", model, tuple(said), **changes)


def target(provider: str, model: str = "gpt-4o", **more: Any) -> TargetRef:
    return TargetRef(provider=provider, model=model, **more)


@dataclass
class World:
    """One worker's routing."""

    settings: Settings
    clock: FakeClock = field(default_factory=FakeClock)

    def __post_init__(self) -> None:
        self.atlas = atlas_of(self.settings)
        self.health = Health(self.settings.routing, self.clock)

    @staticmethod
    def of(
        *groups: Sequence[TargetRef],
        providers: Mapping[str, Provider] | None = None,
        routing: Routing | None = None,
        name: str = "chat",
        **more: Any,
    ) -> World:
        """One model of these groups, whose providers are as many as it takes."""
        route = ModelRoute(groups=tuple(map(tuple, groups)), **more)
        names = [ref.provider.partition("@")[0] for ref in route.targets]
        known = {name: provider(name) for name in names} | {**(providers or {})}
        return World(Settings(providers=known, models={name: route}, routing=routing or Routing()))

    def asked(
        self,
        request: Routed | None = None,
        *,
        call: str = "gw-1",
        caller: Caller = LOCAL,
        headers: Mapping[str, str] | None = None,
    ) -> Asked:
        made = Call(CallId(call), caller, request or chat())
        return Asked(made, headers or {}, self.clock.time())

    def plan(self, request: Routed | None = None, **more: Any) -> Plan:
        return plan(self.atlas, self.health, self.asked(request, **more))

    def explain(self, request: Routed | None = None, **more: Any) -> Explanation:
        return explain(self.atlas, self.health, self.asked(request, **more))

    def keys(self, request: Routed | None = None, **more: Any) -> list[str]:
        """The targets in the order of attempts."""
        return [one.target.provider for one in self.plan(request, **more).targets]

    def ended(
        self,
        key: str,
        failure: Failure | None = None,
        *,
        seconds: float = 0.1,
        tokens: int = 10,
        retry_after: float | None = None,
    ) -> None:
        """An attempt at the target `provider/model` that took so long."""
        name, _, model = key.partition("/")
        self.health.begun(key)
        now = self.clock.monotonic()
        tried = Tried(
            number=1,
            target=Target(provider=name, model=model, dialect="openai_chat"),
            failure=failure,
            status=429 if retry_after else 500 if failure else 200,
            details="via_upstream",
            began=now - seconds,
            ended=now,
            head_at=now,
            retry_after=retry_after,
        )
        self.health.ended(tried, tokens)

    def open(self, key: str) -> None:
        for _ in range(self.settings.routing.breaker.failures):
            self.ended(key, Failure.SERVER_ERROR)

    def cool(self, key: str, seconds: float) -> None:
        self.ended(key, Failure.RATE_LIMIT, retry_after=seconds)
