"""Bounds hold, and what is beyond them is told from an overload."""

from __future__ import annotations

import json
import socket
from contextlib import ExitStack

import pytest

from tests.e2e import raw
from tests.e2e.harness import Gateway
from tests.e2e.processes import eventually

CHAT = "/v1/chat/completions"


def body(size: int, faults: str = "words=3") -> bytes:
    fields = {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": f"[[mock {faults}]] "}],
        "pad": "",
    }
    bare = json.dumps(fields)
    fields["pad"] = "x" * (size - len(bare))
    return json.dumps(fields).encode()


@pytest.mark.parametrize("path", [CHAT, "/query"])
def test_bytes_in_flight_are_capped(tight: Gateway, path: str) -> None:
    with ExitStack() as stack:
        waiting: list[socket.socket] = []
        for _ in range(2):
            line = stack.enter_context(raw.connected(tight.port))
            line.sendall(raw.request("POST", CHAT, body(30_000, "delay=30 tag=held")))
            waiting.append(line)
        tight.mock.wait_for(lambda seen: len(seen) == 2)
        more = body(30_000) if path == CHAT else json.dumps({"prompt": "x" * 30_000}).encode()
        answer = raw.exchange(tight.port, raw.request("POST", path, more))
        assert answer.status == 503
        assert answer.headers["x-sluice-error-origin"] == "gateway"
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["x-sluice-call-id"] in answer.body.decode()
        if path == CHAT:
            assert answer.json["error"]["code"] == "gateway_busy"
        assert len(tight.mock.requests) == 2
        # A small one still fits beside them.
        small = raw.exchange(tight.port, raw.request("POST", CHAT, body(300)))
        assert small.status == 200
    eventually(lambda: tight.metric("sluice_in_flight_bytes") == 0.0)
    again = raw.exchange(tight.port, raw.request("POST", CHAT, body(30_000)))
    assert again.status == 200


def test_a_header_block_at_the_limit_passes(tight: Gateway) -> None:
    answer = raw.exchange(tight.port, raw.request("POST", CHAT, body(300), {"x-large": "x" * 7000}))
    assert answer.status == 200


def test_a_header_block_that_never_ends(tight: Gateway) -> None:
    with raw.connected(tight.port) as line:
        line.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n")
        answer = raw.read(line)
    assert answer.status == 408
    assert answer.json["error"]["code"]
