"""Errors of Anthropic, Bedrock and Vertex to our tree, and our tree to the classes of the real SDK."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import pytest

from extproc.dialects.anthropic_messages import DIALECT
from extproc.model.dialect import RateLimit, ReplyHead
from extproc.model.errors import (
    BudgetSpent,
    ContentBlocked,
    ContextTooLong,
    GatewayError,
    Internal,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    Origin,
    Overloaded,
    PermissionDenied,
    RateLimited,
    Timeout,
    TooLarge,
    Unauthenticated,
    Unsupported,
    UpstreamBad,
)

from . import kit_anthropic as kit
from . import reading
from .test_anthropic_encoder import ASKED, client


def provider(status: int, body: Any, **headers: str) -> GatewayError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return reading.failure(kit.decode(raw, {**kit.JSON, **named}, status))


def envelope(kind: str, message: str = "What went wrong.", **more: Any) -> Any:
    return {"type": "error", "error": {"type": kind, "message": message, **more}}


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (400, "invalid_request_error", InvalidRequest),
        (402, "billing_error", BudgetSpent),
        (404, "not_found_error", NotFound),
        (409, "conflict_error", InvalidRequest),
        (413, "request_too_large", TooLarge),
        (429, "rate_limit_error", RateLimited),
        (500, "api_error", UpstreamBad),
        (504, "timeout_error", Timeout),
        (529, "overloaded_error", Overloaded),
    ],
)
def test_what_anthropic_says(status: int, kind: str, expected: type[GatewayError]) -> None:
    error = provider(status, envelope(kind))
    assert type(error) is expected
    assert (error.status, error.message, error.origin) == (
        status,
        "What went wrong.",
        Origin.PROVIDER,
    )


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, envelope("x", "prompt is too long: 200001 tokens > 200000 maximum"), ContextTooLong),
        (400, envelope("x", "Output blocked by content filtering policy"), ContentBlocked),
        (400, envelope("x", "Your credit balance is too low to access the API."), BudgetSpent),
        (429, {"message": "Too many tokens, please wait"}, RateLimited),
        (400, {"message": "Input is too long for requested model."}, ContextTooLong),
        (424, {"message": "model broke", "originalStatusCode": 500}, InvalidRequest),
        (404, [{"error": {"code": 404, "message": "no model", "status": "NOT_FOUND"}}], NotFound),
        (502, b"<html>bad</html>", UpstreamBad),
        (500, b"", UpstreamBad),
        (400, b"null", InvalidRequest),
    ],
)
def test_what_others_of_this_language_say(
    status: int, body: Any, expected: type[GatewayError]
) -> None:
    """trap 14: also pages of HTML, and nothing at all."""
    assert type(provider(status, body)) is expected


@pytest.mark.parametrize("status", [401, 403])
def test_our_credential_is_our_failure(status: int) -> None:
    error = provider(status, envelope("authentication_error", "invalid x-api-key sk-ant-1"))
    assert (type(error), error.status) == (UpstreamBad, 502)
    assert "sk-ant" not in error.message


def test_retry_after_and_code() -> None:
    body = envelope("rate_limit_error", details={"error_code": "tokens_per_minute"})
    error = provider(429, body, retry_after="7")
    assert (error.retry_after, error.code) == (7.0, "tokens_per_minute")


def test_a_compressed_reply_fails() -> None:
    """trap 10."""
    headers = {**kit.SSE, "content-encoding": "gzip"}
    assert isinstance(reading.failure(kit.decode(b"\x1f\x8b", headers)), UpstreamBad)


# --- what the SDK raises

RAISED = [
    (InvalidRequest("m"), 400, anthropic.BadRequestError, "invalid_request_error"),
    (Unsupported("m"), 400, anthropic.BadRequestError, "invalid_request_error"),
    (ContextTooLong("m"), 400, anthropic.BadRequestError, "invalid_request_error"),
    (Unauthenticated("m"), 401, anthropic.AuthenticationError, "authentication_error"),
    (BudgetSpent("m"), 402, anthropic.APIStatusError, "billing_error"),
    (PermissionDenied("m"), 403, anthropic.PermissionDeniedError, "permission_error"),
    (NotFound("m"), 404, anthropic.NotFoundError, "not_found_error"),
    (MethodNotAllowed("m"), 405, anthropic.APIStatusError, "invalid_request_error"),
    (TooLarge("m"), 413, anthropic.APIStatusError, "request_too_large"),
    (RateLimited("m"), 429, anthropic.RateLimitError, "rate_limit_error"),
    (Internal("m"), 500, anthropic.InternalServerError, "api_error"),
    (UpstreamBad("m"), 502, anthropic.InternalServerError, "api_error"),
    (Overloaded("m"), 529, anthropic.InternalServerError, "overloaded_error"),
    (Overloaded("m", status=503), 529, anthropic.InternalServerError, "overloaded_error"),
    (Timeout("m"), 504, anthropic.InternalServerError, "timeout_error"),
]


@pytest.mark.parametrize(("error", "status", "raised", "kind"), RAISED)
def test_the_sdk_raises_its_own_classes(
    error: GatewayError, status: int, raised: type[anthropic.APIStatusError], kind: str
) -> None:
    wire = DIALECT.render_error(error, "gw-1")
    assert wire.status == status
    with pytest.raises(raised) as caught:
        client(wire.body, False, wire.status, **wire.headers).messages.create(**ASKED)
    assert (caught.value.status_code, caught.value.type) == (status, kind)
    assert caught.value.request_id == "gw-1"
    assert "m" in str(caught.value)


def test_headers_of_an_error() -> None:
    wire = DIALECT.render_error(RateLimited("slow", retry_after=1.2, code="busy"), "gw-1")
    assert (wire.headers["retry-after"], wire.headers["retry-after-ms"]) == ("2", "1200")
    value = json.loads(wire.body)
    assert value["error"]["details"] == {"error_code": "busy"}
    assert value["request_id"] == "gw-1"
    spent = DIALECT.render_error(BudgetSpent("spent"), "gw-1")
    assert spent.headers["x-should-retry"] == "false"


def test_an_error_comes_back_as_it_went() -> None:
    for error, _, _, _ in RAISED:
        wire = DIALECT.render_error(error, "gw-1")
        if wire.status not in (401, 403):
            again = provider(wire.status, wire.body)
            assert again.message == error.message


# --- limits


def test_limits_are_read_and_written() -> None:
    headers = {
        "date": "Sat, 21 Nov 2026 10:00:00 GMT",
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "49",
        "anthropic-ratelimit-requests-reset": "2026-11-21T10:00:30Z",
        "anthropic-ratelimit-input-tokens-remaining": "1000",
    }
    limits = DIALECT.read_limits(ReplyHead(200, headers))
    assert limits == (
        RateLimit("requests", 50, 49, 30.0),
        RateLimit("input-tokens", None, 1000, None),
    )
    assert DIALECT.write_limits(limits) == {
        "anthropic-ratelimit-requests-limit": "50",
        "anthropic-ratelimit-requests-remaining": "49",
        "anthropic-ratelimit-input-tokens-remaining": "1000",
    }
