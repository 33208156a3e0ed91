"""Who may come in, by which key, and what becomes of the key."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from tests.e2e import raw
from tests.e2e.harness import ADMIN_KEY, ALICE_KEY, BOB_KEY, PROVIDER_KEY, SLUICE, Gateway
from tests.e2e.processes import eventually

BODY = b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}]}'


def post(gateway: Gateway, headers: dict[str, str], query: str = "") -> raw.Answer:
    path = "/v1/chat/completions" + query
    return raw.exchange(gateway.port, raw.request("POST", path, BODY, headers))


def refused(answer: raw.Answer, status: int, code: str) -> None:
    assert answer.status == status, answer
    error = answer.json["error"]
    assert error["code"] == code
    assert error["message"]
    assert answer.headers["x-sluice-call-id"].startswith("gw-")
    assert answer.headers["x-request-id"] == answer.headers["x-sluice-call-id"]


@pytest.mark.parametrize("name", ["x-api-key", "api-key", "x-goog-api-key"])
def test_each_header_that_carries_a_key(gateway: Gateway, name: str) -> None:
    assert post(gateway, {name: ALICE_KEY}).status == 200


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_bearer(gateway: Gateway, scheme: str) -> None:
    assert post(gateway, {"authorization": f"{scheme} {ALICE_KEY}"}).status == 200


def test_no_key(gateway: Gateway) -> None:
    answer = post(gateway, {})
    refused(answer, 401, "missing_api_key")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "sluice keys create" in answer.json["error"]["message"]
    assert gateway.mock.requests == ()


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer wrong"},
        {"authorization": f"Bearer {ALICE_KEY}x"},
        {"x-api-key": ALICE_KEY[:-1]},
        {"api-key": PROVIDER_KEY},
        # A wrong key in a better header is not saved by a right one in a lesser.
        {"x-api-key": "wrong", "authorization": f"Bearer {ALICE_KEY}"},
    ],
)
def test_wrong_key(gateway: Gateway, headers: dict[str, str]) -> None:
    refused(post(gateway, headers), 401, "invalid_api_key")
    assert gateway.mock.requests == ()


@pytest.mark.parametrize(
    "headers",
    [
        {"key": ALICE_KEY},
        {"x-key": ALICE_KEY},
        {"token": ALICE_KEY},
        {"cookie": f"key={ALICE_KEY}"},
        {"authorization": ALICE_KEY},
        {"authorization": f"Basic {ALICE_KEY}"},
        {"proxy-authorization": f"Bearer {ALICE_KEY}"},
    ],
)
def test_key_in_the_wrong_header(gateway: Gateway, headers: dict[str, str]) -> None:
    refused(post(gateway, headers), 401, "missing_api_key")


def test_a_refusal_waits_for_no_body(gateway: Gateway) -> None:
    head = raw.request(
        "POST", "/v1/chat/completions", b"", {"content-length": "1000000", "x-api-key": "wrong"}
    )
    refused(raw.exchange(gateway.port, head), 401, "invalid_api_key")


def test_key_in_the_query_is_used_and_then_gone(gateway: Gateway) -> None:
    answer = post(gateway, {}, f"?key={ALICE_KEY}&trace=1")
    assert answer.status == 200
    (seen,) = gateway.mock.requests
    assert ALICE_KEY.encode() not in seen.head + seen.body
    call_id = answer.headers["x-sluice-call-id"]
    gateway.wait_exchange(call_id)
    eventually(lambda: any(line["call_id"] == call_id for line in gateway.access_lines()))
    assert ALICE_KEY not in gateway.log_text()
    assert ALICE_KEY not in (gateway.data / "envoy" / "access.log").read_text()


@pytest.mark.parametrize("path", ["/query", "/stream"])
def test_the_simple_language_says_it_too(gateway: Gateway, path: str) -> None:
    answer = raw.exchange(gateway.port, raw.request("POST", path, b'{"prompt":"hi"}'))
    assert answer.status == 401
    assert answer.headers["x-sluice-call-id"] in answer.body.decode()


def test_the_clients_key_never_reaches_a_provider(gateway: Gateway) -> None:
    for name in ("authorization", "x-api-key", "api-key", "x-goog-api-key"):
        value = f"Bearer {ALICE_KEY}" if name == "authorization" else ALICE_KEY
        assert post(gateway, {name: value}).status == 200
    seen = gateway.mock.requests
    assert len(seen) == 4
    for one in seen:
        assert ALICE_KEY.encode() not in one.head + one.body
        assert one.headers["authorization"] == f"Bearer {PROVIDER_KEY}"
        assert not {"x-api-key", "api-key", "x-goog-api-key"} & one.headers.keys()


def test_model_that_the_key_may_not_use(gateway: Gateway) -> None:
    body = BODY.replace(b"gpt-4o-mini", b"gpt-4o")
    request = raw.request("POST", "/v1/chat/completions", body, {"x-api-key": BOB_KEY})
    refused(raw.exchange(gateway.port, request), 403, "model_not_allowed")
    assert gateway.mock.requests == ()
    assert post(gateway, {"x-api-key": BOB_KEY}).status == 200


def test_the_model_list_holds_what_the_key_may_use(gateway: Gateway) -> None:
    with gateway.http(BOB_KEY) as client:
        listed = {card["id"] for card in client.get("/v1/models").json()["data"]}
    assert listed == {"gpt-4o-mini", "fast"}


def test_a_key_made_by_the_command(make_gateway: Callable[..., Gateway]) -> None:
    made = subprocess.run(
        [SLUICE, "keys", "create", "--name", "carol", "--models", "fast"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    key = next(word for word in made.split() if word.startswith("sluice-"))
    digest = next(word.strip('",{}') for word in made.split() if "blake2b$" in word)
    own = make_gateway(keys=[{"name": "carol", "hash": digest, "models": ["fast"]}], workers=1)
    body = BODY.replace(b"gpt-4o-mini", b"fast")
    for sent, status in ((key, 200), (key[:-1] + ("0" if key[-1] != "0" else "1"), 401)):
        request = raw.request("POST", "/v1/chat/completions", body, {"x-api-key": sent})
        assert raw.exchange(own.port, request).status == status
    assert key not in own.log_text()


def test_management_needs_an_admin(gateway: Gateway) -> None:
    for key, status in ((None, 401), ("wrong", 401), (ALICE_KEY, 403), (ADMIN_KEY, 200)):
        with gateway.http(key) as client:
            answer = client.get("/metrics")
        assert answer.status_code == status
        assert answer.headers["x-sluice-call-id"].startswith("gw-")
    with gateway.http(ALICE_KEY) as client:
        assert client.get("/admin/anything").status_code == 403


def test_health_is_open(gateway: Gateway) -> None:
    with gateway.http() as client:
        assert client.get("/health").status_code == 200
        assert client.get("/health/ready").json()["ready"] is True
