"""TLS on both sides, through the whole gateway, and through a company's proxy."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from extproc.mock import MockProvider
from tests.e2e.harness import Gateway
from tests.e2e.threads import in_a_thread

CERTS = Path(__file__).parents[1] / "envoygen" / "certs"
"""`server.crt` is for acme.test and 127.0.0.1, signed by `ca.crt`"""
CA = CERTS / "ca.crt"


@dataclass(slots=True)
class Outside:
    """The mock behind TLS on `secure`, and a proxy on `proxy` that CONNECTs to it, whatever the name."""

    plain: int
    secure: int = 0
    proxy: int = 0
    connects: list[str] = field(default_factory=list[str])

    async def terminate(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await pour_both(reader, writer, self.plain)

    async def tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.connects.append(head.split(b"\r\n")[0].decode())
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await pour_both(reader, writer, self.secure)


async def pour_both(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    inward, outward = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.gather(pour(reader, outward), pour(inward, writer))


async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except (ConnectionError, ssl.SSLError):
        pass
    finally:
        writer.close()


@asynccontextmanager
async def opened(plain: int) -> AsyncIterator[Outside]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTS / "server.crt", CERTS / "server.key")
    outside = Outside(plain)
    secure = await asyncio.start_server(outside.terminate, "127.0.0.1", 0, ssl=context)
    proxy = await asyncio.start_server(outside.tunnel, "127.0.0.1", 0)
    outside.secure = secure.sockets[0].getsockname()[1]
    outside.proxy = proxy.sockets[0].getsockname()[1]
    try:
        yield outside
    finally:
        secure.close()
        proxy.close()


@pytest.fixture
def outside(mock: MockProvider) -> Iterator[Outside]:
    port = int(mock.url.rpartition(":")[2])
    with in_a_thread(lambda: opened(port)) as made:
        yield made


def provider(endpoint: str, **more: object) -> dict[str, object]:
    return {
        "dialect": "openai_chat",
        "endpoint": endpoint,
        "api_key": "${ACME_KEY}",
        "models": ["gpt-4o"],
        **more,
    }


def ask(gateway: Gateway, model: str) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    with gateway.http() as client:
        return client.post("/v1/chat/completions", json=body)


def test_both_sides(make_gateway: Callable[..., Gateway], outside: Outside) -> None:
    by_address = f"https://127.0.0.1:{outside.secure}/v1"
    trusting = {"ca": str(CA)}
    gateway = make_gateway(
        workers=1,
        ca=CA,
        server={
            "host": "127.0.0.1",
            "port": 0,
            "tls": {"cert": str(CERTS / "server.crt"), "key": str(CERTS / "server.key")},
        },
        providers={
            "good": provider(by_address, tls=trusting),
            "named": provider(by_address, tls={**trusting, "sni": "acme.test"}, models=["named"]),
            "proxied": provider(
                "https://acme.test/v1",
                tls=trusting,
                proxy=f"localhost:{outside.proxy}",
                models=["proxied"],
            ),
            # Whom the system trusts did not sign this one.
            "stranger": provider(by_address, models=["stranger"]),
            "misnamed": provider(
                by_address, tls={**trusting, "sni": "other.test"}, models=["misnamed"]
            ),
        },
        models={},
    )
    assert gateway.url.startswith("https://")
    reply = gateway.openai().chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": "hi"}]
    )
    assert (reply.choices[0].message.content or "").startswith("You said: hi")
    stream = gateway.openai().chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": "hi"}], stream=True
    )
    assert list(stream)[-1].choices[0].finish_reason == "stop"
    assert ask(gateway, "named").status_code == 200
    assert ask(gateway, "proxied").status_code == 200
    assert outside.connects == ["CONNECT acme.test:443 HTTP/1.1"]
    seen = len(gateway.mock.requests)
    for model in ("stranger", "misnamed"):
        answer = ask(gateway, model)
        assert answer.status_code == 502
        assert answer.json()["error"]["code"] == "provider_unreachable"
    assert len(gateway.mock.requests) == seen
    with pytest.raises(httpx.ConnectError), httpx.Client(trust_env=False) as client:
        client.get(f"{gateway.url}/health")
    assert gateway.stop() == 0
