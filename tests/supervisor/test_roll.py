"""SIGUSR2 replaces workers while exchanges run, through the real Envoy: nothing fails, nothing is cut."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from extproc.envoygen.nodes import STAT_PREFIX
from extproc.supervisor.envoy import EnvoyAdmin
from tests.e2e.processes import eventually
from tests.supervisor.test_up import Up

pytestmark = pytest.mark.e2e

START = 30.0
ROLL = 30.0
MOMENT = 1.0
NOTICED = 5.0
"""seconds, half of those for which a roll waits for Envoy"""


@pytest.fixture
def rolling(tmp_path: Path) -> Iterator[Callable[[int], Up]]:
    started: list[Up] = []

    def start(workers: int) -> Up:
        started.append(Up(tmp_path, "--workers", str(workers)))
        return started[-1]

    yield start
    for one in started:
        one.destroy()


def ask(port: int, text: str, *, stream: bool = False) -> bytes:
    """The reply's body. Raises OSError for every status but 200, and for a cut."""
    message = {"role": "user", "content": text}
    body = json.dumps({"model": "mock", "messages": [message], "stream": stream}).encode()
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as got:
        return got.read()


def workers(gateway: Up) -> dict[str, int]:
    return {name: pid for name, pid in gateway.parts().items() if name.startswith("worker")}


def count(gateway: Up, event: str) -> int:
    """How often it said so; a worker that cannot start also leaves a traceback between the lines."""
    return (gateway.folder / "log").read_text().count(f'"event":"{event}"')


def told_to_envoy(gateway: Up) -> str:
    return "".join(path.read_text() for path in gateway.data.glob("envoy/**/eds*.json"))


@pytest.mark.parametrize("number", [1, 2])
def test_nothing_fails_in_a_roll(rolling: Callable[[int], Up], number: int) -> None:
    gateway = rolling(number)
    port = gateway.wait_ready()
    before = workers(gateway)
    over = threading.Event()
    failed: list[str] = []
    streamed: list[bytes] = []

    def load() -> None:
        while not over.is_set():
            try:
                ask(port, "hi")
            except OSError as error:
                failed.append(repr(error))

    def stream() -> None:
        streamed.append(ask(port, "[[mock pace=20ms words=60]]", stream=True))

    threads = [threading.Thread(target=what, daemon=True) for what in (load, load, stream)]
    for thread in threads:
        thread.start()
    gateway.process.send_signal(signal.SIGUSR2)
    eventually(lambda: count(gateway, "rolling the workers"), ROLL)
    gateway.process.send_signal(signal.SIGUSR2)
    eventually(lambda: count(gateway, "workers cannot be rolled now"), ROLL)
    eventually(lambda: count(gateway, "rolled"), ROLL, "the roll")
    over.set()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(streamed) == 1
    assert streamed[0].endswith(b"data: [DONE]\n\n")
    after = workers(gateway)
    assert len(after) == number
    assert not set(after.values()) & set(before.values())
    assert not [line for line in gateway.lines() if line["level"] == "error"]
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(15) == 0


def hosts(gateway: Up) -> dict[Path, str]:
    """The workers' sockets that Envoy is told, each with its health where that is said."""
    told = json.loads((gateway.data / "envoy" / "xds" / "eds" / "eds.json").read_text())
    listed = told["resources"][0]["endpoints"][0]["lb_endpoints"]
    return {
        Path(one["endpoint"]["address"]["pipe"]["path"]): one.get("health_status", "")
        for one in listed
    }


def test_a_worker_that_leaves_can_be_found_until_it_is_gone(
    rolling: Callable[[int], Up],
) -> None:
    """Its exchanges may have attempts to come."""
    gateway = rolling(1)
    port = gateway.wait_ready()
    (old,) = hosts(gateway)
    streamed: list[bytes] = []

    def stream() -> None:
        streamed.append(ask(port, "[[mock pace=50ms words=60]]", stream=True))

    thread = threading.Thread(target=stream, daemon=True)
    thread.start()
    envoy = EnvoyAdmin(gateway.data / "run" / "envoy.sock")
    eventually(lambda: asyncio.run(envoy.active(STAT_PREFIX)))
    gateway.process.send_signal(signal.SIGUSR2)
    eventually(lambda: hosts(gateway).get(old) == "DRAINING", ROLL)
    assert sorted(hosts(gateway).values()) == ["", "DRAINING"]
    while old.exists() and hosts(gateway).get(old) == "DRAINING" and thread.is_alive():
        thread.join(0.02)
    # It may go when Envoy has the last piece, which the client reads a moment later.
    thread.join(MOMENT)
    assert not thread.is_alive()
    assert streamed[0].endswith(b"data: [DONE]\n\n")
    eventually(lambda: old not in hosts(gateway), ROLL)
    assert list(hosts(gateway).values()) == [""]
    eventually(lambda: count(gateway, "rolled"), ROLL)
    assert not old.exists()


def test_a_worker_that_cannot_start_ends_the_roll(rolling: Callable[[int], Up]) -> None:
    gateway = rolling(1)
    port = gateway.wait_ready()
    before = workers(gateway)
    # A folder is where the socket of the replacement belongs.
    (gateway.data / "run" / "w2-1.sock" / "full").mkdir(parents=True)
    for generation in range(2, 6):
        (gateway.data / "run" / f"w2-{generation}.sock" / "full").mkdir(parents=True)
    gateway.process.send_signal(signal.SIGUSR2)
    eventually(lambda: count(gateway, "the roll is given up"), ROLL)
    assert workers(gateway) == before
    assert ask(port, "hi")


def test_a_replacement_that_dies_before_envoy_has_it(rolling: Callable[[int], Up]) -> None:
    """The one that is started after it takes its place in the roll, and nobody waits for the dead."""
    gateway = rolling(1)
    port = gateway.wait_ready()
    envoy = gateway.parts()["envoy"]
    os.kill(envoy, signal.SIGSTOP)
    try:
        gateway.process.send_signal(signal.SIGUSR2)
        eventually(lambda: "w2-1.sock" in told_to_envoy(gateway), ROLL)
        first = workers(gateway)["worker-2"]
        os.kill(first, signal.SIGKILL)
        eventually(lambda: workers(gateway).get("worker-2", first) != first, ROLL)
    finally:
        os.kill(envoy, signal.SIGCONT)
    eventually(lambda: count(gateway, "rolled"), NOTICED)
    assert set(workers(gateway)) == {"worker-2"}
    assert ask(port, "hi")


def test_a_stop_in_the_middle_of_a_roll(rolling: Callable[[int], Up]) -> None:
    gateway = rolling(2)
    gateway.wait_ready()
    gateway.process.send_signal(signal.SIGUSR2)
    eventually(lambda: "worker-3" in gateway.parts(), ROLL)
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(20) == 0
    assert not (gateway.data / "run").exists()
