"""Errors of Anthropic Messages: what a provider said to our tree, and our tree to what SDKs expect.

Providers of this language are Anthropic, Bedrock (`{"message"}`, type in a header)
and Vertex (`{"error": {code, message, status}}`): all three are read. Written is
`{"type": "error", "error": {type, message}, "request_id"}`.
Source: Anthropic's error reference; the classes that anthropic-sdk-python picks by status.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import orjson

from extproc.codec import jsontext
from extproc.dialects._errors import refused_us, retry_after_of, said, unreadable, wait_of
from extproc.model.chat import Json
from extproc.model.dialect import Headers, WireReply
from extproc.model.errors import (
    BudgetSpent,
    ContentBlocked,
    ContextTooLong,
    GatewayError,
    Kind,
    Overloaded,
)

_TOO_LONG = re.compile(
    r"prompt is too long|exceeds? (the )?context (limit|window)|input is too long", re.I
)
_BLOCKED = re.compile(r"blocked by (our )?content filter", re.I)
_SPENT = re.compile(r"credit balance is too low|usage limits?\b.*regain access", re.I)


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
    if isinstance(value, list) and value:
        value = value[0]
    error = value.get("error", value) if isinstance(value, dict) else None
    return _classify(status, error if isinstance(error, dict) else {}, retry_after)


def stream_error(value: Mapping[str, Json]) -> GatewayError:
    """The error that an event of a stream carries. There is no status but what its type says."""
    error = value.get("error")
    if not isinstance(error, dict):
        return _classify(502, value, None)
    kind = error.get("type")
    word = kind.lower().removesuffix("exception") if isinstance(kind, str) else ""
    return _classify(_STATUSES.get(word, 502), error, None)


_STATUSES: Mapping[str, int] = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
    # Bedrock's, in the frames of an event stream
    "validation": 400,
    "throttling": 429,
    "modelstreamerror": 424,
    "modeltimeout": 408,
    "internalserver": 500,
    "serviceunavailable": 503,
}


def _classify(status: int, error: Mapping[str, Json], retry_after: float | None) -> GatewayError:
    text = error.get("message", error.get("Message"))
    if not isinstance(text, str) or not text:
        return unreadable(status, retry_after)
    make: type[GatewayError] | None = None
    kind = error.get("type")
    if kind == "billing_error" or (status in (400, 429) and _SPENT.search(text)):
        make = BudgetSpent
    elif kind == "overloaded_error":
        make = Overloaded
    elif status in (400, 413) and _TOO_LONG.search(text):
        make = ContextTooLong
    elif status == 400 and _BLOCKED.search(text):
        make = ContentBlocked
    details = error.get("details")
    code = details.get("error_code") if isinstance(details, dict) else None
    word = code[:128] if isinstance(code, str) and code else None
    return said(status, text, make=make, code=word, retry_after=retry_after)


# --- what we say ----------------------------------------------------------------------------

_TYPES: Mapping[Kind, str] = {
    Kind.INVALID_REQUEST: "invalid_request_error",
    Kind.UNSUPPORTED: "invalid_request_error",
    Kind.CONTEXT_TOO_LONG: "invalid_request_error",
    Kind.CONTENT_BLOCKED: "invalid_request_error",
    Kind.AUTH: "authentication_error",
    Kind.BUDGET: "billing_error",
    Kind.PERMISSION: "permission_error",
    Kind.NOT_FOUND: "not_found_error",
    Kind.METHOD_NOT_ALLOWED: "invalid_request_error",
    Kind.TOO_LARGE: "request_too_large",
    Kind.RATE_LIMITED: "rate_limit_error",
    Kind.INTERNAL: "api_error",
    Kind.UPSTREAM_BAD: "api_error",
    Kind.OVERLOADED: "overloaded_error",
    Kind.TIMEOUT: "timeout_error",
}
_FIXED: Mapping[Kind, int] = {Kind.BUDGET: 402, Kind.OVERLOADED: 529, Kind.TIMEOUT: 504}
"""statuses by which the SDKs know a kind, whatever the provider's own was"""


def envelope(error: GatewayError, call_id: str) -> bytes:
    inner: dict[str, Json] = {"type": _TYPES[error.kind], "message": error.message}
    if error.code:
        inner["details"] = {"error_code": error.code}
    return jsontext.dumps({"type": "error", "error": inner, "request_id": call_id})


def render_error(error: GatewayError, call_id: str) -> WireReply:
    """A whole reply."""
    headers = {
        "content-type": "application/json",
        "request-id": call_id,
        "x-sluice-error-origin": error.origin.value,
    }
    if isinstance(error, BudgetSpent):
        headers["x-should-retry"] = "false"
    wait = wait_of(error)
    if wait is not None:
        headers["retry-after"] = str(max(1, math.ceil(wait)))
        headers["retry-after-ms"] = str(round(wait * 1000))
    if error.allow:
        headers["allow"] = ", ".join(error.allow)
    status = _FIXED.get(error.kind, error.status)
    return WireReply(status, headers, envelope(error, call_id))
