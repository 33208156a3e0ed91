"""Clients that stop reading are waited for: what they do not take is not drawn from the provider.

What lies between a provider and such a client is bounded, and nobody else notices it.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from contextlib import ExitStack

from tests.bench.measure import resident
from tests.e2e import raw
from tests.e2e.harness import TRANSPORT, Gateway
from tests.e2e.processes import eventually

MANY = 20
PROMPT = "[[mock words=100000]] go"
"""about 25 MB of small events: far more than all buffers on the way, the kernel's among them"""
MOST = {"native": 3 << 20, "grpc": 9 << 20}[TRANSPORT]
"""bytes that one stalled stream may cost, of worker and Envoy together; grpc's windows grow by themselves"""
STILL = 50
"""so often in a row the provider has sent nothing more"""


def test_what_nobody_reads_is_not_drawn_from_the_provider(
    make_gateway: Callable[..., Gateway],
) -> None:
    gateway = make_gateway(workers=1)
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": PROMPT}], "stream": True}
    asked = raw.request("POST", "/v1/chat/completions", json.dumps(body).encode(), gateway.auth)

    def cost() -> int:
        parts = gateway.pids()
        return sum(resident(parts[part]) for part in ("envoy", "worker-1"))

    before = cost()
    last, still = 0, 0

    def stands_still() -> bool:
        nonlocal last, still
        now = cost()
        still = still + 1 if now == last else 0
        last = now
        return still >= STILL

    with ExitStack() as stack:
        for _ in range(MANY):
            line = stack.enter_context(raw.connected(gateway.port))
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            line.sendall(asked)
        eventually(lambda: gateway.metric("sluice_in_flight") == MANY, 30.0, "all streams open")
        eventually(stands_still, 60.0, "a provider that waits")

        with gateway.openai() as client:
            said = client.chat.completions.create(
                model="gpt-4o", messages=[{"role": "user", "content": "hello"}]
            )
        assert said.choices[0].message.content
        assert gateway.metric("sluice_in_flight") == MANY
        assert cost() - before < MANY * MOST
    eventually(lambda: gateway.metric("sluice_in_flight") == 0.0, 30.0, "all streams settled")
    gateway.mock.wait_for(lambda seen: sum(one.ended == "client_gone" for one in seen) == MANY)
