"""Bad requests, each refused in the right envelope, and none of them sent to a provider."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest

from tests.e2e import raw
from tests.e2e.harness import Gateway

CHAT = "/v1/chat/completions"
MESSAGES = b'"messages":[{"role":"user","content":"hi"}]'
GOOD = b'{"model":"gpt-4o",' + MESSAGES + b"}"
GOOD_QUERY = b'{"prompt":"hi"}'


def post(gateway: Gateway, body: bytes, path: str = CHAT, **headers: str) -> raw.Answer:
    fields = {**gateway.auth, **{name.replace("_", "-"): v for name, v in headers.items()}}
    return raw.exchange(gateway.port, raw.request("POST", path, body, fields))


def enveloped(answer: raw.Answer, status: int, *, path: str = CHAT) -> dict[str, str]:
    """The error, once everything about it was right that a client relies on."""
    assert answer.status == status, answer
    assert answer.headers["content-type"].startswith("application/json")
    call_id = answer.headers["x-sluice-call-id"]
    assert call_id.startswith("gw-")
    assert call_id in answer.body.decode() or answer.headers.get("x-request-id") == call_id
    error = answer.json["error"]
    if path in ("/query", "/stream"):
        return {"message": error if isinstance(error, str) else error["message"]}
    assert error.keys() >= {"message", "type", "param", "code"}
    assert error["message"]
    assert isinstance(error["type"], str)
    return error


def unseen(gateway: Gateway) -> None:
    assert gateway.mock.requests == ()


# Paths and methods.


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/nothing", "/v1/chat/completions/", "/query/", "/v2/chat/completions"]
)
def test_unknown_path(gateway: Gateway, path: str) -> None:
    error = enveloped(post(gateway, GOOD, path), 404)
    assert error["code"] == "unknown_url"
    unseen(gateway)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", CHAT, "POST"),
        ("DELETE", CHAT, "POST"),
        ("PUT", "/query", "POST"),
        ("GET", "/stream", "POST"),
        ("POST", "/v1/models", "GET"),
    ],
)
def test_wrong_method(gateway: Gateway, method: str, path: str, allowed: str) -> None:
    answer = raw.exchange(gateway.port, raw.request(method, path, b"", gateway.auth))
    enveloped(answer, 405, path=path)
    assert answer.headers["allow"] == allowed
    unseen(gateway)


# Bodies.

NOT_JSON: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \n",
    "cut short": GOOD[:-1],
    "trailing": GOOD + b"}",
    "two documents": GOOD + GOOD,
    "single quotes": GOOD.replace(b'"', b"'"),
    "comment": GOOD[:-1] + b"/* */}",
    "trailing comma": GOOD[:-1] + b",}",
    "byte order mark": b"\xef\xbb\xbf" + GOOD,
    "UTF-16": GOOD.decode().encode("utf-16"),
    "not UTF-8": GOOD.replace(b"hi", b"\xff\xfe"),
    "overlong UTF-8": GOOD.replace(b"hi", b"\xc0\xaf"),
    "surrogate in UTF-8": GOOD.replace(b"hi", b"\xed\xa0\x80"),
    "NaN": GOOD[:-1] + b',"temperature":NaN}',
    "Infinity": GOOD[:-1] + b',"temperature":-Infinity}',
    "bare control character": GOOD.replace(b"hi", b"h\x01i"),
    "deep array": GOOD[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep object": GOOD[:-1] + b',"x":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
    "only brackets": b"[" * 100_000,
    "form": b"model=gpt-4o&prompt=hi",
}

WRONG_TYPES: dict[str, bytes] = {
    "array": b"[]",
    "string": b'"hi"',
    "null": b"null",
    "number": b"1",
    "empty object": b"{}",
    "model is a number": b'{"model":1,' + MESSAGES + b"}",
    "model is null": b'{"model":null,' + MESSAGES + b"}",
    "model is an object": b'{"model":{},' + MESSAGES + b"}",
    "no messages": b'{"model":"gpt-4o"}',
    "messages is text": b'{"model":"gpt-4o","messages":"hi"}',
    "messages is an object": b'{"model":"gpt-4o","messages":{}}',
    "message is text": b'{"model":"gpt-4o","messages":["hi"]}',
    "stream is text": GOOD[:-1] + b',"stream":"yes"}',
    "stream is a number": GOOD[:-1] + b',"stream":1}',
}

DUPLICATES: dict[str, bytes] = {
    "model": GOOD[:-1] + b',"model":"gpt-4o"}',
    "messages": GOOD[:-1] + b"," + MESSAGES + b"}",
    "stream": GOOD[:-1] + b',"stream":false,"stream":true}',
    "tools": GOOD[:-1] + b',"tools":[],"tools":[]}',
    "model in escapes": GOOD[:-1] + b',"\\u006dodel":"gpt-4o-mini"}',
    "all of model in escapes": GOOD[:-1] + b',"\\u006d\\u006f\\u0064\\u0065\\u006C":"gpt-4o-mini"}',
    "messages in escapes": GOOD[:-1] + b',"messa\\u0067es":[]}',
    "stream in escapes": GOOD[:-1] + b',"stream":false,"\\u0073tream":true}',
    "tools in escapes": GOOD[:-1] + b',"tools":[],"t\\u006Fols":[]}',
    "both in escapes": b'{"\\u006dodel":"gpt-4o","mod\\u0065l":"gpt-4o",' + MESSAGES + b"}",
}


def named(cases: dict[str, bytes]) -> Iterable[object]:
    return [pytest.param(body, id=name) for name, body in cases.items()]


@pytest.mark.parametrize("body", named({**NOT_JSON, **WRONG_TYPES, **DUPLICATES}))
def test_a_body_that_is_no_chat_request(gateway: Gateway, body: bytes) -> None:
    error = enveloped(post(gateway, body), 400)
    assert error["type"] == "invalid_request_error"
    unseen(gateway)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (DUPLICATES["model in escapes"], "model"),
        (DUPLICATES["messages"], "messages"),
        (DUPLICATES["stream"], "stream"),
        (DUPLICATES["tools in escapes"], "tools"),
        (WRONG_TYPES["messages is text"], "messages"),
        (WRONG_TYPES["no messages"], "messages"),
        (WRONG_TYPES["stream is text"], "stream"),
    ],
)
def test_the_field_is_named(gateway: Gateway, body: bytes, param: str) -> None:
    assert enveloped(post(gateway, body), 400)["param"] == param


SIMPLE = {
    "cut short": b'{"prompt":"hi"',
    "no prompt": b'{"context":"hi"}',
    "prompt is a number": b'{"prompt":1}',
    "prompt is null": b'{"prompt":null}',
    "array": b"[]",
    "empty": b"",
    "not UTF-8": b'{"prompt":"\xff"}',
    "NaN": b'{"prompt":"hi","temperature":NaN}',
    "deep": b'{"prompt":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "temperature is text": b'{"prompt":"hi","temperature":"hot"}',
    "max_tokens is negative": b'{"prompt":"hi","max_tokens":-1}',
    "twice": b'{"prompt":"hi","prompt":"ho"}',
    "twice, in escapes": b'{"prompt":"hi","\\u0070rompt":"ho"}',
    "unknown provider": b'{"prompt":"hi","provider":"nobody"}',
}


@pytest.mark.parametrize("path", ["/query", "/stream"])
@pytest.mark.parametrize("body", named(SIMPLE))
def test_a_body_that_is_no_simple_query(gateway: Gateway, path: str, body: bytes) -> None:
    enveloped(post(gateway, body, path), 400, path=path)
    unseen(gateway)


def test_lone_surrogates_pass_untouched(gateway: Gateway) -> None:
    body = GOOD.replace(b"hi", b"\\ud800 and \\udfff")
    answer = post(gateway, body)
    (seen,) = gateway.mock.requests
    assert seen.body == body
    # What comes back is the mock's own judgement.
    assert answer.status == seen.status


def test_nesting_that_is_only_in_text_passes(gateway: Gateway) -> None:
    body = GOOD.replace(b"hi", b"[" * 100_000)
    assert post(gateway, body).status == 200


def test_a_wrong_content_type_is_forgiven(gateway: Gateway) -> None:
    """curl without a header says it sends a form; the body is what counts."""
    kind = "application/x-www-form-urlencoded"
    assert post(gateway, GOOD_QUERY, "/query", content_type=kind).status == 200


# Sizes, codings, framing.


def test_chunked_upload(gateway: Gateway) -> None:
    pieces = [GOOD[:7], GOOD[7:30], GOOD[30:]]
    answer = raw.exchange(gateway.port, *raw.chunked(CHAT, pieces, gateway.auth))
    assert answer.status == 200
    (seen,) = gateway.mock.requests
    assert seen.body == GOOD
    assert seen.headers["content-length"] == str(len(GOOD))
    assert "transfer-encoding" not in seen.headers


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "x-unknown", "GZIP", "gzip, identity"])
def test_compressed_request(gateway: Gateway, coding: str) -> None:
    answer = post(gateway, GOOD, content_encoding=coding)
    assert enveloped(answer, 415)["param"] == "content-encoding"
    unseen(gateway)


def test_a_large_body_passes_whole(gateway: Gateway) -> None:
    body = GOOD.replace(b"hi", b"x" * (5 << 20))
    assert post(gateway, body).status == 200
    (seen,) = gateway.mock.requests
    assert seen.body == body


@pytest.mark.parametrize("path", [CHAT, "/query"])
def test_body_above_the_limit(tight: Gateway, path: str) -> None:
    """S3-45"""
    body = b'{"prompt":"' + b"x" * 65536 + b'"}'
    error = enveloped(post(tight, body, path), 413, path=path)
    assert "limit" in error["message"]
    unseen(tight)


@pytest.mark.parametrize("path", [CHAT, "/query"])
def test_chunked_body_above_the_limit(tight: Gateway, path: str) -> None:
    answer = raw.exchange(tight.port, *raw.chunked(path, [b"x" * 20_000] * 5))
    enveloped(answer, 413, path=path)
    unseen(tight)


def test_a_body_at_the_limit_passes(tight: Gateway) -> None:
    # Short words, because the mock repeats the first of them.
    body = GOOD.replace(b"hi", b"x " * ((65536 - len(GOOD) + 2) // 2))
    body += b" " * (65536 - len(body))
    assert len(body) == 65536
    assert post(tight, body).status == 200


def test_headers_too_large(tight: Gateway) -> None:
    answer = post(tight, GOOD, x_large="x" * 20_000)
    error = enveloped(answer, 431)
    assert error["code"] == "headers_too_large"
    unseen(tight)


def test_headers_too_many(tight: Gateway) -> None:
    answer = post(tight, GOOD, **{f"x_{n}": "1" for n in range(60)})
    enveloped(answer, 431)
    unseen(tight)


def test_an_upload_that_never_ends(tight: Gateway) -> None:
    """S3-45"""
    with raw.connected(tight.port) as line:
        line.sendall(raw.request("POST", CHAT, b"", {"content-length": "100"}))
        line.sendall(b"{")
        enveloped(raw.read(line), 408)
    unseen(tight)


BAD_HTTP: dict[str, bytes] = {
    "no HTTP at all": b"hello there\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64 + b"\r\n\r\n",
    "two lengths": (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
        b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello!"
    ),
    "length is no number": (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: five\r\n\r\n"
    ),
    "length and chunks": (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n"
        b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "no host": b"GET /v1/models HTTP/1.1\r\n\r\n",
    "space before the colon": b"GET /v1/models HTTP/1.1\r\nhost : localhost\r\n\r\n",
    "NUL in a header": b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nx: a\x00b\r\n\r\n",
    "broken chunk": (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
        b"transfer-encoding: chunked\r\n\r\nzz\r\n"
    ),
}


@pytest.mark.parametrize("request_bytes", named(BAD_HTTP))
def test_what_is_no_http(keyless: Gateway, request_bytes: bytes) -> None:
    answer = raw.exchange(keyless.port, request_bytes)
    assert answer.status in (400, 501), answer
    assert answer.headers["x-sluice-call-id"].startswith("gw-")
    error = json.loads(answer.body)["error"]
    assert error["type"] == "invalid_request_error"
    unseen(keyless)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1//chat/completions", 200),
        ("/v1/x/../chat/completions", 200),
        ("/v1/chat%2fcompletions", 404),
        ("/metrics/../v1/chat/completions", 200),
    ],
)
def test_spellings_of_a_path(keyless: Gateway, path: str, status: int) -> None:
    assert post(keyless, GOOD, path).status == status


@pytest.mark.parametrize("path", ["/v1/../metrics", "//metrics", "/./metrics", "/%6detrics"])
def test_no_spelling_of_a_management_path_goes_round_the_key(gateway: Gateway, path: str) -> None:
    answer = raw.exchange(gateway.port, raw.request("GET", path, b"", gateway.auth))
    assert answer.status in (403, 404)
    assert b"total_requests" not in answer.body


def test_the_gateway_is_as_well_as_before(gateway: Gateway) -> None:
    assert post(gateway, GOOD).status == 200
