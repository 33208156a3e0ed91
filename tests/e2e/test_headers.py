"""Which headers travel to a provider: those on the list, and no others."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.e2e import raw
from tests.e2e.harness import PROVIDER_KEY, Gateway

CHAT = "/v1/chat/completions"
BODY = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}'
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

ALWAYS = {
    "host",
    "content-length",
    "content-type",
    "accept-encoding",
    "user-agent",
    "authorization",
}
NEVER = {
    "cookie": "session=1",
    "x-forwarded-for": "203.0.113.9",
    "x-forwarded-host": "evil.example",
    "x-forwarded-proto": "https",
    "x-forwarded-client-cert": "By=x",
    "forwarded": "for=203.0.113.9",
    "via": "1.1 proxy",
    "x-real-ip": "203.0.113.9",
    "x-request-id": "mine",
    "accept-language": "de",
    "referer": "http://intranet.example/secret",
    "origin": "http://intranet.example",
    "proxy-authorization": "Basic eA==",
    "x-api-key": "another",
    "api-key": "another",
    "x-goog-api-key": "another",
    "x-amz-security-token": "another",
    "x-custom": "anything",
    "x-mock-status": "500",
    "x-sluice-tags": "a=b",
    "x-sluice-call": "gw-forged",
    "x-sluice-call-id": "gw-forged",
    "x-sluice-peer": "127.0.0.1",
    "x-sluice-dest": "elsewhere",
    "x-envoy-upstream-rq-timeout-ms": "1",
    "x-envoy-upstream-rq-per-try-timeout-ms": "1",
    "x-envoy-max-retries": "9",
    "x-envoy-retry-on": "5xx",
    "x-envoy-original-path": "/admin",
    "x-envoy-decorator-operation": "x",
    "te": "trailers",
    "expect-ct": "x",
}


def post(
    gateway: Gateway, headers: Mapping[str, str] | None = None, body: bytes = BODY
) -> raw.Answer:
    fields = {**(headers or {}), **gateway.auth}
    return raw.exchange(gateway.port, raw.request("POST", CHAT, body, fields))


def test_a_plain_call_carries_nothing_more_than_it_must(gateway: Gateway) -> None:
    assert post(gateway).status == 200
    (seen,) = gateway.mock.requests
    assert set(seen.headers) == ALWAYS
    assert seen.headers["host"] == gateway.mock.url.removeprefix("http://")
    assert seen.headers["user-agent"] == "sluice"
    assert seen.headers["authorization"] == f"Bearer {PROVIDER_KEY}"
    assert len(seen.raw_headers) == len(seen.headers)


@pytest.mark.parametrize(
    "name", [n for n in NEVER if n not in ("x-api-key", "api-key", "x-goog-api-key")]
)
def test_no_other_header_travels(gateway: Gateway, name: str) -> None:
    answer = post(gateway, {name: NEVER[name]})
    assert answer.status == 200
    (seen,) = gateway.mock.requests
    assert set(seen.headers) == ALWAYS
    assert NEVER[name] not in seen.headers.values()


def test_all_at_once_neither(keyless: Gateway) -> None:
    sent = {name: value for name, value in NEVER.items() if name != "origin"}
    assert post(keyless, sent).status == 200
    (seen,) = keyless.mock.requests
    assert set(seen.headers) == ALWAYS


def test_the_trace_travels(gateway: Gateway) -> None:
    assert post(gateway, {"traceparent": TRACE, "tracestate": "a=b"}).status == 200
    (seen,) = gateway.mock.requests
    assert seen.headers["traceparent"] == TRACE


def test_clients_do_not_choose_who_pays_at_the_provider(gateway: Gateway) -> None:
    headers = {"openai-organization": "org-1", "openai-project": "p-1", "openai-beta": "b=v1"}
    assert post(gateway, headers).status == 200
    (seen,) = gateway.mock.requests
    assert seen.headers["openai-beta"] == "b=v1"
    assert not {"openai-organization", "openai-project"} & seen.headers.keys()


@pytest.mark.parametrize("value", ["gw-forged", "gw-00000000-0000-4000-8000-000000000000"])
def test_no_client_chooses_its_call_id(gateway: Gateway, value: str) -> None:
    names = ["x-sluice-call-id", "x-sluice-call", "x-request-id"]
    forged = dict.fromkeys(names, value)
    answer = post(gateway, forged)
    assert answer.headers["x-sluice-call-id"] != value
    assert gateway.wait_exchange(answer.headers["x-sluice-call-id"])


def test_no_client_sets_envoys_timers(gateway: Gateway) -> None:
    body = BODY.replace(b"hi", b"[[mock delay=300ms]] hi")
    knobs = {
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-upstream-rq-per-try-timeout-ms": "1",
        "x-envoy-expected-rq-timeout-ms": "1",
        "x-envoy-hedge-on-per-try-timeout": "true",
    }
    assert post(gateway, knobs, body).status == 200
    assert len(gateway.mock.requests) == 1


def test_no_client_asks_for_more_attempts(gateway: Gateway) -> None:
    body = BODY.replace(b"hi", b"[[mock status=503]] hi")
    knobs = {"x-envoy-max-retries": "5", "x-envoy-retry-on": "5xx,reset"}
    assert post(gateway, knobs, body).status == 503
    assert len(gateway.mock.requests) == 1


def test_the_length_is_exact_after_a_splice(gateway: Gateway) -> None:
    body = BODY.replace(b"gpt-4o", b"fast").replace(b'"messages"', b'"stream":true, "messages"')
    answer = post(gateway, body=body)
    assert answer.status == 200
    (seen,) = gateway.mock.requests
    assert seen.headers["content-length"] == str(len(seen.body))
    assert isinstance(seen.json, dict)
    assert seen.json["model"] == "gpt-4o-mini"
    assert seen.json["stream_options"] == {"include_usage": True}


def test_no_header_of_envoys_reaches_the_client(gateway: Gateway) -> None:
    answer = post(gateway)
    assert not [name for name in answer.headers if name.startswith("x-envoy")]
    assert answer.headers.get("server", "") != "envoy"
