"""What many tests need: a clock that stands still, settings, and a dialogue with an exchange."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from extproc import discover
from extproc.config.schema import Key, ModelRoute, Provider, Secret, Settings, TargetRef
from extproc.flow.exchange import Exchange, Machine
from extproc.flow.live import Live
from extproc.flow.messages import (
    Incoming,
    Outgoing,
    RequestBody,
    RequestHead,
    ResponseBody,
    ResponseHead,
)
from extproc.flow.snapshot import Snapshot, compile_snapshot
from extproc.model.call import CallId
from extproc.model.ports import Ports
from extproc.model.stage import Stage
from extproc.stores.conversations import Conversations
from extproc.telemetry.log import Log

CALL_ID = CallId("gw-00000000-0000-4000-8000-000000000001")


@dataclass
class FakeClock:
    """Time that moves only when told."""

    now: float = 1000.0
    unix: float = 1_800_000_000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.unix

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self.unix += seconds


def route(*targets: tuple[str, str], **more: Any) -> ModelRoute:
    """A model with one group for each (provider, model)."""
    refs = [TargetRef(provider=provider, model=model) for provider, model in targets]
    return ModelRoute(groups=tuple((ref,) for ref in refs), **more)


def provider(name: str = "acme", **changes: Any) -> Provider:
    fields: dict[str, Any] = {
        "name": name,
        "dialect": "openai_chat",
        "endpoint": "http://127.0.0.1:9001/v1",
        "api_key": Secret("provider-secret-key"),
        "models": ("gpt-4o", "gpt-4o-mini"),
    }
    return Provider(**{**fields, **changes})


def settings(**changes: Any) -> Settings:
    fields: dict[str, Any] = {
        "providers": {"acme": provider()},
        "models": {"fast": route(("acme", "gpt-4o-mini"))},
    }
    return Settings(**{**fields, **changes})


ALICE = Key(name="alice", key=Secret("alice-key-0123456789"), models=("*",))


def ports(folder: Path | None = None) -> Ports:
    """Real stores in `folder`; without one, stores whose files cannot be made."""
    place = folder or Path(os.devnull) / "nowhere"
    return Ports(Conversations(place, FakeClock(), lambda reason: None))


def snapshot(
    config: Settings | None = None, stages: tuple[Callable[[], Stage], ...] | None = None
) -> Snapshot:
    """`stages` None: those that the configuration asks for."""
    made = compile_snapshot(config or settings(), discover.registry(), b"s" * 32, ports())
    return made if stages is None else replace(made, stages=stages, standing=stages)


@dataclass
class Dialogue:
    """An exchange, played by hand: each method is one message of Envoy's, its answer is given back."""

    config: Settings | None = None
    stages: tuple[Callable[[], Stage], ...] | None = None
    clock: FakeClock = field(default_factory=FakeClock)
    in_flight: int = 1 << 30

    def __post_init__(self) -> None:
        self.live = Live(self.in_flight)
        log = Log(2, "test", "error", "json", self.clock)
        self.machine = Machine(snapshot(self.config, self.stages), self.live, self.clock, log)
        self.exchange = Exchange(self.machine)

    async def tell(self, message: Incoming) -> Outgoing:
        return await self.exchange.handle(message)

    async def head(
        self,
        path: str = "/v1/chat/completions",
        method: str = "POST",
        *,
        peer: str = "127.0.0.1",
        end: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> Outgoing:
        all_headers = {
            ":method": method,
            ":path": path,
            ":authority": "localhost:5055",
            ":scheme": "http",
            "content-type": "application/json",
            "x-forwarded-proto": "http",
            **(headers or {}),
        }
        return await self.tell(RequestHead(CALL_ID, peer, all_headers, end))

    async def body(self, body: bytes) -> Outgoing:
        return await self.tell(RequestBody(body))

    async def reply_head(
        self,
        status: int = 200,
        content_type: str = "application/json",
        *,
        details: str = "via_upstream",
        end: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> Outgoing:
        all_headers = {":status": str(status), "content-type": content_type, **(headers or {})}
        return await self.tell(ResponseHead(all_headers, end, details))

    async def reply_body(self, body: bytes, *, end: bool = True) -> Outgoing:
        return await self.tell(ResponseBody(body, end))
