"""Clients that stop reading: nobody else notices them, and what they cost is bounded."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from contextlib import ExitStack

from tests.bench.measure import resident
from tests.e2e import raw
from tests.e2e.harness import Gateway
from tests.e2e.processes import eventually

MANY = 20
PROMPT = "[[mock words=60000]] go"
"""about 15 MB of small events: far more than all buffers on the way, the kernel's among them"""
WORKER = 128 << 20
"""bytes that all of them together may cost the worker: less than half of what they asked for"""
STILL = 50
"""so often in a row nothing has grown"""


def test_stalled_readers(make_gateway: Callable[..., Gateway]) -> None:
    """The worker does not gather what nobody reads, and serves the others meanwhile."""
    gateway = make_gateway(workers=1)
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": PROMPT}], "stream": True}
    asked = raw.request("POST", "/v1/chat/completions", json.dumps(body).encode(), gateway.auth)

    def size(part: str) -> int:
        return resident(gateway.pids()[part])

    before = size("worker-1")
    last, still = 0, 0

    def stands_still() -> bool:
        nonlocal last, still
        now = size("worker-1") + size("envoy")
        still = still + 1 if now == last else 0
        last = now
        return still >= STILL

    with ExitStack() as stack:
        for _ in range(MANY):
            line = stack.enter_context(raw.connected(gateway.port))
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            line.sendall(asked)
        gateway.mock.wait_for(lambda seen: len(seen) == MANY, 30.0)
        with gateway.openai(timeout=30.0) as client:
            said = client.chat.completions.create(
                model="gpt-4o", messages=[{"role": "user", "content": "hello"}]
            )
        assert said.choices[0].message.content
        eventually(stands_still, 90.0, "an end of growing")
        assert size("worker-1") - before < WORKER
    eventually(lambda: gateway.metric("sluice_in_flight") == 0.0, 30.0, "all streams settled")
