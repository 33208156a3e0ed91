"""The hop in a real Envoy: who is asked about what, and what each side gets to see."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from extproc.config.layout import Layout
from extproc.config.names import FLOW_BUFFERS, HOP_HEADERS, provider_cluster
from extproc.config.schema import Log, Provider, ProviderTls, Server, Settings
from extproc.envoygen.render import EnvoyFiles, render
from extproc.envoygen.write import write
from tests.envoygen.cases import CERTS, REPLIES, ROOTS
from tests.envoygen.kit_envoy import DEADLINE, RunningEnvoy, running, short_layout
from tests.envoygen.kit_hop import BODY, Plain, ScriptedWorker, over_http2
from tests.ports import free_port

pytestmark = pytest.mark.e2e

ACME = provider_cluster("acme")
HOP = {"x-hop": "1"}
AROUND = 64 << 10
"""bytes beyond what is to be held: in the connection's own buffer, and of one read"""
FORGED = dict.fromkeys(HOP_HEADERS, "forged") | {"x-sluice-call": "forged", "x-mine": "1"}


def reply(body: str, *headers: str, status: str = "200 OK") -> bytes:
    head = (f"HTTP/1.1 {status}", f"content-length: {len(body)}", "connection: close", *headers)
    return "\r\n".join((*head, "", body)).encode()


def settings(port: int, endpoint: str) -> Settings:
    tls = ProviderTls(ca=CERTS / "ca.crt") if endpoint.startswith("https") else None
    acme = Provider(name="acme", dialect="openai_chat", endpoint=endpoint, tls=tls)
    return Settings(server=Server(port=port), providers={"acme": acme}, log=Log(access=True))


def files(layout: Layout, made: Settings, workers: list[Path], leaving: list[Path]) -> EnvoyFiles:
    return render(made, layout, workers, None, REPLIES, leaving=leaving, roots=ROOTS)


@asynccontextmanager
async def gateway(
    layout: Layout, made: Settings, *workers: ScriptedWorker
) -> AsyncIterator[tuple[RunningEnvoy, httpx.AsyncClient]]:
    write(files(layout, made, [one.socket for one in workers], []), layout)
    url = f"http://127.0.0.1:{made.server.port}"
    async with running(layout) as envoy, httpx.AsyncClient(base_url=url) as http:
        async with asyncio.timeout(DEADLINE):
            while await hosts(envoy, "healthy") != {one.socket for one in workers}:
                await asyncio.sleep(0.02)
        yield envoy, http


async def hosts(envoy: RunningEnvoy, health: str) -> set[Path]:
    """Workers of which Envoy says just this."""
    listed = (line.split("::") for line in (await envoy.admin.get("/clusters")).text.splitlines())
    return {
        Path(one[1])
        for one in listed
        if one[0] == "extproc" and one[2:] == ["health_flags", health]
    }


async def access_log(layout: Layout, lines: int) -> list[dict[str, object]]:
    async with asyncio.timeout(DEADLINE):
        while len(found := layout.access_log.read_text().splitlines()) < lines:
            await asyncio.sleep(0.02)
    return [json.loads(line) for line in found]


async def test_each_filter_asks_in_its_role() -> None:
    """Two attempts, and nobody outside can play a part in them."""
    lies = ("x-sluice-again: 1", "x-sluice-end: 1", "x-sluice-hold: 1")
    provider = Plain([reply("no", *lies), reply("yes", *lies)])
    async with provider.serving(), short_layout() as layout:
        worker = ScriptedWorker(layout.worker_socket(1, 1), ACME, ["again", "pass"])
        made = settings(free_port(), f"http://127.0.0.1:{provider.port}")
        async with worker.serving(), gateway(layout, made, worker) as (_, http):
            got = await http.post("/v1/chat/completions", json={"mine": 1}, headers=FORGED | HOP)
            (logged,) = await access_log(layout, 1)
    assert (got.status_code, got.text) == (200, "yes")
    assert [name for name in got.headers if name.startswith(("x-sluice", "x-envoy"))] == [
        "x-sluice-call-id"
    ]

    outer, first, second = worker.streams
    assert [one.role for one in worker.streams] == ["", "attempt", "attempt"]
    assert {one.call for one in worker.streams} == {got.headers["x-sluice-call-id"]}
    assert [one.dest for one in worker.streams] == ["", str(worker.socket), str(worker.socket)]
    assert outer.headers["x-mine"] == "1"
    assert not {"x-sluice-call", *HOP_HEADERS} & set(outer.headers)
    assert outer.said == ["request_headers", "request_body"]
    for attempt in (first, second):
        assert attempt.said == ["request_headers", "response_headers"]
        assert attempt.details == "via_upstream"
        assert (attempt.headers[":path"], attempt.headers["content-length"]) == ("/", "0")
        assert "x-mine" not in attempt.headers

    assert provider.bodies == [BODY, BODY]
    for head in provider.heads:
        assert head.startswith("post /attempt http/1.1\r\n")
        assert f"content-length: {len(BODY)}\r\n" in head
        assert "authorization: bearer key\r\n" in head
        for word in ("chunked", "x-sluice", "x-envoy", "x-forwarded", "x-mine", "forged"):
            assert word not in head
    assert (logged["cluster"], logged["attempts"], logged["status"]) == (ACME, 2, 200)


