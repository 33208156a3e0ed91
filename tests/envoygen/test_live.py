"""The files in front of a real Envoy: they go live, and it does what they say."""

from __future__ import annotations

import asyncio
import json
import ssl
import stat
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import httpx
import msgspec
import pytest

from extproc.config.layout import Layout
from extproc.config.names import ATTEMPT_CLUSTER, COPIES_LISTENER, provider_cluster
from extproc.config.schema import Limits, Provider, ProviderTls, Server, Settings
from extproc.envoygen.nodes import FILTER, ROUTES, Node, typed
from extproc.envoygen.render import KINDS, EnvoyFiles
from extproc.envoygen.write import write
from tests.envoygen.cases import CERTS, minimal, rendered
from tests.envoygen.kit_envoy import RunningEnvoy, running, short_layout
from tests.ports import free_port

pytestmark = pytest.mark.e2e


def on_port(settings: Settings, port: int) -> Settings:
    return msgspec.structs.replace(settings, server=Server(port=port))


async def test_files_go_live_and_a_changed_one_replaces_its_own() -> None:
    settings = on_port(minimal(), free_port())
    async with short_layout() as layout:
        first = rendered(settings, layout)
        write(first, layout)
        async with running(layout) as envoy:
            for kind in KINDS:
                await envoy.until(kind, first.version(kind))
            for socket in (layout.envoy_admin_socket, layout.copies_socket):
                assert stat.S_IMODE(socket.stat().st_mode) == 0o600

            changed = rendered(msgspec.structs.replace(settings, limits=Limits(body=1000)), layout)
            assert write(changed, layout) == ("rds", "lds")
            for kind in KINDS:
                await envoy.until(kind, changed.version(kind))
            # the inner ones have another limit, and the clients' connections are not drained
            assert await modified(envoy) == 2
            assert '"request_body_buffer_limit": "2000"' in await inside(envoy, ATTEMPT_CLUSTER)
            assert '"request_body_buffer_limit": "1000"' in await inside(envoy, COPIES_LISTENER)
            assert stat.S_IMODE(layout.copies_socket.stat().st_mode) == 0o600
            assert envoy.log.read_text() == ""


async def private(layout: Layout, path: str) -> int:
    """What the private listener answers."""
    transport = httpx.AsyncHTTPTransport(uds=str(layout.copies_socket))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        return (await http.get(path)).status_code


async def modified(envoy: RunningEnvoy) -> int:
    """How many listeners were replaced so far."""
    name = "listener_manager.listener_modified"
    told = await envoy.admin.get("/stats", params={"filter": f"^{name}$"})
    return int(told.text.removeprefix(f"{name}: "))


async def inside(envoy: RunningEnvoy, listener: str) -> str:
    """What a listener does now."""
    told = await envoy.admin.get("/config_dump", params={"resource": "dynamic_listeners"})
    (found,) = (one for one in told.json()["configs"] if one["name"] == listener)
    return json.dumps(found["active_state"])


async def test_the_private_listener_manages_nothing_and_ends_each_connection_at_once() -> None:
    settings = on_port(minimal(), free_port())
    async with short_layout() as layout:
        write(rendered(settings, layout), layout)
        async with running(layout) as envoy:
            # No worker listens here, and the admin process is not asked.
            assert await private(layout, "/admin/x") == 503
            read, written = await asyncio.open_unix_connection(layout.copies_socket)
            written.write(b"GET /query HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            begun = time.monotonic()
            assert (await read.read()).startswith(b"HTTP/1.1 503")
            # Envoy's own delay is a whole second.
            assert time.monotonic() - begun < 0.8
            written.close()

            changed = rendered(msgspec.structs.replace(settings, limits=Limits(body=1000)), layout)
            write(changed, layout)
            await envoy.until("lds", changed.version("lds"))
            assert await private(layout, "/query") == 503


async def test_what_envoy_answers_by_itself() -> None:
    """No worker listens here, so everything is Envoy's own answer."""
    port = free_port()
    async with short_layout() as layout:
        write(rendered(on_port(minimal(), port), layout), layout)
        async with running(layout), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            chat = await http.post("/v1/chat/completions?key=1", json={})
            assert chat.status_code == 503
            assert chat.json()["error"] == {"message": "The gateway failed."}
            query = await http.post("/query", headers={"x-sluice-call-id": "forged"})
            assert query.text == f"failed: {query.headers['x-sluice-call-id']}\n"
            other = await http.get("/queryx")
            assert other.json()["error"] == "failed"
            giant = await http.get("/query", headers={"a": "a" * 70_000})
            assert (giant.status_code, giant.json()["error"]) == (431, "headers")
            assert (await http.get("/health")).status_code == 503

            replies = (chat, query, other, giant)
            ids = [reply.headers["x-sluice-call-id"] for reply in replies]
            assert all(one.startswith("gw-") for one in ids)
            assert len(set(ids)) == len(ids)
            assert [reply.json()["id"] for reply in (chat, other, giant)] == [ids[0], *ids[2:]]
            assert {reply.headers["x-sluice-error-origin"] for reply in replies} == {"gateway"}
            assert all("server" not in reply.headers for reply in replies)


@dataclass(slots=True)
class Egress:
    """A proxy that CONNECTs, and one TLS server behind whatever it is asked for."""

    connects: list[str] = field(default_factory=list[str])
    requests: list[str] = field(default_factory=list[str])
    port: int = 0
    origin: int = 0

    async def tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.connects.append(head.split(b"\r\n")[0].decode())
        inward, outward = await asyncio.open_connection("127.0.0.1", self.origin)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(_pour(reader, outward), _pour(inward, writer))

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-sluice-cost: 7\r\n"
            b"x-envoy-upstream-service-time: 3\r\nconnection: close\r\n\r\nok"
        )
        await writer.drain()
        writer.close()


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


