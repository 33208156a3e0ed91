"""Clients that stop reading: nobody else notices them, what they cost is bounded, and it ends."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from extproc.config.layout import Layout
from extproc.config.names import FLOW_BUFFERS
from extproc.mock import MockProvider
from extproc.supervisor.envoy import EnvoyAdmin
from tests.bench.measure import resident
from tests.e2e import raw
from tests.e2e.bare_envoy import PATIENCE, delays, envoy_before
from tests.e2e.harness import Gateway
from tests.e2e.processes import eventually

MANY = 30
PROMPT = "[[mock words=60000]] go"
"""about 15 MB of small events: far more than all buffers on the way, the kernel's among them"""
EACH = 512 << 10
"""bytes of Envoy that one of them may cost; without bounds it is several megabytes"""
WORKER = 32 << 20
"""bytes that all of them together may cost the worker, most of it for being busy at all"""
STILL = 50
"""so often in a row nothing has grown"""
AROUND = 40 << 10
"""bytes of a message beyond the bound: what one read brings, and what is around a body"""


TWO = [[{"provider": "acme", "model": name}] for name in ("gpt-4o", "gpt-4o-mini")]
MODELS = {"two": {"groups": TWO}, "held": {"groups": TWO, "window": {"seconds": "2s"}}}


def asking(gateway: Gateway, model: str) -> bytes:
    body = {"model": model, "messages": [{"role": "user", "content": PROMPT}], "stream": True}
    return raw.request("POST", "/v1/chat/completions", json.dumps(body).encode(), gateway.auth)


def stalled(stack: ExitStack, gateway: Gateway, model: str = "gpt-4o") -> socket.socket:
    line = stack.enter_context(raw.connected(gateway.port))
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.sendall(asking(gateway, model))
    return line


@pytest.mark.parametrize("model", ["gpt-4o", "two", "held"])
def test_stalled_readers(make_gateway: Callable[..., Gateway], model: str) -> None:
    """Neither Envoy nor the worker gathers what nobody reads, and others are served meanwhile;
    with several targets nor do the buffers on the way through the hop."""
    gateway = make_gateway(workers=1, models=MODELS)

    def size(part: str) -> int:
        return resident(gateway.pids()[part])

    worker, envoy = size("worker-1"), size("envoy")
    last, still = 0, 0

    def stands_still() -> bool:
        nonlocal last, still
        now = size("worker-1") + size("envoy")
        still = still + 1 if now == last else 0
        last = now
        return still >= STILL

    with ExitStack() as stack:
        for _ in range(MANY):
            stalled(stack, gateway, model)
        gateway.mock.wait_for(lambda seen: len(seen) == MANY, 30.0)
        with gateway.openai(timeout=30.0) as client:
            said = client.chat.completions.create(
                model="gpt-4o", messages=[{"role": "user", "content": "hello"}]
            )
        assert said.choices[0].message.content
        eventually(stands_still, 90.0, "an end of growing")
        assert size("worker-1") - worker < WORKER
        assert size("envoy") - envoy < MANY * EACH
    eventually(lambda: gateway.metric("sluice_in_flight") == 0.0, 30.0, "all streams settled")


def test_stalled_readers_are_ended(make_gateway: Callable[..., Gateway]) -> None:
    """Nothing has moved for `limits.idle_timeout`: client and provider are hung up on."""
    gateway = make_gateway(workers=1, limits={"idle_timeout": "1s"})
    admin = EnvoyAdmin(Layout(gateway.data, gateway.data / "run").envoy_admin_socket)

    def connections() -> int:
        return sum(asyncio.run(admin.stats(r"^http\.gateway\.downstream_cx_active$")).values())

    with ExitStack() as stack:
        for _ in range(3):
            stalled(stack, gateway)
        gateway.mock.wait_for(lambda seen: len(seen) == 3, 30.0)
        assert connections() >= 3
        eventually(
            lambda: gateway.mock.stats()["open_connections"] == 0, 30.0, "the provider is let go"
        )
        eventually(lambda: gateway.metric("sluice_in_flight") == 0.0, 30.0, "all settled")
        eventually(lambda: connections() == 0, 30.0, "the clients are hung up on")
    ended = [line for line in gateway.log_lines() if line["event"] == "exchange"]
    assert {(line["outcome"], line["error"]) for line in ended} == {("aborted", "idle_timeout")}


@pytest.mark.parametrize(("prompt", "held"), [(0, FLOW_BUFFERS[0]), (100_000, FLOW_BUFFERS[1])])
def test_little_is_held_before_the_head_is_answered(
    mock: MockProvider, prompt: int, held: int
) -> None:
    """A provider is quicker than a worker: what it sends meanwhile arrives as one message."""
    seen: list[int] = []
    body = {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": f"{prompt * 'x'} [[mock words=20000]] go"}],
        "stream": True,
    }
    with envoy_before(delays(seen), mock, PATIENCE) as port:
        answer = raw.exchange(
            port, raw.request("POST", "/v1/chat/completions", json.dumps(body).encode())
        )
    assert answer.status == 200
    assert answer.body.endswith(b"data: [DONE]\n\n")
    assert len(answer.body) > 2 << 20
    assert max(seen[3:]) < held + AROUND