async def test_what_breaks_while_it_is_held_is_tried_again() -> None:
    whole = reply("a whole reply")
    provider = Plain([whole[:-6], whole])
    async with provider.serving(), short_layout() as layout:
        worker = ScriptedWorker(layout.worker_socket(1, 1), ACME, ["hold", "hold"])
        made = settings(free_port(), f"http://127.0.0.1:{provider.port}")
        async with worker.serving(), gateway(layout, made, worker) as (_, http):
            asked = asyncio.create_task(http.post("/v1/chat/completions", json={}, headers=HOP))
            async with asyncio.timeout(DEADLINE):
                while not worker.attempts or "response_body" not in worker.attempts[0].said:
                    await asyncio.sleep(0.02)
            provider.leaves.set()
            got = await asked
    assert (got.status_code, got.text) == (200, "a whole reply")
    assert len(worker.attempts) == len(provider.heads) == 2
    assert worker.attempts[1].details == "via_upstream"


@pytest.mark.parametrize("held", FLOW_BUFFERS)
async def test_of_a_reply_that_flows_little_is_held(held: int) -> None:
    """What a provider sends before the worker has an answer to its head waits with the provider."""
    whole = reply("x" * (16 << 20))
    provider = Plain([whole])
    async with provider.serving(), short_layout() as layout:
        worker = ScriptedWorker(layout.worker_socket(1, 1), ACME, ["pass"], held)
        worker.gate.clear()
        made = settings(free_port(), f"http://127.0.0.1:{provider.port}")
        async with worker.serving(), gateway(layout, made, worker) as (envoy, http):
            asked = asyncio.create_task(http.post("/v1/chat/completions", json={}, headers=HOP))
            async with asyncio.timeout(DEADLINE):
                while not await count(envoy, "upstream_flow_control_paused_reading_total"):
                    await asyncio.sleep(0.02)
            assert await count(envoy, "upstream_cx_rx_bytes_total") < held + AROUND
            worker.gate.set()
            got = await asked
    assert got.status_code == 200
    assert len(got.content) == 16 << 20


async def count(envoy: RunningEnvoy, name: str) -> int:
    """A counter of the provider's."""
    found = await envoy.admin.get("/stats", params={"filter": f"^cluster.{ACME}.{name}$"})
    return int(found.text.split()[-1])


async def test_attempts_follow_the_worker_that_holds_the_exchange() -> None:
    """A worker that leaves gets its attempts, and no exchange more."""
    provider = Plain([reply("no"), reply("yes")])
    async with provider.serving(), short_layout() as layout:
        old = ScriptedWorker(layout.worker_socket(1, 1), ACME, ["again", "pass"])
        new = ScriptedWorker(layout.worker_socket(2, 1), ACME)
        made = settings(free_port(), f"http://127.0.0.1:{provider.port}")
        old.gate.clear()
        async with old.serving(), new.serving(), gateway(layout, made, old) as (envoy, http):
            held = asyncio.create_task(http.post("/v1/chat/completions", json={}, headers=HOP))
            async with asyncio.timeout(DEADLINE):
                while not old.attempts or "response_headers" not in old.attempts[0].said:
                    await asyncio.sleep(0.02)
                write(files(layout, made, [new.socket], [old.socket]), layout)
                while await hosts(envoy, "healthy") != {new.socket}:
                    await asyncio.sleep(0.02)
                # its other threads follow a moment later
                while not new.streams:
                    assert (await http.post("/v1/chat/completions", json={})).text == "plain"
            before = len(old.streams)
            for _ in range(5):
                assert (await http.post("/v1/chat/completions", json={})).text == "plain"
            assert len(old.streams) == before
            old.gate.set()
            assert (await held).text == "yes"
    assert len(old.attempts) == 2
    assert not new.attempts


@pytest.mark.parametrize("way", [{}, HOP])
async def test_providers_are_told_how_they_are_reached(way: dict[str, str]) -> None:
    """The client speaks plain HTTP, the provider is asked over TLS."""
    seen: list[dict[str, str]] = []
    async with over_http2(seen.append) as port, short_layout() as layout:
        worker = ScriptedWorker(layout.worker_socket(1, 1), ACME, ["pass"])
        made = settings(free_port(), f"https://127.0.0.1:{port}")
        async with worker.serving(), gateway(layout, made, worker) as (_, http):
            got = await http.post("/v1/chat/completions", json={}, headers=way)
            (logged,) = await access_log(layout, 1)
    assert got.status_code == 200
    assert [one[":scheme"] for one in seen] == ["https"]
    assert logged["cluster"] == ACME
