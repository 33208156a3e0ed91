"""A client that hangs up ends its provider's work at once, and is never called a success.

trap 65: whatever it got is counted, once.
"""

from __future__ import annotations

import json

import pytest

from tests.e2e import raw
from tests.e2e.harness import Gateway
from tests.e2e.processes import eventually

PROMPTS = {
    "/v1/chat/completions": lambda text, stream: {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": text}],
        "stream": stream,
    },
    "/stream": lambda text, stream: {"prompt": text},
}


def send(gateway: Gateway, path: str, faults: str, *, stream: bool) -> bytes:
    body = json.dumps(PROMPTS[path](f"[[mock {faults}]] hi", stream)).encode()
    return raw.request("POST", path, body, gateway.auth)


def newest_aborted(gateway: Gateway, count: int) -> None:
    """Exactly `count` exchanges more were logged, and each of them as aborted."""

    def fresh() -> bool:
        lines = [line for line in gateway.log_lines() if line["event"] == "exchange"]
        return len(lines) > count and lines[-1]["outcome"] == "aborted"

    eventually(fresh, wanted="a log line that says aborted")


def logged(gateway: Gateway) -> int:
    return sum(line["event"] == "exchange" for line in gateway.log_lines())


def nothing_in_flight(gateway: Gateway) -> None:
    eventually(lambda: gateway.metric("sluice_in_flight") == 0.0, wanted="an empty gateway")
    eventually(lambda: gateway.metric("sluice_in_flight_bytes") == 0.0, wanted="no bytes held")


@pytest.mark.parametrize("stream", [False, True])
def test_gone_before_the_reply(gateway: Gateway, stream: bool) -> None:
    """S3-33"""
    before = logged(gateway)
    with raw.connected(gateway.port) as line:
        line.sendall(send(gateway, "/v1/chat/completions", "delay=30", stream=stream))
        gateway.mock.wait_for(lambda seen: len(seen) == 1)
    gateway.mock.wait_for(lambda seen: seen[0].ended == "client_gone", 1.0)
    newest_aborted(gateway, before)
    nothing_in_flight(gateway)


@pytest.mark.parametrize("path", list(PROMPTS))
def test_gone_during_a_stream(gateway: Gateway, path: str) -> None:
    """S3-33, trap 65"""
    before = logged(gateway)
    with raw.connected(gateway.port) as line:
        line.sendall(send(gateway, path, "pace=20 words=2000", stream=True))
        seen = b""
        while seen.count(b"data:") < 3:
            seen += line.recv(65536)
    gone = gateway.mock.wait_for(lambda seen: seen[0].ended == "client_gone", 1.0)
    assert gone[0].events < 200
    newest_aborted(gateway, before)
    nothing_in_flight(gateway)


def test_gone_during_a_whole_reply(gateway: Gateway) -> None:
    """S3-33"""
    before = logged(gateway)
    with raw.connected(gateway.port) as line:
        line.sendall(send(gateway, "/v1/chat/completions", "stall=30@0", stream=False))
        gateway.mock.wait_for(lambda seen: len(seen) == 1)
    gateway.mock.wait_for(lambda seen: seen[0].ended == "client_gone", 1.0)
    newest_aborted(gateway, before)
    nothing_in_flight(gateway)


def test_gone_during_the_upload(gateway: Gateway) -> None:
    before = logged(gateway)
    with raw.connected(gateway.port) as line:
        line.sendall(
            raw.request(
                "POST", "/v1/chat/completions", b"", {**gateway.auth, "content-length": "100"}
            )
        )
        line.sendall(b'{"model"')
        eventually(lambda: gateway.metric("sluice_in_flight") == 1.0)
    newest_aborted(gateway, before)
    nothing_in_flight(gateway)
    assert gateway.mock.requests == ()


def test_many_leave_at_every_moment(gateway: Gateway) -> None:
    """Thirty clients of one stream each hang up after another number of bytes, the first at once."""
    for wanted in range(0, 6000, 200):
        with raw.connected(gateway.port) as line:
            line.sendall(send(gateway, "/v1/chat/completions", "pace=1 words=400", stream=True))
            seen = 0
            while seen < wanted:
                seen += len(line.recv(wanted - seen))
    gateway.mock.wait_for(lambda seen: all(one.ended == "client_gone" for one in seen))
    nothing_in_flight(gateway)


def test_a_reader_that_stops_reading_holds_the_provider_back(gateway: Gateway) -> None:
    """Backpressure: what nobody reads is not drawn from the provider."""
    with raw.connected(gateway.port) as line:
        line.setsockopt(1, 8, 4096)  # SOL_SOCKET, SO_RCVBUF
        # 64 MiB in events of 64 KiB: more than all buffers on the way together.
        line.sendall(send(gateway, "/v1/chat/completions", "giant=64m events=1", stream=True))
        gateway.mock.wait_for(lambda seen: len(seen) == 1)
        eventually(lambda: gateway.metric("sluice_in_flight") == 1.0)
    gateway.mock.wait_for(lambda seen: seen[0].ended == "client_gone", 2.0)
    nothing_in_flight(gateway)
