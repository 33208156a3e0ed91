"""Errors of OpenAI Chat: what a provider said to our tree, and our tree to what SDKs expect.

`provider_error` reads a provider's answer; it never lets a credential or a page
of HTML through. `envelope` writes the four members that OpenAI's SDKs read.
Source: OpenAI's error reference; the classes that openai-python picks by status.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import orjson

from extproc.codec import jsontext
from extproc.dialects._errors import (
    MAX_MESSAGE,
    class_of,
    refused_us,
    retry_after_of,
    status_of,
    unreadable,
    wait_of,
)
from extproc.model.chat import Json
from extproc.model.dialect import Headers, WireReply
from extproc.model.errors import (
    BudgetSpent,
    ContentBlocked,
    ContextTooLong,
    GatewayError,
    Kind,
    Origin,
)

_SPENT = frozenset(
    {
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "billing_hard_limit_reached",
    }
)
_BAD_KEY = re.compile(r"(incorrect|invalid|wrong|missing) .{0,12}api[ _-]?key", re.IGNORECASE)


# --- what a provider said -------------------------------------------------------------------


def provider_error(status: int, headers: Headers, body: bytes) -> GatewayError:
    """The error in a reply with `status` >= 400. The status is kept, but for 401 and 403."""
    if status in (401, 403):
        return refused_us(status)
    retry_after = retry_after_of(headers)
    try:
        value: Json = orjson.loads(body)
    except orjson.JSONDecodeError:
        return unreadable(status, retry_after)
    return _classify(status, _error_object(value), retry_after)


def stream_error(value: Mapping[str, Json]) -> GatewayError:
    """The error that a datum of a stream carries: there is no status but what it says itself."""
    error = _error_object(dict(value))
    for member in (error.get("status_code"), error.get("status"), error.get("code")):
        if isinstance(member, int) and 400 <= member <= 599:
            return refused_us(member) if member in (401, 403) else _classify(member, error, None)
    words = {_word(error.get("type")), _word(error.get("code"))}
    for status, names in _STREAM_WORDS:
        if words & names:
            return _classify(status, error, None)
    return _classify(502, error, None)


_STREAM_WORDS: tuple[tuple[int, frozenset[str | None]], ...] = (
    (429, frozenset({"rate_limit_error", "rate_limit_exceeded", "slow_down", *_SPENT})),
    (503, frozenset({"server_is_overloaded", "overloaded_error", "service_unavailable_error"})),
    (400, frozenset({"invalid_request_error", "invalid_prompt", "content_filter"})),
    (500, frozenset({"server_error", "internal_server_error"})),
)


def _error_object(value: Json) -> Mapping[str, Json]:
    """The object with `message`, wherever the provider put it."""
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict):
        return {}
    error = value.get("error")
    if isinstance(error, dict):
        return error
    if isinstance(error, str):
        return {"message": error, "code": value.get("code"), "type": value.get("type")}
    text = value.get("message", value)
    details = text.get("detail") if isinstance(text, dict) else text
    said = _told(details) if isinstance(details, list) else details
    return {**value, "message": said}


def _told(details: list[Json]) -> Json:
    """Mistral's and vLLM's lists of what is wrong, each with its place, as one line."""
    said = [
        f"{'.'.join(map(str, place))}: {one['msg']}"
        for one in details
        if isinstance(one, dict)
        and isinstance(place := one.get("loc"), list)
        and isinstance(one.get("msg"), str)
    ]
    return "; ".join(said)


def _classify(status: int, error: Mapping[str, Json], retry_after: float | None) -> GatewayError:
    text = error.get("message")
    if not isinstance(text, str) or not text:
        return unreadable(status, retry_after)
    code = _word(error.get("code"))
    kind = _word(error.get("type"))
    if status == 400 and (code == "invalid_api_key" or _BAD_KEY.search(text)):
        return refused_us(status)
    make = class_of(status, text)
    if code in _SPENT or kind in _SPENT:
        make, code = BudgetSpent, code or kind
    elif code == "context_length_exceeded":
        make = ContextTooLong
    elif code == "content_filter":
        make = ContentBlocked
    param = error.get("param")
    return make(
        text[:MAX_MESSAGE],
        param=param if isinstance(param, str) else None,
        code=code,
        origin=Origin.PROVIDER,
        retry_after=retry_after,
        status=status,
    )


def _word(value: Json) -> str | None:
    return value[:128] if isinstance(value, str) and value else None


# --- what we say ----------------------------------------------------------------------------

_TYPES: Mapping[Kind, tuple[str, str | None]] = {
    Kind.INVALID_REQUEST: ("invalid_request_error", None),
    Kind.UNSUPPORTED: ("invalid_request_error", "unsupported_parameter"),
    Kind.CONTEXT_TOO_LONG: ("invalid_request_error", "context_length_exceeded"),
    Kind.CONTENT_BLOCKED: ("invalid_request_error", "content_filter"),
    Kind.AUTH: ("invalid_request_error", "invalid_api_key"),
    Kind.BUDGET: ("insufficient_quota", "insufficient_quota"),
    Kind.PERMISSION: ("invalid_request_error", "permission_denied"),
    Kind.NOT_FOUND: ("invalid_request_error", "model_not_found"),
    Kind.METHOD_NOT_ALLOWED: ("invalid_request_error", "method_not_allowed"),
    Kind.TOO_LARGE: ("invalid_request_error", "request_too_large"),
    Kind.RATE_LIMITED: ("rate_limit_error", "rate_limit_exceeded"),
    Kind.INTERNAL: ("server_error", None),
    Kind.UPSTREAM_BAD: ("server_error", "bad_gateway"),
    Kind.OVERLOADED: ("service_unavailable_error", "server_is_overloaded"),
    Kind.TIMEOUT: ("server_error", "timeout"),
}


def error_members(error: GatewayError, call_id: str) -> dict[str, Json]:
    """`{message, type, param, code, call_id}`."""
    kind, code = _TYPES[error.kind]
    return {
        "message": error.message,
        "type": kind,
        "param": error.param,
        "code": error.code or code,
        "call_id": call_id,
    }


def envelope(error: GatewayError, call_id: str) -> bytes:
    """`{"error": {message, type, param, code, call_id}}`."""
    return jsontext.dumps({"error": error_members(error, call_id)})


def render_error(error: GatewayError, call_id: str) -> WireReply:
    """A whole reply. OpenAI has no 402: a spent budget is a 429 that must not be retried."""
    status = status_of(error)
    headers = {
        "content-type": "application/json",
        "x-request-id": call_id,
        "x-sluice-error-origin": error.origin.value,
    }
    if isinstance(error, BudgetSpent):
        status, headers["x-should-retry"] = 429, "false"
    wait = wait_of(error)
    if wait is not None:
        headers["retry-after"] = str(max(1, math.ceil(wait)))
        headers["retry-after-ms"] = str(round(wait * 1000))
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    if error.allow:
        headers["allow"] = ", ".join(error.allow)
    return WireReply(status, headers, envelope(error, call_id))
