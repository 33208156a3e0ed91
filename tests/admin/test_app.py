"""The management API as a client meets it. Envoy's admin interface is played by a small server."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest

from extproc.admin.app import create_app
from extproc.admin.readiness import KEPT, AdminState
from extproc.admin.standing import Watch
from extproc.model.call import LOCAL, Caller, Outcome
from extproc.model.errors import Unauthenticated
from extproc.telemetry import ExchangeRecord, Log, Metrics, collect, summary
from tests.admin.kit_active import ABOUT, PlayedSupervisor, active
from tests.admin.played_envoy import PlayedEnvoy
from tests.kit import FakeClock, provider

READY = {"ready": True, "workers": 2}


@dataclass
class House:
    client: httpx.AsyncClient
    envoy: PlayedEnvoy
    state: AdminState
    clock: FakeClock
    metrics: Metrics
    directory: Path
    supervisor: PlayedSupervisor


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    envoy = PlayedEnvoy()
    socket = tmp_path / "envoy.sock"
    server = await asyncio.start_unix_server(envoy.answer, socket)
    clock = FakeClock()
    state = AdminState(started=clock.unix - 60, workers=2, providers=1)
    directory = tmp_path / "metrics"
    metrics = Metrics(directory, "admin")
    log = Log(2, "admin", "error", "json", clock)

    def authorize(headers: Mapping[str, str], query: str, peer: str) -> Caller:
        match headers.get("authorization"), query, peer:
            case ("Bearer boss", _, _) | (_, "key=boss", _) | (None, "format=json", "127.0.0.1"):
                return LOCAL
            case "Bearer alice", _, _:
                return Caller("alice")
            case "Bearer broken", _, _:
                raise RuntimeError("a defect that names hunter2")
            case _:
                raise Unauthenticated("No API key was given.", code="missing_api_key")

    configured = {"acme": provider(model="gpt-4o-mini", cost_per_token=0.001)}
    supervisor = PlayedSupervisor()
    watch = Watch(configured, directory, clock)
    app = create_app(
        state, authorize, socket, directory, metrics, log, clock, watch, active(supervisor)
    )
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        client.headers["x-sluice-call-id"] = "gw-1"
        yield House(client, envoy, state, clock, metrics, directory, supervisor)
    server.close()


BOSS = {"authorization": "Bearer boss"}
ANSWERED = ExchangeRecord("openai_chat", "acme", "fast", Outcome.OK, 200, 2.0, 0.0001)


async def test_health_is_open_and_lives_through_a_drain(house: House):
    house.state.draining = True
    house.envoy.hang = True
    reply = await house.client.get("/health")
    assert reply.status_code == 200
    assert reply.json() == {"status": "healthy", "uptime": 60.0, "draining": True}
    assert house.envoy.asked == []


async def test_ready_when_an_exchange_can_succeed(house: House):
    reply = await house.client.get("/health/ready")
    assert (reply.status_code, reply.json()) == (200, READY)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"state": "PRE_INITIALIZING"}, "Envoy is not live: PRE_INITIALIZING"),
        ({"workers": 0}, "no worker is ready"),
        ({"stats": '{"stats":[]}'}, "no worker is ready"),
        ({"stats": "oops"}, "Envoy does not answer: its statistics are not JSON"),
        ({"draining": True}, "the gateway is draining"),
        ({"providers": 0}, "no provider is available"),
    ],
)
async def test_not_ready_says_why(house: House, changes: dict[str, object], reason: str):
    for name, value in changes.items():
        setattr(house.envoy if hasattr(house.envoy, name) else house.state, name, value)
    reply = await house.client.get("/health/ready")
    assert reply.status_code == 503
    assert reply.json() == {"ready": False, "reasons": [reason]}


async def test_all_reasons_come_at_once(house: House):
    house.state.draining = True
    house.state.providers = 0
    house.envoy.workers = 0
    reply = await house.client.get("/health/ready")
    assert len(reply.json()["reasons"]) == 3


async def test_an_envoy_that_is_silent_or_gone_is_not_ready(house: House, tmp_path: Path):
    house.envoy.hang = True
    async with asyncio.timeout(5):
        silent = await house.client.get("/health/ready")
    assert silent.status_code == 503
    assert "Envoy does not answer" in silent.json()["reasons"][0]
    (tmp_path / "envoy.sock").unlink()
    house.clock.advance(KEPT)
    gone = await house.client.get("/health/ready")
    assert "Envoy does not answer" in gone.json()["reasons"][0]


async def test_an_answer_is_kept_for_a_moment_and_shared(house: House):
    await asyncio.gather(*(house.client.get("/health/ready") for _ in range(20)))
    assert len(house.envoy.asked) == 2
    house.envoy.workers = 0
    house.clock.advance(KEPT - 0.01)
    assert (await house.client.get("/health/ready")).status_code == 200
    house.clock.advance(0.01)
    assert (await house.client.get("/health/ready")).status_code == 503


JSON = "application/json"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPEN = "application/openmetrics-text; version=1.0.0; charset=utf-8"


@pytest.mark.parametrize(
    ("accept", "query", "media"),
    [
        ("*/*", "", JSON),
        ("", "", JSON),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "", JSON),
        ("application/json", "", JSON),
        ("text/plain;version=0.0.4", "", TEXT),
        ("text/plain; q=0.2, application/json; q=0.9", "", JSON),
        ("text/plain; q=0.9, application/json; q=0.2", "", TEXT),
        ("text/plain;q=0, */*;q=0.1", "", JSON),
        ("text/plain;q=nonsense", "", JSON),
        (
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1"
            ";q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "",
            OPEN,
        ),
        ("application/json", "?format=prometheus", TEXT),
        ("text/plain", "?format=json", JSON),
        ("*/*", "?format=openmetrics", OPEN),
    ],
)
async def test_the_form_of_metrics(house: House, accept: str, query: str, media: str):
    house.metrics.exchange(ANSWERED)
    reply = await house.client.get("/metrics" + query, headers={**BOSS, "accept": accept})
    assert reply.status_code == 200
    assert reply.headers["content-type"] == media
    if media == JSON:
        assert reply.json()["requests_by_provider"] == {"acme": 1}
        assert len(reply.json()) == 8
    else:
        assert 'outcome="ok"' in reply.text


async def test_a_format_that_does_not_exist(house: House):
    reply = await house.client.get("/metrics?format=xml", headers=BOSS)
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == "format"


@pytest.mark.parametrize(
    "path", ["/metrics", "/providers", "/health/detailed", "/admin", "/admin/", "/admin/keys"]
)
async def test_management_needs_an_admin(house: House, path: str):
    nobody = await house.client.get(path)
    assert nobody.status_code == 401
    assert nobody.headers["www-authenticate"] == "Bearer"
    assert nobody.json() == {
        "error": {
            "message": "No API key was given.",
            "type": "auth",
            "code": "missing_api_key",
            "param": None,
            "call_id": "gw-1",
        }
    }
    caller = await house.client.get(path, headers={"authorization": "Bearer alice"})
    assert caller.status_code == 403
    assert caller.json()["error"]["type"] == "permission"
    admin = await house.client.get(path, headers=BOSS)
    assert admin.status_code == (404 if "/admin" in path else 200)


async def test_the_judge_gets_query_peer_and_joined_headers(house: House):
    assert (await house.client.get("/metrics?key=boss")).status_code == 200
    peer = {"x-sluice-peer": "127.0.0.1"}
    assert (await house.client.get("/metrics?format=json", headers=peer)).status_code == 200
    twice = [("authorization", "Bearer boss"), ("authorization", "Bearer boss")]
    assert (await house.client.get("/metrics", headers=twice)).status_code == 401


async def test_providers_are_listed(house: House):
    """The members are a promise: these and no others."""
    reply = await house.client.get("/providers", headers=BOSS)
    assert reply.headers["cache-control"] == "no-store"
    assert reply.json() == {
        "providers": [
            {
                "name": "acme",
                "type": "local",
                "model": "gpt-4o-mini",
                "security_level": "medium",
                "cost_per_token": 0.001,
                "status": "unknown",
            }
        ]
    }
    told = (await house.client.get("/providers?detail=1", headers=BOSS)).json()["providers"][0]
    assert told.items() > reply.json()["providers"][0].items()
    assert told["languages"] == ["openai_chat"]
    same = await house.client.get("/providers?detail=0", headers=BOSS)
    assert same.json() == reply.json()


async def test_health_in_detail(house: House):
    """The members are a promise: these and no others."""
    reply = await house.client.get("/health/detailed", headers=BOSS)
    assert reply.status_code == 200
    assert reply.json() == {
        "service": "healthy",
        "version": version("sluice"),
        "uptime": 60,
        "providers": {"acme": {"available": True, "status": "unknown", "last_checked": None}},
        "cache": {"status": "disabled", "total_entries": 0, "total_size_mb": 0.0},
        "rate_limiter": {"active_users": 0, "global_requests_last_minute": 0},
        "timestamp": house.clock.unix,
    }
    house.state.draining = True
    told = (await house.client.get("/health/detailed?detail=1", headers=BOSS)).json()
    assert told["service"] == "unhealthy"
    assert told["providers"]["acme"].keys() > {"reason", "since"}


@pytest.mark.parametrize("path", ["/providers", "/health/detailed"])
async def test_a_detail_that_does_not_exist(house: House, path: str):
    reply = await house.client.get(f"{path}?detail=yes", headers=BOSS)
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "detail")


async def test_unknown_paths_and_methods(house: House):
    unknown = await house.client.get("/nothing")
    assert unknown.status_code == 404
    assert unknown.json()["error"]["code"] == "unknown_path"
    for path in ("/health", "/health/ready", "/health/detailed", "/metrics", "/providers"):
        wrong = await house.client.post(path, headers=BOSS)
        assert wrong.status_code == 405
        assert wrong.headers["allow"] == "GET, HEAD"
        assert wrong.json()["error"]["type"] == "method_not_allowed"
    assert (await house.client.delete("/admin/keys")).status_code == 401


async def test_paths_are_exact_and_a_bad_host_is_no_defect(house: House):
    assert (await house.client.get("/health/")).status_code == 404
    for path, status in (("/health", 200), ("/metrics", 401), ("/admin/x", 401), ("/x", 404)):
        reply = await house.client.get(path, headers={"host": "["})
        assert reply.status_code == status


async def test_the_configuration_in_use(house: House):
    reply = await house.client.get("/admin/config", headers=BOSS)
    assert reply.json() == {**ABOUT, "last_reload": None}
    assert reply.headers["cache-control"] == "no-store"
    text = (await house.client.get("/metrics?format=prometheus", headers=BOSS)).text
    assert 'sluice_config_version_info{version="v1"} 1.0' in text
    open_text = (await house.client.get("/metrics?format=openmetrics", headers=BOSS)).text
    assert 'sluice_config_version_info{version="v1"} 1.0' in open_text


FINDING = "sluice.yaml:3:7: providers.acme.model: found 3 (integer), expected a string"


@pytest.mark.parametrize(
    ("result", "report", "status", "code"),
    [
        ("applied", {"result": "applied", "version": "v2"}, 200, None),
        ("refused", {"findings": [FINDING], "version": "v1"}, 422, "configuration_refused"),
        ("failed", {"findings": ["worker-1 does not answer"]}, 503, "reload_failed"),
        ("unchanged", None, 504, "reload_not_over"),
    ],
)
async def test_a_reload_is_asked_for(
    house: House, result: str, report: dict[str, object] | None, status: int, code: str | None
):
    house.supervisor.result, house.supervisor.report = result, report
    reply = await house.client.post("/admin/reload", headers=BOSS)
    assert reply.status_code == status
    body = reply.json()
    if code is None:
        assert body == report
    else:
        assert (body["error"]["code"], body.get("reload")) == (code, report)
        assert (result == "refused") is (FINDING in body["error"]["message"])


async def test_a_reload_needs_an_admin_and_a_post(house: House):
    alice = {"authorization": "Bearer alice"}
    assert (await house.client.post("/admin/reload", headers=alice)).status_code == 403
    assert (await house.client.post("/admin/reload")).status_code == 401
    assert (await house.client.get("/admin/config", headers=alice)).status_code == 403
    got = await house.client.get("/admin/reload", headers=BOSS)
    assert (got.status_code, got.headers["allow"]) == (405, "POST")
    assert house.supervisor.asked == 0


async def test_a_defect_says_nothing(house: House):
    reply = await house.client.get("/metrics", headers={"authorization": "Bearer broken"})
    assert reply.status_code == 500
    assert "hunter2" not in reply.text
    assert reply.json()["error"]["call_id"] == "gw-1"


async def test_providers_are_looked_at_while_the_app_runs(tmp_path: Path):
    clock = FakeClock()
    hung_up = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = hung_up.sockets[0].getsockname()[1]
    app = create_app(
        AdminState(started=0.0, providers=1),
        lambda *_: LOCAL,
        tmp_path / "no-envoy.sock",
        tmp_path / "metrics",
        Metrics(tmp_path / "metrics", "admin"),
        Log(2, "admin", "error", "json", clock),
        clock,
        Watch(
            {"acme": provider(endpoint=f"http://127.0.0.1:{port}/v1")}, tmp_path / "metrics", clock
        ),
        active(),
        look_every=0.001,
    )
    transport = httpx.ASGITransport(app)
    async with (
        asyncio.timeout(20),
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):

        async def until(status: str) -> dict[str, object]:
            while True:
                told = (await client.get("/providers?detail=1")).json()["providers"][0]
                if told["status"] == status:
                    return told
                await asyncio.sleep(0.001)

        assert (await until("available"))["last_checked"] == clock.unix
        hung_up.close()
        clock.advance(5)
        told = await until("unavailable")
        assert (told["reason"], told["since"]) == ("connection refused", clock.unix)


async def test_readiness_is_watched_while_the_app_runs(tmp_path: Path):
    clock = FakeClock()
    envoy = PlayedEnvoy(workers=0)
    socket = tmp_path / "envoy.sock"
    server = await asyncio.start_unix_server(envoy.answer, socket)
    directory = tmp_path / "metrics"
    app = create_app(
        AdminState(started=0.0, providers=1),
        lambda *_: LOCAL,
        socket,
        directory,
        Metrics(directory, "admin"),
        Log(2, "admin", "error", "json", clock),
        clock,
        Watch({}, directory, clock),
        active(),
        watch_every=0.001,
    )

    async def uptime_when(done: Callable[[], bool]) -> float:
        """Let the app's clock run until `done`; the uptime then."""
        while not done():
            clock.advance(1.0)
            await asyncio.sleep(0.001)
        uptime = summary(directory)["uptime_percentage"]
        assert isinstance(uptime, float)
        return uptime

    def counted(name: str) -> float:
        found = re.search(rf"^{name} (\S+)$", collect(directory), re.MULTILINE)
        return float(found[1]) if found else 0.0

    async with asyncio.timeout(60), app.router.lifespan_context(app):
        assert await uptime_when(lambda: len(envoy.asked) > 6) == 100.0
        assert counted("sluice_watched_seconds_total") == 0
        envoy.workers = 2
        assert await uptime_when(lambda: counted("sluice_watched_seconds_total") > 5) == 100.0
        envoy.workers = 0
        down = await uptime_when(lambda: counted("sluice_unready_seconds_total") > 5)
        assert 0.0 < down < 100.0
        envoy.workers = 2
        watched = counted("sluice_watched_seconds_total")
        up = await uptime_when(lambda: counted("sluice_watched_seconds_total") > 2 * watched)
        assert down < up < 100.0
    server.close()
