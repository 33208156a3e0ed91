"""Gateways that end: what still finishes, and that nothing of them is left."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from extproc.mock import MockProvider
from tests.e2e import raw
from tests.e2e.asking import asked, chat, works
from tests.e2e.harness import Gateway
from tests.e2e.processes import descendants, eventually, is_alive


def gone_without_a_trace(gateway: Gateway, parts: set[int]) -> None:
    eventually(lambda: not [pid for pid in parts if is_alive(pid)], wanted="the end of all parts")
    assert gateway.sockets() == []
    assert not (gateway.data / "run").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_running_stream_finishes(
    make_gateway: Callable[..., Gateway], number: signal.Signals
) -> None:
    gateway = make_gateway(workers=1)
    parts = descendants(gateway.process.pid)
    stream = gateway.openai().chat.completions.create(
        model="gpt-4o",
        messages=[{"role": "user", "content": "[[mock pace=50 words=20]] hi"}],
        stream=True,
    )
    first = next(stream)
    gateway.signal(number)
    rest = list(stream)
    assert rest[-1].choices[0].finish_reason == "stop"
    assert len({first.id, *(chunk.id for chunk in rest)}) == 1
    assert gateway.process.wait(10) == 0
    gone_without_a_trace(gateway, parts)
    assert any(line["event"] == "stopped" for line in gateway.log_lines())


def test_while_it_drains(make_gateway: Callable[..., Gateway]) -> None:
    """It says that it goes, still serves who comes, and ends as soon as nothing runs."""
    gateway = make_gateway(workers=1)
    parts = descendants(gateway.process.pid)
    with raw.connected(gateway.port) as line:
        line.sendall(asked(gateway, "stall=forever@2 words=9", stream=True))
        gateway.mock.wait_for(lambda seen: len(seen) == 1 and seen[0].events == 2)
        gateway.signal(signal.SIGTERM)
        gateway.wait_log(lambda line: line["event"] == "draining")
        with gateway.http() as client:
            ready = eventually(
                lambda: (
                    answer if (answer := client.get("/health/ready")).status_code == 503 else None
                )
            )
        assert "draining" in ready.text
        assert chat(gateway, "words=3").status == 200
        assert gateway.process.poll() is None
    assert gateway.process.wait(5) == 0
    gone_without_a_trace(gateway, parts)


def test_a_stream_that_does_not_end_is_cut_at_the_limit(
    make_gateway: Callable[..., Gateway],
) -> None:
    gateway = make_gateway(workers=1, limits={"drain_timeout": "1s"})
    parts = descendants(gateway.process.pid)
    with raw.connected(gateway.port) as line:
        line.sendall(asked(gateway, "stall=forever@2 words=9", stream=True))
        gateway.mock.wait_for(lambda seen: len(seen) == 1 and seen[0].events == 2)
        begun = time.monotonic()
        assert gateway.stop() == 0
        assert 0.9 < time.monotonic() - begun < 9.0
        with pytest.raises(raw.Cut):
            raw.read(line)
    gone_without_a_trace(gateway, parts)


def test_a_second_signal_is_at_once(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(workers=1)
    parts = descendants(gateway.process.pid)
    with raw.connected(gateway.port) as line:
        line.sendall(asked(gateway, "stall=forever@2 words=9", stream=True))
        gateway.mock.wait_for(lambda seen: len(seen) == 1 and seen[0].events == 2)
        gateway.signal(signal.SIGTERM)
        gateway.wait_log(lambda line: line["event"] == "draining")
        begun = time.monotonic()
        gateway.signal(signal.SIGTERM)
        assert gateway.process.wait(10) == 0
        assert time.monotonic() - begun < 3.0
    gone_without_a_trace(gateway, parts)


def test_a_killed_supervisor_leaves_no_orphans_and_can_be_started_again(
    make_gateway: Callable[..., Gateway], mock: MockProvider
) -> None:
    gateway = make_gateway()
    parts = set(gateway.pids().values())
    assert len(parts) == 4
    gateway.process.kill()
    gateway.process.wait()
    eventually(lambda: not [pid for pid in parts if is_alive(pid)], 3.0, "the end of all parts")
    again = Gateway(gateway.folder, mock)
    try:
        again.wait_until_ready()
        assert works(again)
        assert again.stop() == 0
        gone_without_a_trace(again, set())
    finally:
        again.destroy()


def test_a_full_disk_for_logs(mock: MockProvider, tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, mock, stderr=Path("/dev/full"), workers=1)
    try:
        deadline = time.monotonic() + 30
        while not gateway.is_ready():
            assert gateway.process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        for _ in range(5):
            assert works(gateway)
        assert chat(gateway, "words=5", stream=True).body.endswith(b"data: [DONE]\n\n")
        eventually(lambda: gateway.metric("sluice_log_lines_lost_total") >= 5)
        assert gateway.stop() == 0
    finally:
        gateway.destroy()
