"""Replies that are cut in the midst: what the client saw is what the log says, and the breaker hears it.

Envoy alone knows who did it, and tells the worker that had the exchange (decision 019).
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived

from extproc.config.layout import Layout
from extproc.config.names import cuts_cluster
from extproc.mock import MockProvider
from extproc.supervisor.envoy import EnvoyAdmin
from tests.e2e import raw
from tests.e2e.asking import CHAT, asked, chat, refused, works
from tests.e2e.faulty import ask, asking, model, provider, tried
from tests.e2e.harness import Gateway, Line
from tests.e2e.processes import eventually

AT_ONCE = 0.9
"""seconds: less than an exchange waits where Envoy says nothing"""
FAILURES = 3
OPEN = 60.0


def line_of(gateway: Gateway, answer: raw.Answer) -> Line:
    return gateway.wait_exchange(answer.headers["x-sluice-call-id"])


def last_line(gateway: Gateway, known: int) -> Line:
    """Of the exchange after so many."""

    def found() -> Line | None:
        lines = exchanges(gateway)
        return lines[known] if len(lines) > known else None

    return eventually(found, 5.0, "the line of an exchange that was cut")


def exchanges(gateway: Gateway) -> list[Line]:
    return [line for line in gateway.log_lines() if line["event"] == "exchange"]


def ended(line: Line) -> tuple[str, int, str | None, str | None]:
    return line["outcome"], line["status"], line.get("error"), line.get("error_origin")


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("kind", ["rst@0", "fin@0", "rst@1", "chunk@1"])
def test_a_provider_breaks_off_a_whole_reply(gateway: Gateway, framing: str, kind: str) -> None:
    answer = chat(gateway, f"cut={kind} framing={framing} words=4000")
    refused(answer, 502, "network")
    assert ended(line_of(gateway, answer)) == ("broken", 502, "connection_lost", "network")


def test_a_provider_falls_silent_in_a_whole_reply(tight: Gateway) -> None:
    answer = chat(tight, "stall=forever@0")
    refused(answer, 504, "network")
    assert ended(line_of(tight, answer)) == ("broken", 504, "timeout", "network")


@pytest.mark.parametrize("faults", ["stall=30@0", "stall=30@0 framing=chunked"])
def test_a_client_leaves_a_whole_reply(gateway: Gateway, faults: str) -> None:
    known = len(exchanges(gateway))
    with raw.connected(gateway.port) as line:
        line.sendall(asked(gateway, faults))
        gateway.mock.wait_for(lambda seen: len(seen) == 1)
        time.sleep(0.1)  # until the reply's head is with the worker; without it nothing is told
    assert ended(last_line(gateway, known))[0::2] == ("aborted", None)


@pytest.mark.parametrize("reset", [False, True])
def test_a_client_leaves_a_stream(gateway: Gateway, reset: bool) -> None:
    known = len(exchanges(gateway))
    with raw.connected(gateway.port) as line:
        if reset:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        line.sendall(asked(gateway, "pace=20 words=2000", stream=True))
        seen = b""
        while seen.count(b"data:") < 3:
            seen += line.recv(65536)
    left = time.monotonic()
    assert ended(last_line(gateway, known)) == ("aborted", 200, None, None)
    assert time.monotonic() - left < AT_ONCE, "Envoy told it"


@pytest.mark.parametrize("kind", ["rst@5", "fin@5", "chunk@5"])
def test_a_provider_breaks_off_a_stream(gateway: Gateway, kind: str) -> None:
    """The client has its 200, and sees the cut."""
    known = len(exchanges(gateway))
    with pytest.raises(raw.Cut):
        chat(gateway, f"cut={kind} words=20 pace=20", stream=True)
    assert ended(last_line(gateway, known)) == ("broken", 200, "connection_lost", "network")


def test_a_provider_falls_silent_in_a_stream(tight: Gateway) -> None:
    known = len(exchanges(tight))
    with pytest.raises(raw.Cut):
        chat(tight, "stall=forever@4 words=20", stream=True)
    assert ended(last_line(tight, known)) == ("broken", 200, "timeout", "network")


def test_who_fell_silent_in_a_long_stream_nobody_knows(tight: Gateway) -> None:
    """A client that stops reading makes Envoy wait too: no provider is blamed for that."""
    known = len(exchanges(tight))
    with raw.connected(tight.port) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.sendall(asked(tight, "words=60000", stream=True))
        assert ended(last_line(tight, known)) == ("aborted", 200, "idle_timeout", "gateway")


# --- the breaker ---


def two(mock: MockProvider, fault: str, **more: Any) -> dict[str, Any]:
    """`a` fails so, `b` is good. `chat` may fail over; `alone` is one attempt, without the hop."""
    return {
        "workers": 1,
        "providers": {"a": provider(mock, "a", fault), "b": provider(mock, "a")},
        "models": {
            "chat": model("a", "b"),
            "alone": model("a", "b", retry={"attempts": 1}),
        },
        "routing": {
            "breaker": {"failures": FAILURES, "open": f"{OPEN:g}s"},
            "budget": {"minimum": 10_000},
        },
        **more,
    }


CUTS = [("cut=rst@0", 502, "reset"), ("stall=forever@0", 504, "timeout")]


@pytest.mark.parametrize(("fault", "status", "failure"), CUTS)
def test_the_breaker_counts_it(
    make_gateway: Callable[..., Gateway], mock: MockProvider, fault: str, status: int, failure: str
) -> None:
    """One attempt is all that is allowed; but soon nobody asks this one."""
    gateway = make_gateway(**two(mock, fault, limits={"idle_timeout": "500ms"}))
    for _ in range(FAILURES):
        answer = ask(gateway, "alone")
        refused(answer, status, "network")
        line = line_of(gateway, answer)
        assert ended(line)[:2] == ("broken", status)
        assert tried(line) == [("a", failure)]
    answer = ask(gateway, "alone")
    assert (answer.status, answer.headers["x-sluice-provider"]) == (200, "b")
    counted = gateway.metric("sluice_attempts_total", provider="a", result=failure)
    assert counted == FAILURES


# --- the next target ---


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize(("fault", "status", "failure"), CUTS)
def test_a_whole_reply_that_is_cut_gives_way(
    make_gateway: Callable[..., Gateway],
    mock: MockProvider,
    fault: str,
    status: int,
    failure: str,
    framing: str,
) -> None:
    """Nothing of it has gone out, so another may still answer; and where there is none, the
    error says who it was. The idle limit is each attempt's own."""
    config = two(mock, f"{fault};framing={framing}", limits={"idle_timeout": "500ms"})
    config["models"]["nobody"] = model("a", "a", retry={"attempts": 2})
    gateway = make_gateway(**config)
    answer = ask(gateway, "chat")
    assert (answer.status, answer.headers["x-sluice-provider"]) == (200, "b")
    line = line_of(gateway, answer)
    assert (line["outcome"], tried(line)) == ("ok", [("a", failure), ("b", "ok")])
    answer = ask(gateway, "nobody")
    refused(answer, status, "network")
    assert "provider a" in answer.json["error"]["message"].lower()
    line = line_of(gateway, answer)
    assert (ended(line)[:2], tried(line)) == (("broken", status), [("a", failure)] * 2)


