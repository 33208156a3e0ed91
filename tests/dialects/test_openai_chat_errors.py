"""Errors of OpenAI Chat: what providers say, and the classes that the real SDK raises for ours."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx
import openai
import pytest

from extproc.dialects.openai_chat import DIALECT
from extproc.model import errors as e
from extproc.model.call import CallId
from extproc.model.chat import ListModels
from extproc.model.dialect import ModelCard, ReplyContext

from . import kit_chat as kit

CALL = "gw-00000000-0000-4000-8000-000000000001"


def said(status: int, body: Any, **headers: str) -> e.GatewayError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    events, passed = kit.drain(kit.decoder({**kit.JSON, **named}, status), [raw])
    assert passed == b""
    return kit.failure(events)


def openai_error(message: str = "m", **members: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": None, "param": None, "code": None, **members}}


@pytest.mark.parametrize(
    ("status", "body", "kind", "kept"),
    [
        (
            400,
            openai_error(param="messages[0].role", code="unsupported_value"),
            e.InvalidRequest,
            400,
        ),
        (400, openai_error(code="context_length_exceeded"), e.ContextTooLong, 400),
        (400, openai_error(code="content_filter"), e.ContentBlocked, 400),
        (402, openai_error(), e.BudgetSpent, 402),
        (404, openai_error(code="model_not_found"), e.NotFound, 404),
        (404, b"<html>no such page</html>", e.UpstreamBad, 502),
        (408, openai_error(), e.Timeout, 408),
        (409, openai_error(), e.InvalidRequest, 409),
        (413, openai_error(), e.TooLarge, 413),
        (422, openai_error(), e.InvalidRequest, 422),
        (429, openai_error(code="rate_limit_exceeded"), e.RateLimited, 429),
        (
            429,
            openai_error(type="insufficient_quota", code="credit_balance_exhausted"),
            e.BudgetSpent,
            429,
        ),
        (429, b"slow down", e.RateLimited, 429),
        (500, openai_error(type="server_error"), e.UpstreamBad, 500),
        (503, openai_error(), e.Overloaded, 503),
        (503, b"<html></html>", e.Overloaded, 503),
        (504, b"", e.Timeout, 504),
        (529, openai_error(), e.Overloaded, 529),
        (400, {"code": "bad", "error": "xAI says so"}, e.InvalidRequest, 400),
        (404, {"error": {"code": "404", "message": "Resource not found"}}, e.NotFound, 404),
        (400, [openai_error()], e.InvalidRequest, 400),
    ],
)
def test_a_providers_error_keeps_status_and_words(
    status: int, body: Any, kind: type[e.GatewayError], kept: int
) -> None:
    error = said(status, body)
    assert type(error) is kind
    assert (error.status, error.origin) == (kept, e.Origin.PROVIDER)
    reply = DIALECT.render_error(error, CALL)
    # OpenAI's SDK has a class for a spent budget at one status only, and 529 is Anthropic's.
    fixed = {e.BudgetSpent: 429, e.Overloaded: 503}
    assert reply.status == fixed.get(kind, kept)
    assert reply.headers["x-sluice-error-origin"] == "provider"


@pytest.mark.parametrize("status", [401, 403, 400])
def test_our_own_credential_refused_is_502_and_says_no_key(status: int) -> None:
    error = said(status, openai_error("Incorrect API key provided: sk-abcd***wxyz"))
    assert (error.kind, error.status) == (e.Kind.UPSTREAM_BAD, 502)
    assert "sk-" not in error.message
    assert "credential" in error.message


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after_ms": "1500", "retry_after": "9"}, 1.5),
        ({"retry_after": "2"}, 2.0),
        (
            {
                "retry_after": "Sat, 21 Nov 2026 10:00:30 GMT",
                "date": "Sat, 21 Nov 2026 10:00:00 GMT",
            },
            30.0,
        ),
        (
            {
                "retry_after": "Sat, 21 Nov 2026 10:00:00 GMT",
                "date": "Sat, 21 Nov 2026 10:00:30 GMT",
            },
            0.0,
        ),
        ({"retry_after": "Sat, 21 Nov 2026 10:00:00 GMT"}, None),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "nan"}, None),
        (
            {"retry_after": "Sat, 21 Nov 2026 10:00:30", "date": "Sat, 21 Nov 2026 10:00:00 GMT"},
            None,
        ),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert said(429, openai_error(), **headers).retry_after == seconds


def raised(error: e.GatewayError) -> openai.APIStatusError:
    """What the SDK makes of our reply."""
    wire = DIALECT.render_error(error, CALL)
    transport = httpx.MockTransport(
        lambda _: httpx.Response(wire.status, headers=dict(wire.headers), content=wire.body)
    )
    http: Any = httpx.Client(transport=transport)  # the SDK types name another release of httpx
    client = openai.OpenAI(
        api_key="k", base_url="http://127.0.0.1/v1", http_client=http, max_retries=0
    )
    with client, pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
    return caught.value


@pytest.mark.parametrize(
    ("error", "kind", "status", "type_", "code"),
    [
        (
            e.InvalidRequest("m", param="n"),
            openai.BadRequestError,
            400,
            "invalid_request_error",
            None,
        ),
        (
            e.Unsupported("m"),
            openai.BadRequestError,
            400,
            "invalid_request_error",
            "unsupported_parameter",
        ),
        (
            e.ContextTooLong("m"),
            openai.BadRequestError,
            400,
            "invalid_request_error",
            "context_length_exceeded",
        ),
        (
            e.ContentBlocked("m"),
            openai.BadRequestError,
            400,
            "invalid_request_error",
            "content_filter",
        ),
        (
            e.Unauthenticated("m"),
            openai.AuthenticationError,
            401,
            "invalid_request_error",
            "invalid_api_key",
        ),
        (
            e.BudgetSpent("m"),
            openai.RateLimitError,
            429,
            "insufficient_quota",
            "insufficient_quota",
        ),
        (
            e.PermissionDenied("m"),
            openai.PermissionDeniedError,
            403,
            "invalid_request_error",
            "permission_denied",
        ),
        (e.NotFound("m"), openai.NotFoundError, 404, "invalid_request_error", "model_not_found"),
        (
            e.MethodNotAllowed("m", allow=("POST",)),
            openai.APIStatusError,
            405,
            "invalid_request_error",
            "method_not_allowed",
        ),
        (e.TooLarge("m"), openai.APIStatusError, 413, "invalid_request_error", "request_too_large"),
        (e.RateLimited("m"), openai.RateLimitError, 429, "rate_limit_error", "rate_limit_exceeded"),
        (e.Internal("m"), openai.InternalServerError, 500, "server_error", None),
        (e.UpstreamBad("m"), openai.InternalServerError, 502, "server_error", "bad_gateway"),
        (
            e.Overloaded("m"),
            openai.InternalServerError,
            503,
            "service_unavailable_error",
            "server_is_overloaded",
        ),
        (e.Timeout("m"), openai.InternalServerError, 504, "server_error", "timeout"),
    ],
)
def test_the_sdk_raises_its_own_classes(
    error: e.GatewayError,
    kind: type[openai.APIStatusError],
    status: int,
    type_: str,
    code: str | None,
) -> None:
    found = raised(error)
    assert isinstance(found, kind)
    assert (found.status_code, found.type, found.code) == (status, type_, code)
    assert (found.param, found.request_id) == (error.param, CALL)
    assert isinstance(found.body, dict)
    assert set(found.body) == {"message", "type", "param", "code", "call_id"}
    assert found.body["message"] == "m"


def test_headers_of_errors() -> None:
    headers = DIALECT.render_error(e.RateLimited("m", retry_after=1.2), CALL).headers
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("2", "1200")
    assert DIALECT.render_error(e.BudgetSpent("m"), CALL).headers["x-should-retry"] == "false"
    assert (
        DIALECT.render_error(e.MethodNotAllowed("m", allow=("GET", "POST")), CALL).headers["allow"]
        == "GET, POST"
    )
    assert (
        DIALECT.render_error(e.InvalidRequest("m", code="invalid_json"), CALL).headers[
            "content-type"
        ]
        == "application/json"
    )


def test_model_lists() -> None:
    cards = [ModelCard("a", "acme", 5), ModelCard("b/c", "acme")]
    whole = DIALECT.render_models(cards, ListModels("openai_chat"), CALL)
    listed = openai.types.Model.model_validate(json.loads(whole.body)["data"][1])
    assert (listed.id, listed.owned_by, listed.object) == ("b/c", "acme", "model")
    one = DIALECT.render_models(cards, ListModels("openai_chat", "a"), CALL)
    assert json.loads(one.body) == {"id": "a", "object": "model", "created": 5, "owned_by": "acme"}
    with pytest.raises(e.NotFound):
        DIALECT.render_models(cards, ListModels("openai_chat", "z"), CALL)


def test_trap_62_headers_that_may_travel() -> None:
    for name in ("authorization", "cookie", "openai-organization", "openai-project", "host"):
        assert name not in DIALECT.request_headers
    for name in ("set-cookie", "openai-organization", "authorization", "connection"):
        assert name not in DIALECT.reply_headers


@pytest.mark.parametrize("stream", [False, True])
def test_trap_11_no_header_of_the_old_body_is_written_or_let_through(stream: bool) -> None:
    chat = replace(
        kit.parse({"model": "m", "messages": [{"role": "user", "content": "x"}]}), stream=stream
    )
    _, written = DIALECT.encoder(chat, ReplyContext(CallId(CALL), "m", 0)).head()
    for name in ("content-length", "content-encoding", "etag", "transfer-encoding"):
        assert name not in written
        assert name not in DIALECT.reply_headers