@asynccontextmanager
async def egress() -> AsyncIterator[Egress]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTS / "server.crt", CERTS / "server.key")
    held = Egress()
    origin = await asyncio.start_server(held.answer, "127.0.0.1", 0, ssl=context)
    proxy = await asyncio.start_server(held.tunnel, "127.0.0.1", 0)
    held.origin = origin.sockets[0].getsockname()[1]
    held.port = proxy.sockets[0].getsockname()[1]
    try:
        yield held
    finally:
        proxy.close()
        origin.close()


def straight_to(files: EnvoyFiles, provider: str) -> EnvoyFiles:
    """With a route that asks no worker, which the product never has."""
    route: Node = {
        "match": {"prefix": "/"},
        "route": {"cluster": provider_cluster(provider)},
        "typed_per_filter_config": {
            FILTER: typed(
                "envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute", disabled=True
            )
        },
    }
    host: Node = {
        "name": "all",
        "domains": ["*"],
        "request_headers_to_remove": ["x-forwarded-proto"],
        "routes": [route],
    }
    table = typed("envoy.config.route.v3.RouteConfiguration", name=ROUTES, virtual_hosts=[host])
    return replace(files, rds={"version_info": "straight", "resources": [table]})


@pytest.mark.parametrize(
    ("endpoint", "proxied", "status"),
    [
        ("https://acme.test/v1", True, 200),
        ("https://127.0.0.1:{origin}", False, 200),
        ("https://other.test", True, 503),
        ("https://localhost:{origin}", False, 503),
    ],
)
async def test_providers_are_verified_and_told_nothing(
    endpoint: str, proxied: bool, status: int
) -> None:
    """The certificate is for acme.test and 127.0.0.1. The proxy is found by name."""
    port = free_port()
    async with egress() as outside, short_layout() as layout:
        acme = Provider(
            name="acme",
            dialect="openai_chat",
            endpoint=endpoint.format(origin=outside.origin),
            tls=ProviderTls(ca=CERTS / "ca.crt"),
            proxy=f"localhost:{outside.port}" if proxied else None,
        )
        settings = Settings(server=Server(port=port), providers={"acme": acme})
        write(straight_to(rendered(settings, layout), "acme"), layout)
        async with running(layout), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            reply = await http.get(
                "/v1/models", headers={"x-sluice-user": "u", "x-forwarded-for": "1.2.3.4"}
            )
        assert reply.status_code == status
        if proxied:
            host = acme.endpoint.split("/")[2]
            assert set(outside.connects) == {f"CONNECT {host}:443 HTTP/1.1"}
        if status == 200:
            (request,) = outside.requests
            for word in ("x-envoy", "x-sluice", "x-forwarded", "x-request-id"):
                assert word not in request.lower()
                assert word not in str(reply.headers).lower()
        else:
            assert not outside.requests


async def test_management_goes_to_the_admin_process_with_the_truth() -> None:
    """Who the peer is and which call this is, Envoy says, not the client."""
    seen: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await reader.readuntil(b"\r\n\r\n")).decode().lower())
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    port = free_port()
    forged = {
        "x-sluice-peer": "6.6.6.6",
        "x-sluice-call-id": "6",
        "x-forwarded-for": "6.6.6.6",
        "x-envoy-anything": "6",
        "x-request-id": "6",
    }
    async with short_layout() as layout:
        server = await asyncio.start_unix_server(answer, layout.admin_socket(1))
        write(rendered(on_port(minimal(), port), layout), layout)
        async with (
            server,
            running(layout),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=forged) as http,
        ):
            for path in ("/health", "/health/ready", "/metrics?format=json", "/admin", "/admin/x"):
                reply = await http.get(path)
                assert reply.status_code == 200, path
                assert seen[-1].startswith(f"get {path} ")
                assert "x-sluice-peer: 127.0.0.1\r\n" in seen[-1]
                call = reply.headers["x-sluice-call-id"]
                assert f"x-sluice-call-id: {call}\r\n" in seen[-1]
                assert "6.6.6.6" not in seen[-1]
                assert ": 6\r\n" not in seen[-1]
                assert "x-envoy-anything" not in seen[-1]
            for path in ("/healthy", "/adminx", "/health/other", "/metrics/x"):
                assert (await http.get(path)).status_code == 503, path
        assert len(seen) == 5
