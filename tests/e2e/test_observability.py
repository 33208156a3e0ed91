"""What can be seen of the gateway: log, access log, metrics, health. And what never can."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from tests.e2e import raw
from tests.e2e.harness import ADMIN_KEY, ALICE_KEY, SECRETS, Gateway
from tests.e2e.processes import eventually

CHAT = "/v1/chat/completions"
MARK = "prompt-marker-8c1d"


def chat(gateway: Gateway, text: str = "hi", *, stream: bool = False, key: str = "") -> raw.Answer:
    fields = {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], "stream": stream}
    headers = {"x-api-key": key} if key else gateway.auth
    body = json.dumps(fields).encode()
    return raw.exchange(gateway.port, raw.request("POST", CHAT, body, headers))


@pytest.mark.parametrize("stream", [False, True])
def test_one_line_for_each_exchange(gateway: Gateway, stream: bool) -> None:
    answer = chat(gateway, stream=stream)
    call_id = answer.headers["x-sluice-call-id"]
    line = gateway.wait_exchange(call_id)
    assert line["level"] == "info"
    assert line["part"] in ("worker-1", "worker-2")
    assert line["caller"] == "alice"
    assert line["peer"] == "127.0.0.1"
    assert (line["method"], line["path"]) == ("POST", CHAT)
    assert (line["asked"], line["model"], line["provider"]) == ("gpt-4o", "gpt-4o", "acme")
    assert (line["status"], line["outcome"], line["attempts"]) == (200, "ok", 1)
    assert line["bytes_in"] == len(gateway.mock.requests[-1].body) or stream
    assert line["bytes_out"] == len(answer.body)
    assert 0 < line["own_us"] / 1000 < line["ms"]
    assert 0 < line["first_ms"] <= line["ms"]
    chat(gateway)
    lines = [one for one in gateway.log_lines() if one.get("call") == call_id]
    assert len(lines) == 1


def test_a_refusal_has_a_line_too(gateway: Gateway) -> None:
    answer = chat(gateway, key="wrong")
    line = gateway.wait_exchange(answer.headers["x-sluice-call-id"])
    assert (line["outcome"], line["status"], line["error"]) == ("refused", 401, "invalid_api_key")
    assert line["caller"] is None
    assert line["provider"] is None


def test_the_call_id_is_the_same_everywhere(gateway: Gateway) -> None:
    answers = [chat(gateway), chat(gateway, stream=True), chat(gateway, key="wrong")]
    answers.append(raw.exchange(gateway.port, raw.request("GET", "/health")))
    answers.append(raw.exchange(gateway.port, raw.request("GET", "/nothing", b"", gateway.auth)))
    ids = [answer.headers["x-sluice-call-id"] for answer in answers]
    assert len(set(ids)) == len(ids)
    for call_id in (*ids[:3], ids[4]):
        gateway.wait_exchange(call_id)
    eventually(
        lambda: set(ids) <= {line["call_id"] for line in gateway.access_lines()},
        wanted="all ids in the access log",
    )


def test_the_access_log_carries_our_metadata(gateway: Gateway) -> None:
    call_id = chat(gateway).headers["x-sluice-call-id"]
    line = eventually(
        lambda: next((one for one in gateway.access_lines() if one["call_id"] == call_id), None)
    )
    assert line["status"] == 200
    assert line["path"] == CHAT
    assert line["plan"]["caller"] == "alice"
    assert line["plan"]["provider"] == "acme"
    assert line["plan"]["model"] == "gpt-4o"


def test_nothing_that_was_said_and_no_secret_is_ever_written(gateway: Gateway) -> None:
    mark = f"{MARK}-{uuid.uuid4().hex}"
    answers = [
        chat(gateway, mark),
        chat(gateway, mark, stream=True),
        chat(gateway, f"[[mock status=500]] {mark}"),
        chat(gateway, f"[[mock end=3]] {mark}", stream=True),
        chat(gateway, f"[[mock status=401 header=x-echo:{mark}]] {mark}"),
        chat(gateway, mark, key=f"wrong-{mark}"),
    ]
    broken = b'{"model":"gpt-4o","messages":"%b"' % mark.encode()
    for body in (broken, broken + b"}"):
        request = raw.request("POST", CHAT, body, gateway.auth)
        answers.append(raw.exchange(gateway.port, request))
    query = raw.request("POST", f"/query?key={ALICE_KEY}&x={mark}", b'{"prompt":"hi"}')
    answers.append(raw.exchange(gateway.port, query))
    ids = [answer.headers["x-sluice-call-id"] for answer in answers]
    for call_id in ids:
        gateway.wait_exchange(call_id)
    eventually(lambda: set(ids) <= {line["call_id"] for line in gateway.access_lines()})
    with gateway.http(ADMIN_KEY) as client:
        metrics = "".join(
            client.get("/metrics", params={"format": form}).text for form in ("prometheus", "json")
        )
    access = (gateway.data / "envoy" / "access.log").read_text()
    for written in (gateway.log_text(), access, metrics):
        assert mark not in written
        for secret in SECRETS:
            assert secret not in written
    for path in gateway.data.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert mark.encode() not in content, path
            assert not [s for s in SECRETS if s.encode() in content], path


def test_no_secret_is_on_a_command_line(gateway: Gateway) -> None:
    for part, pid in gateway.pids().items():
        line = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
        assert not [secret for secret in SECRETS if secret in line], part


def test_metrics_in_both_forms_agree(gateway: Gateway) -> None:
    before = gateway.metric("sluice_requests_total")
    for _ in range(3):
        chat(gateway)
    chat(gateway, "[[mock status=500]]")
    chat(gateway, stream=True)
    eventually(lambda: gateway.metric("sluice_requests_total") == before + 5)
    with gateway.http(ADMIN_KEY) as client:
        plain = client.get("/metrics", headers={"accept": "text/plain"})
        summary = client.get("/metrics", headers={"accept": "application/json"}).json()
        default = client.get("/metrics").json()
    assert plain.headers["content-type"].startswith("text/plain")
    assert default.keys() == summary.keys()
    assert set(summary) == {
        "total_requests",
        "requests_by_provider",
        "total_tokens_used",
        "total_cost",
        "average_response_time",
        "cache_hit_rate",
        "error_rate",
        "uptime_percentage",
    }
    assert summary["total_requests"] == gateway.metric("sluice_requests_total")
    assert summary["requests_by_provider"]["acme"] == gateway.metric(
        "sluice_requests_total", provider="acme"
    )
    tokens = sum(gateway.metric("sluice_tokens_total", kind=kind) for kind in ("input", "output"))
    assert summary["total_tokens_used"] == tokens > 0
    assert summary["total_cost"] == pytest.approx(gateway.metric("sluice_cost_usd_total"))
    assert summary["total_cost"] > 0


def test_durations_and_own_time_are_measured(gateway: Gateway) -> None:
    before = gateway.metric("sluice_request_duration_seconds_count")
    own = gateway.metric("sluice_ext_proc_seconds_count")
    chat(gateway, "[[mock delay=50ms]]")
    eventually(lambda: gateway.metric("sluice_request_duration_seconds_count") == before + 1)
    assert gateway.metric("sluice_ext_proc_seconds_count") == own + 1


def test_in_flight_is_seen_while_it_is(gateway: Gateway) -> None:
    with raw.connected(gateway.port) as line:
        fields = {
            "model": "gpt-4o",
            "messages": [{"role": "user", "content": "[[mock delay=30]] hi"}],
        }
        line.sendall(raw.request("POST", CHAT, json.dumps(fields).encode(), gateway.auth))
        eventually(lambda: gateway.metric("sluice_in_flight") == 1.0)
        assert gateway.metric("sluice_in_flight_bytes") > 0
    eventually(lambda: gateway.metric("sluice_in_flight") == 0.0)


def test_health(gateway: Gateway) -> None:
    with gateway.http() as client:
        live = client.get("/health")
        ready = client.get("/health/ready")
    assert (live.status_code, live.json()["status"]) == (200, "healthy")
    assert ready.json() == {"ready": True, "workers": 2}
    assert gateway.mock.requests == ()


def test_the_processes_are_named(gateway: Gateway) -> None:
    assert set(gateway.pids()) == {"worker-1", "worker-2", "admin", "envoy"}