def test_of_a_stream_nothing_is_held_back(
    make_gateway: Callable[..., Gateway], mock: MockProvider
) -> None:
    """It comes through the hop as it flows, and its silence is its own."""
    gateway = make_gateway(
        **two(mock, "stall=forever@4;words=20", limits={"idle_timeout": "500ms"})
    )
    with raw.connected(gateway.port) as line:
        line.sendall(asking(gateway, "chat", stream=True))
        began = time.monotonic()
        with pytest.raises(raw.Cut) as cut:
            raw.read(line)
    assert 0.45 < time.monotonic() - began < 2.0
    assert b"data:" in cut.value.seen
    found = last_line(gateway, 0)
    assert ended(found) == ("broken", 200, "timeout", "network")
    assert tried(found) == [("a", "timeout")]


def test_who_reads_nothing_of_a_stream_from_the_hop(
    make_gateway: Callable[..., Gateway], mock: MockProvider
) -> None:
    gateway = make_gateway(**two(mock, "words=60000", limits={"idle_timeout": "500ms"}))
    with raw.connected(gateway.port) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.sendall(asking(gateway, "chat", stream=True))
        found = last_line(gateway, 0)
    assert ended(found) == ("aborted", 200, "idle_timeout", "gateway")
    assert tried(found) == [("a", "left")]


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_whole_reply_that_is_too_long_is_refused(
    make_gateway: Callable[..., Gateway], mock: MockProvider, framing: str
) -> None:
    gateway = make_gateway(**two(mock, f"words=60000;framing={framing}", limits={"body": "64KiB"}))
    answer = ask(gateway, "chat")
    refused(answer, 502, "provider")
    line = line_of(gateway, answer)
    assert line["outcome"] == "provider_error"
    assert [one for one, _ in tried(line)] == ["a"]


def test_a_client_that_leaves_opens_no_breaker(
    make_gateway: Callable[..., Gateway], mock: MockProvider
) -> None:
    gateway = make_gateway(**two(mock, "stall=30@0"))
    for number in range(FAILURES + 1):
        with raw.connected(gateway.port) as line:
            line.sendall(asking(gateway, "chat"))
            gateway.mock.wait_for(lambda seen, number=number: len(seen) == number + 1)
        line_left = last_line(gateway, number)
        assert (line_left["outcome"], tried(line_left)) == ("aborted", [("a", "left")])


