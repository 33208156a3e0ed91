"""Processes that die: only what they held is lost, and they come back."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from threading import Thread

import openai
import pytest

from extproc.mock import MockProvider
from tests.e2e import raw
from tests.e2e.asking import CHAT, asked, chat, works
from tests.e2e.harness import ALICE_KEY, KEYS, Gateway
from tests.e2e.processes import eventually, is_alive


@pytest.fixture(scope="module")
def module_gateway(
    shared_mock: MockProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path_factory.mktemp("crash"), shared_mock, key=ALICE_KEY, keys=KEYS)
    try:
        gateway.wait_until_ready()
        yield gateway
    finally:
        gateway.destroy()


@pytest.fixture
def victim(module_gateway: Gateway, mock: MockProvider) -> Gateway:
    """A gateway whose parts these tests kill; whole again when the next test gets it."""
    whole = {"worker-1", "worker-2", "admin", "envoy"}
    eventually(lambda: set(module_gateway.pids()) == whole and module_gateway.is_ready(), 15.0)
    eventually(lambda: both_serve(module_gateway), 15.0, "an exchange on each worker")
    mock.clear()
    return module_gateway


def both_serve(gateway: Gateway) -> bool:
    """Whether Envoy gives exchanges to both workers, seen from two that run at once."""
    begun = len(gateway.log_lines())
    with raw.connected(gateway.port) as one, raw.connected(gateway.port) as other:
        for line in (one, other):
            line.sendall(asked(gateway, "delay=50ms words=3"))
        ids = {raw.read(line).headers["x-sluice-call-id"] for line in (one, other)}
    for call_id in ids:
        gateway.wait_exchange(call_id)
    parts = {line["part"] for line in gateway.log_lines()[begun:] if line.get("call") in ids}
    return parts == {"worker-1", "worker-2"}


async def test_a_killed_worker_fails_only_what_it_held(victim: Gateway) -> None:
    """Eight clients, one after the other each; the worker is killed in the middle."""
    failed: list[tuple[float, str]] = []
    done = 0
    killed_at = 0.0
    over = False

    async def client(sdk: openai.AsyncOpenAI) -> None:
        nonlocal done
        while not over:
            begun = time.monotonic()
            try:
                await sdk.chat.completions.create(
                    model="gpt-4o",
                    messages=[{"role": "user", "content": "[[mock delay=20ms words=3]] hi"}],
                )
            except openai.APIError as error:
                failed.append((begun, repr(error)))
            done += 1

    async def reach(count: int) -> None:
        deadline = time.monotonic() + 20
        while done < count:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)

    async with victim.async_openai() as sdk:
        clients = [asyncio.create_task(client(sdk)) for _ in range(8)]
        await reach(40)
        before = victim.pids()["worker-1"]
        killed_at = time.monotonic()
        os.kill(before, signal.SIGKILL)
        await reach(done + 80)
        over = True
        await asyncio.gather(*clients)
    assert len(failed) <= 8, failed
    assert all(begun < killed_at + 1.0 for begun, _ in failed), failed
    eventually(lambda: victim.pids().get("worker-1", before) != before)


def test_an_exchange_on_the_other_worker_lives_on(victim: Gateway) -> None:
    answers: dict[str, raw.Answer | None] = {}

    def ask(name: str) -> None:
        try:
            answers[name] = chat(victim, f"delay=1500ms tag={name}")
        except raw.Cut:
            answers[name] = None

    threads = [Thread(target=ask, args=(str(n),)) for n in range(6)]
    for thread in threads:
        thread.start()
    victim.mock.wait_for(lambda seen: len(seen) == 6)
    os.kill(victim.pids()["worker-2"], signal.SIGKILL)
    for thread in threads:
        thread.join()
    good = [a for a in answers.values() if a is not None and a.status == 200]
    bad = [a for a in answers.values() if a is not None and a.status != 200]
    assert None not in answers.values()
    assert good, "every exchange failed"
    for answer in bad:
        assert answer.status == 503
        assert answer.json["error"]["code"]
        assert answer.headers["x-sluice-call-id"].startswith("gw-")
    for answer in good:
        line = victim.wait_exchange(answer.headers["x-sluice-call-id"])
        assert line["part"] == "worker-1"


def test_a_stream_whose_worker_is_killed_is_cut(victim: Gateway) -> None:
    with raw.connected(victim.port) as line:
        line.sendall(asked(victim, "stall=forever@3 words=20", stream=True))
        seen = b""
        while seen.count(b"data:") < 3:
            seen += line.recv(65536)
        for name in ("worker-1", "worker-2"):
            os.kill(victim.pids()[name], signal.SIGKILL)
        rest = b""
        while data := receive(line):
            rest += data
    assert b"[DONE]" not in rest
    assert not rest.endswith(b"0\r\n\r\n")
    victim.mock.wait_for(lambda seen: seen[0].ended == "client_gone")
    eventually(lambda: works(victim))
    # What a dead worker had in flight is not in flight any more.
    eventually(lambda: victim.metric("sluice_in_flight") == 0.0)
    assert victim.metric("sluice_in_flight_bytes") == 0.0


def receive(line: socket.socket) -> bytes:
    try:
        return line.recv(65536)
    except ConnectionResetError:
        return b""


def test_counts_survive_every_process(victim: Gateway) -> None:
    assert works(victim)
    eventually(lambda: victim.metric("sluice_in_flight") == 0.0)
    before = victim.metric("sluice_requests_total")
    assert before > 0
    for name in ("worker-1", "worker-2", "admin"):
        old = victim.pids()[name]
        os.kill(old, signal.SIGKILL)
        eventually(lambda name=name, old=old: victim.pids().get(name, old) != old, 10.0)
        eventually(victim.is_ready, 10.0)
        assert victim.metric("sluice_requests_total") == before
    eventually(lambda: works(victim))
    eventually(lambda: victim.metric("sluice_requests_total") > before)


def test_a_killed_envoy_comes_back(victim: Gateway) -> None:
    old = victim.pids()["envoy"]
    os.kill(old, signal.SIGKILL)
    eventually(lambda: victim.pids().get("envoy", old) != old)
    eventually(lambda: works(victim), 5.0)
    assert is_alive(victim.process.pid)


def test_an_envoy_that_is_killed_leaves_nothing_behind(victim: Gateway) -> None:
    """In the middle of everything: streams that run, a reply that waits, a body that is half there."""
    begun = len(victim.log_lines())
    body = b'{"model":"gpt-4o","messages":[{"role":"user","content":"' + b"x" * 300_000
    half = raw.request(
        "POST", CHAT, body, {**victim.auth, "content-length": str(len(body) + 100_000)}
    )
    asks = [asked(victim, "pace=1 words=100000", stream=True) for _ in range(4)]
    asks += [asked(victim, "delay=30"), half]
    lines = [socket.create_connection(("127.0.0.1", victim.port), 10) for _ in asks]
    for line, ask in zip(lines, asks, strict=True):
        line.sendall(ask)
    victim.mock.wait_for(lambda seen: len(seen) == 5 and sum(one.events > 3 for one in seen) == 4)
    eventually(lambda: victim.metric("sluice_in_flight") == len(asks))
    os.kill(victim.pids()["envoy"], signal.SIGKILL)
    eventually(lambda: works(victim), 10.0)
    eventually(lambda: victim.metric("sluice_in_flight") == 0.0)
    eventually(lambda: victim.metric("sluice_in_flight_bytes") == 0.0)
    ended = [line for line in victim.log_lines()[begun:] if line["event"] == "exchange"]
    assert sum(line["outcome"] == "aborted" for line in ended) == len(asks)
    assert len({line["call"] for line in ended}) == len(ended)
    for line in lines:
        line.close()


def test_the_files_of_the_sockets_are_removed(victim: Gateway) -> None:
    """Who is connected stays so. Nobody else can come, and is refused, until the workers are new."""
    for path in victim.sockets():
        if path.name.startswith("w"):
            path.unlink()
    # A thread of Envoy's that was never connected to a worker can reach none any more.
    answers = [chat(victim, "words=3") for _ in range(10)]
    assert {answer.status for answer in answers} <= {200, 503}
    served = sum(answer.status == 200 for answer in answers)
    assert len(victim.mock.requests) == served
    before = victim.pids()
    os.kill(before["envoy"], signal.SIGKILL)
    eventually(lambda: victim.pids().get("envoy", before["envoy"]) != before["envoy"])
    refused = eventually(lambda: answered(victim), 10.0)
    assert refused.status == 503
    assert refused.json["error"]["code"]
    assert victim.mock.requests[served:] == ()
    for name in ("worker-1", "worker-2"):
        if victim.pids().get(name) == before[name]:
            os.kill(before[name], signal.SIGKILL)
    eventually(lambda: works(victim), 15.0)


def answered(gateway: Gateway) -> raw.Answer | None:
    """Whatever it says, as soon as it says anything."""
    try:
        return chat(gateway, "words=3")
    except (OSError, raw.Cut):
        return None


def test_models_answer_while_the_admin_process_is_away(victim: Gateway) -> None:
    victim.signal(signal.SIGSTOP)
    try:
        os.kill(victim.pids()["admin"], signal.SIGKILL)
        assert works(victim)
        answer = raw.exchange(victim.port, raw.request("GET", "/health"))
        assert answer.status == 503
        assert answer.json["error"]["code"]
        assert answer.headers["x-sluice-call-id"].startswith("gw-")
    finally:
        victim.signal(signal.SIGCONT)
    eventually(victim.is_ready, 10.0)
