"""HTTP itself: versions, upgrades, repeated headers, connections that are used again."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.e2e import raw
from tests.e2e.harness import ALICE_KEY, BOB_KEY, Gateway

CHAT = "/v1/chat/completions"
BODY = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}'


def with_lines(lines: list[str], target: str = CHAT) -> bytes:
    """A request whose header lines are exactly these, and its length."""
    head = "".join(f"{line}\r\n" for line in [*lines, f"content-length: {len(BODY)}"])
    return f"POST {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + BODY


def curl2(gateway: Gateway, path: str, *arguments: str) -> tuple[int, str]:
    """The status and the body, over HTTP/2 without TLS."""
    done = subprocess.run(
        [
            *("curl", "-sS", "--http2-prior-knowledge", "--noproxy", "*", "--max-time", "10"),
            *("-w", "\n%{http_version} %{http_code}"),
            *arguments,
            gateway.url + path,
        ],
        capture_output=True,
        text=True,
        timeout=15,
    )
    assert done.returncode == 0, done.stderr
    body, _, tail = done.stdout.rpartition("\n")
    version, status = tail.split()
    assert version == "2"
    return int(status), body


def test_http2(gateway: Gateway) -> None:
    key = ("-H", f"x-api-key: {ALICE_KEY}")
    status, body = curl2(gateway, "/query", *key, "-d", '{"prompt":"hi"}')
    assert (status, json.loads(body)["provider"]) == (200, "acme")
    status, body = curl2(gateway, "/stream", *key, "-d", '{"prompt":"hi"}')
    assert body.endswith("data: [DONE]\n\n")
    # Without a body: curl 7 fails on the RST_STREAM (NO_ERROR; RFC 9113 8.1) that follows a refusal
    # while it still sends one.
    status, body = curl2(gateway, "/query", "-X", "POST")
    assert json.loads(body)["correlation_id"]
    assert (status, len(gateway.mock.requests)) == (401, 2)


def test_http2_brings_no_header_that_http1_does_not(gateway: Gateway) -> None:
    curl2(gateway, "/query", "-H", f"x-api-key: {ALICE_KEY}", "-d", '{"prompt":"hi"}')
    (seen,) = gateway.mock.requests
    assert set(seen.headers) == {
        "host",
        "content-length",
        "content-type",
        "accept-encoding",
        "user-agent",
        "authorization",
    }


def test_one_connection_many_callers(gateway: Gateway) -> None:
    """A proxy's connection carries many people: nothing of one call is left for the next."""
    with raw.connected(gateway.port) as line:
        for key, status in (
            (ALICE_KEY, 200),
            ("wrong", 401),
            (None, 401),
            (BOB_KEY, 403),
            (ALICE_KEY, 200),
        ):
            headers = {"x-api-key": key} if key else {}
            line.sendall(raw.request("POST", CHAT, BODY, headers))
            assert raw.read(line).status == status


def test_a_request_that_waits_for_leave_to_send(gateway: Gateway) -> None:
    head = {**gateway.auth, "expect": "100-continue"}
    assert raw.exchange(gateway.port, raw.request("POST", CHAT, BODY, head)).status == 200


def test_trailers_are_left_behind(gateway: Gateway) -> None:
    lines = f"host: localhost\r\nx-api-key: {ALICE_KEY}\r\ntransfer-encoding: chunked\r\n"
    pieces = b"%x\r\n%b\r\n0\r\nx-trailer: 1\r\n\r\n" % (len(BODY), BODY)
    answer = raw.exchange(
        gateway.port, f"POST {CHAT} HTTP/1.1\r\n{lines}trailer: x-trailer\r\n\r\n".encode() + pieces
    )
    assert answer.status == 200
    (seen,) = gateway.mock.requests
    assert seen.body == BODY
    assert b"trailer" not in seen.head


@pytest.mark.parametrize(
    "lines",
    [
        ["authorization: Bearer wrong", f"authorization: Bearer {ALICE_KEY}"],
        [f"authorization: Bearer {ALICE_KEY}", "authorization: Bearer wrong"],
        [f"x-api-key: {ALICE_KEY}", f"x-api-key: {ALICE_KEY}"],
    ],
)
def test_a_key_that_is_sent_twice_is_no_key(gateway: Gateway, lines: list[str]) -> None:
    answer = raw.exchange(gateway.port, with_lines(["host: localhost", *lines]))
    assert answer.status == 401
    assert gateway.mock.requests == ()


@pytest.mark.parametrize(
    ("target", "hosts"),
    [
        ("http://evil.example" + CHAT, ["host: localhost"]),
        (CHAT, ["host: localhost", "host: evil.example"]),
        (CHAT, ["host: evil.example", "host: localhost"]),
        (CHAT, ["host: evil.example,localhost"]),
        (CHAT, ["host: evil.example,a.localhost"]),
        (CHAT, ["host: localhost@evil.example"]),
        (CHAT, ["host: localhost:80@evil.example"]),
        (CHAT, ["host: localhost#.evil.example"]),
        (CHAT, ["host: "]),
    ],
)
def test_keyless_is_not_fooled_by_a_host(keyless: Gateway, target: str, hosts: list[str]) -> None:
    answer = raw.exchange(keyless.port, with_lines(hosts, target))
    assert answer.status in (400, 403), answer
    assert answer.json["error"]["message"]
    assert keyless.mock.requests == ()


def test_connect_is_refused(gateway: Gateway) -> None:
    for headers in ("", f"x-api-key: {ALICE_KEY}\r\n"):
        answer = raw.exchange(
            gateway.port,
            f"CONNECT 127.0.0.1:80 HTTP/1.1\r\nhost: 127.0.0.1:80\r\n{headers}\r\n".encode(),
        )
        assert 400 <= answer.status < 500
        assert answer.headers["x-sluice-call-id"].startswith("gw-")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /health HTTP/1.0\r\nhost: localhost\r\n\r\n", 426),
        (
            b"GET /v1/realtime HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n"
            b"upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: eA==\r\n\r\n",
            403,
        ),
    ],
)
def test_what_the_gateway_does_not_speak(
    keyless: Gateway, request_bytes: bytes, status: int
) -> None:
    answer = raw.exchange(keyless.port, request_bytes)
    assert answer.status == status
    assert answer.json["error"]["type"] == "invalid_request_error"
    assert answer.headers["x-sluice-call-id"].startswith("gw-")


@pytest.mark.parametrize(
    "model",
    [r"a\r\nx-evil: 1", r"\u0000", r"\ud800", r"\u00e9", "m" * 50_000, "../../admin", "%00"],
)
def test_a_models_name_goes_into_no_header_and_no_log_raw(gateway: Gateway, model: str) -> None:
    body = BODY.replace(b"gpt-4o", model.encode())
    answer = raw.exchange(gateway.port, raw.request("POST", CHAT, body, gateway.auth))
    assert answer.status in (400, 404)
    assert "x-evil" not in answer.headers
    assert len(answer.body) < 2000
    line = gateway.wait_exchange(answer.headers["x-sluice-call-id"])
    assert len(json.dumps(line)) < 5000


@pytest.mark.parametrize("key", ["k\xe9\xff", "k" * 50_000, "sluice---", "sluice-00000000-x", "\t"])
def test_a_strange_key_is_a_wrong_key(gateway: Gateway, key: str) -> None:
    answer = raw.exchange(gateway.port, raw.request("POST", CHAT, BODY, {"x-api-key": key}))
    assert answer.status == 401
    assert gateway.mock.requests == ()