# --- the way of the word ---


def stats(gateway: Gateway, number: int) -> int:
    """How many streams of the log Envoy has begun to this worker."""
    admin = EnvoyAdmin(Layout(gateway.data, gateway.data / "run").envoy_admin_socket)
    name = f"cluster.{cuts_cluster(number)}.upstream_rq_total"
    return sum(asyncio.run(admin.stats(f"^{name}$".replace(".", r"\."))).values())


def broken(gateway: Gateway) -> bool:
    answer = chat(gateway, "cut=rst@0")
    assert answer.status == 502
    return ended(line_of(gateway, answer))[0] == "broken"


def test_of_good_exchanges_nothing_is_told(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(workers=1)
    for stream in (False, True):
        assert chat(gateway, "words=5", stream=stream).status == 200
        assert chat(gateway, "status=429", stream=stream).status == 429
    assert stats(gateway, 1) == 0
    assert broken(gateway)
    assert stats(gateway, 1) == 1


def test_a_worker_that_is_replaced_is_told_too(make_gateway: Callable[..., Gateway]) -> None:
    """After a death, and after a roll."""
    gateway = make_gateway(workers=1)
    assert broken(gateway)
    os.kill(gateway.pids()["worker-1"], signal.SIGKILL)
    eventually(lambda: works(gateway), 20.0)
    assert broken(gateway)
    gateway.signal(signal.SIGUSR2)
    gateway.wait_log(lambda line: line["event"] == "rolled", 20.0)
    assert "worker-2" in gateway.pids()
    assert broken(gateway)


def test_a_worker_that_leaves_hears_of_its_own(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(workers=1)
    assert works(gateway)
    with raw.connected(gateway.port) as line:
        line.sendall(asked(gateway, "stall=1s@0 cut=rst@1"))
        gateway.mock.wait_for(lambda seen: len(seen) == 2)
        gateway.signal(signal.SIGUSR2)
        answer = raw.read(line)
    assert answer.status == 502
    found = line_of(gateway, answer)
    assert (found["part"], found["outcome"]) == ("worker-1", "broken")


def test_a_worker_dies_in_the_midst(make_gateway: Callable[..., Gateway]) -> None:
    """Nothing hangs, and nothing is told of what nobody holds any more."""
    gateway = make_gateway(workers=1)
    assert broken(gateway)
    with raw.connected(gateway.port) as line:
        line.sendall(asked(gateway, "stall=30@0"))
        gateway.mock.wait_for(lambda seen: len(seen) == 2)
        os.kill(gateway.pids()["worker-1"], signal.SIGKILL)
        refused(raw.read(line), 503, "gateway")
    eventually(lambda: works(gateway), 20.0)
    eventually(lambda: gateway.metric("sluice_in_flight") == 0.0, 5.0)
    assert broken(gateway)


def test_a_stop_with_a_cut_exchange_is_quick(make_gateway: Callable[..., Gateway]) -> None:
    """Envoy goes first: then no word will come, and none is waited for."""
    gateway = make_gateway(workers=1, limits={"drain_timeout": "500ms"})
    with raw.connected(gateway.port) as line:
        line.sendall(asked(gateway, "pace=20 words=5000", stream=True))
        seen = b""
        while seen.count(b"data:") < 3:
            seen += line.recv(65536)
        assert gateway.stop() == 0
    (cut,) = exchanges(gateway)
    assert cut["outcome"] == "aborted"


def test_a_client_of_http2_leaves(gateway: Gateway) -> None:
    """Its stream is reset, and the connection stays."""
    known = len(exchanges(gateway))
    body = asked(gateway, "pace=20 words=2000", stream=True).partition(b"\r\n\r\n")[2]
    head = {":method": "POST", ":scheme": "http", ":authority": "localhost", ":path": CHAT}
    h2 = H2Connection()
    h2.initiate_connection()
    h2.send_headers(1, [*{**head, **gateway.auth}.items(), ("content-type", "application/json")])
    h2.send_data(1, body, end_stream=True)
    with raw.connected(gateway.port) as line:
        line.sendall(h2.data_to_send())
        while not any(isinstance(one, DataReceived) for one in h2.receive_data(line.recv(65536))):
            line.sendall(h2.data_to_send())
        h2.reset_stream(1, ErrorCodes.CANCEL)
        line.sendall(h2.data_to_send())
        left = time.monotonic()
        assert ended(last_line(gateway, known)) == ("aborted", 200, None, None)
        assert time.monotonic() - left < AT_ONCE, "Envoy told it"
