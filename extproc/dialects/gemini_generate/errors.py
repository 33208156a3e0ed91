"""Errors of the Gemini API: Google's error model read into our tree, and written for its SDKs.

`{"error": {code, message, status, details}}`, sometimes in a list of one, and in
a stream as bare lines. What a client may wait for stands in `details`
(`google.rpc.RetryInfo`). Source: google.rpc.Status and google.rpc.error_details.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping

import orjson

from extproc.codec import jsontext
from extproc.dialects import _errors
from extproc.dialects._errors import refused_us, retry_after_of, said, unreadable, wait_of
from extproc.model.chat import Json
from extproc.model.dialect import Headers, WireReply
from extproc.model.errors import (
    BudgetSpent,
    ContextTooLong,
    GatewayError,
    Kind,
    RateLimited,
)

_TYPE = "type.googleapis.com/google.rpc."
_TOO_LONG = re.compile(r"token count .{0,40}exceeds|exceeds the maximum number of tokens", re.I)
_STATUSES: Mapping[str, int] = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "INTERNAL": 500,
    "UNKNOWN": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


# --- what a provider said -------------------------------------------------------------------


def provider_error(status: int, headers: Headers, body: bytes) -> GatewayError:
    """The error in a reply with `status` >= 400. The status is kept, but for 401 and 403."""
    if status in (401, 403):
        return refused_us(status)
    try:
        value: Json = orjson.loads(body)
    except orjson.JSONDecodeError:
        return unreadable(status, retry_after_of(headers))
    return _classify(status, _error_object(value), retry_after_of(headers))


def stream_error(value: Json) -> GatewayError:
    """The error that a datum of a good reply carries; its own code is its status."""
    error = _error_object(value)
    code, word = error.get("code"), error.get("status")
    status = code if isinstance(code, int) and 400 <= code <= 599 else None
    if status is None:
        status = _STATUSES.get(word, 502) if isinstance(word, str) else 502
    return _classify(status, error, None)


def _error_object(value: Json) -> Mapping[str, Json]:
    if isinstance(value, list) and value:
        value = value[0]
    error = value.get("error") if isinstance(value, dict) else None
    return error if isinstance(error, dict) else {"message": error}


def _classify(status: int, error: Mapping[str, Json], retry_after: float | None) -> GatewayError:
    text = error.get("message")
    if not isinstance(text, str) or not text:
        return unreadable(status, retry_after)
    reasons: set[Json] = set()
    for detail in _details(error):
        reason = detail.get("reason")
        reasons.add(reason if isinstance(reason, str) else None)
        if retry_after is None:
            retry_after = _delay(detail.get("retryDelay"))
    if "API_KEY_INVALID" in reasons or status in (401, 403):
        return refused_us(status)
    make = ContextTooLong if status == 400 and _TOO_LONG.search(text) else None
    word = error.get("status")
    code = word[:128] if isinstance(word, str) and word else None
    return said(status, text, make=make, code=code, retry_after=retry_after)


def _details(error: Mapping[str, Json]) -> Iterator[Mapping[str, Json]]:
    details = error.get("details")
    for detail in details if isinstance(details, list) else []:
        if isinstance(detail, dict):
            yield detail


_SECONDS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")


def _delay(value: Json) -> float | None:
    """Seconds of a duration as proto JSON writes it: `46s`, `1.5s`."""
    found = _SECONDS.fullmatch(value) if isinstance(value, str) else None
    return None if found is None else float(found[1])


# --- what we say ----------------------------------------------------------------------------

_WORDS: Mapping[Kind, str] = {
    Kind.INVALID_REQUEST: "INVALID_ARGUMENT",
    Kind.UNSUPPORTED: "INVALID_ARGUMENT",
    Kind.CONTEXT_TOO_LONG: "INVALID_ARGUMENT",
    Kind.CONTENT_BLOCKED: "INVALID_ARGUMENT",
    Kind.AUTH: "UNAUTHENTICATED",
    Kind.BUDGET: "RESOURCE_EXHAUSTED",
    Kind.PERMISSION: "PERMISSION_DENIED",
    Kind.NOT_FOUND: "NOT_FOUND",
    Kind.METHOD_NOT_ALLOWED: "UNIMPLEMENTED",
    Kind.TOO_LARGE: "INVALID_ARGUMENT",
    Kind.RATE_LIMITED: "RESOURCE_EXHAUSTED",
    Kind.INTERNAL: "INTERNAL",
    Kind.UPSTREAM_BAD: "INTERNAL",
    Kind.OVERLOADED: "UNAVAILABLE",
    Kind.TIMEOUT: "DEADLINE_EXCEEDED",
}


def envelope(error: GatewayError, call_id: str) -> bytes:
    """`{"error": {code, message, status, details}}`."""
    details: list[Json] = [
        {
            "@type": _TYPE + "ErrorInfo",
            "reason": (error.code or error.kind.value).upper(),
            "domain": error.origin.value,
        },
        {"@type": _TYPE + "RequestInfo", "requestId": call_id},
    ]
    if error.param is not None:
        violation: Json = {"field": error.param, "description": error.message}
        details.append({"@type": _TYPE + "BadRequest", "fieldViolations": [violation]})
    wait = wait_of(error)
    if wait is not None:
        delay = f"{wait:.3f}".rstrip("0").rstrip(".")
        details.append({"@type": _TYPE + "RetryInfo", "retryDelay": f"{delay}s"})
    return jsontext.dumps(
        {
            "error": {
                "code": status_of(error),
                "message": error.message,
                "status": _WORDS[error.kind],
                "details": details,
            }
        }
    )


def status_of(error: GatewayError) -> int:
    """Google has no 402: what is spent is exhausted."""
    return RateLimited.status if isinstance(error, BudgetSpent) else _errors.status_of(error)


def render_error(error: GatewayError, call_id: str) -> WireReply:
    """A whole reply."""
    headers = {
        "content-type": "application/json; charset=UTF-8",
        "x-sluice-error-origin": error.origin.value,
    }
    wait = wait_of(error)
    if wait is not None:
        headers["retry-after"] = str(max(1, math.ceil(wait)))
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    if error.allow:
        headers["allow"] = ", ".join(error.allow)
    return WireReply(status_of(error), headers, envelope(error, call_id))
