"""Errors of Bedrock: what a provider said to our tree, and our tree to what AWS's SDKs raise.

AWS names an error by a type (`ThrottlingException`), in a header, in the body or
in a frame of a stream, not always in the same case. `provider_error` and
`frame_error` read it, `render_error` and `error_frame` write it: SDKs choose the
class of their exception by it. Source: the errors of Bedrock Runtime's service model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import orjson

from extproc.codec import jsontext
from extproc.codec.aws_eventstream import write
from extproc.dialects._errors import (
    MAX_MESSAGE,
    class_of,
    refused_us,
    retry_after_of,
    said,
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
    InvalidRequest,
    Kind,
    NotFound,
    Origin,
    Overloaded,
    RateLimited,
    Timeout,
    UpstreamBad,
)

_TYPE_HEADER = "x-amzn-errortype"
_SUFFIX = "exception"
_REFUSED = frozenset(
    {
        "accessdenied",
        "expiredtoken",
        "incompletesignature",
        "invalidclienttokenid",
        "invalidsignature",
        "missingauthenticationtoken",
        "signaturedoesnotmatch",
        "unrecognizedclient",
    }
)
"""types that speak about the gateway's own credential"""

_CLASSES: Mapping[str, type[GatewayError]] = {
    "validation": InvalidRequest,
    "resourcenotfound": NotFound,
    "throttling": RateLimited,
    "toomanyrequests": RateLimited,
    "servicequotaexceeded": BudgetSpent,
    "modelnotready": Overloaded,
    "serviceunavailable": Overloaded,
    "modeltimeout": Timeout,
    "modelerror": UpstreamBad,
    "modelstreamerror": UpstreamBad,
    "internalserver": UpstreamBad,
    "internalfailure": UpstreamBad,
}
_INTERNAL = frozenset({"internalserver", "internalfailure"})
"""types whose status (500) means the same to clients of every language"""

_TOO_LONG = re.compile(
    r"(input|prompt) is too long|too many input tokens|context (window|length)|maximum context",
    re.IGNORECASE,
)
_BLOCKED = re.compile(r"blocked by (our )?content (filter|moderation)", re.IGNORECASE)


# --- what a provider said -------------------------------------------------------------------


def provider_error(status: int, headers: Headers, body: bytes) -> GatewayError:
    """The error in a reply with `status` >= 400."""
    retry_after = retry_after_of(headers)
    try:
        value: Json = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = None
    fields = value if isinstance(value, dict) else {}
    kind = _kind(headers.get(_TYPE_HEADER) or _first(fields, "__type", "code", "Code") or "")
    if status in (401, 403) or kind in _REFUSED:
        return refused_us(status)
    message = _first(fields, "message", "Message")
    if not message:
        return unreadable(status, retry_after)
    make = _CLASSES.get(kind)
    if make is None:
        make = _narrowed(class_of(status), message)
        return said(status, message, make=make, retry_after=retry_after)
    return _made(make, message, retry_after, status if kind in _INTERNAL else None)


def frame_error(kind: str, payload: bytes) -> GatewayError:
    """The error that an exception frame of a stream carries."""
    try:
        value: Json = orjson.loads(payload)
    except orjson.JSONDecodeError:
        value = None
    message = (
        _first(value, "message", "Message", "originalMessage") if isinstance(value, dict) else ""
    )
    return stream_error(kind, message)


def stream_error(kind: str, message: str) -> GatewayError:
    """An error by its type, in the middle of a stream: there is no status."""
    word = _kind(kind)
    if word in _REFUSED:
        return refused_us(403)
    text = message or f"the provider's stream ended with {kind[:64] or 'an error'}"
    return _made(_CLASSES.get(word, UpstreamBad), text, None)


def _made(
    make: type[GatewayError], message: str, retry_after: float | None, status: int | None = None
) -> GatewayError:
    return _narrowed(make, message)(
        message[:MAX_MESSAGE], origin=Origin.PROVIDER, retry_after=retry_after, status=status
    )


def _narrowed(make: type[GatewayError], message: str) -> type[GatewayError]:
    if make is InvalidRequest and _TOO_LONG.search(message):
        return ContextTooLong
    if make is InvalidRequest and _BLOCKED.search(message):
        return ContentBlocked
    return make


def _kind(text: str) -> str:
    """`com.amazon#ThrottlingException:http://...` and `throttlingException` are one word."""
    word = text.partition(":")[0].rpartition("#")[2].strip().lower()
    return word.removesuffix(_SUFFIX)


def _first(fields: Mapping[str, Json], *names: str) -> str:
    for name in names:
        value = fields.get(name)
        if isinstance(value, str) and value.strip():
            return value
    return ""


# --- what we say ----------------------------------------------------------------------------

_TYPES: Mapping[Kind, tuple[int, str]] = {
    Kind.INVALID_REQUEST: (400, "ValidationException"),
    Kind.UNSUPPORTED: (400, "ValidationException"),
    Kind.CONTEXT_TOO_LONG: (400, "ValidationException"),
    Kind.CONTENT_BLOCKED: (400, "ValidationException"),
    Kind.AUTH: (403, "AccessDeniedException"),
    Kind.BUDGET: (400, "ServiceQuotaExceededException"),
    Kind.PERMISSION: (403, "AccessDeniedException"),
    Kind.NOT_FOUND: (404, "ResourceNotFoundException"),
    Kind.METHOD_NOT_ALLOWED: (405, "ValidationException"),
    Kind.TOO_LARGE: (413, "ValidationException"),
    Kind.RATE_LIMITED: (429, "ThrottlingException"),
    Kind.INTERNAL: (500, "InternalServerException"),
    Kind.UPSTREAM_BAD: (424, "ModelErrorException"),
    Kind.OVERLOADED: (503, "ServiceUnavailableException"),
    Kind.TIMEOUT: (408, "ModelTimeoutException"),
}

_IN_STREAM: Mapping[Kind, str] = {
    Kind.RATE_LIMITED: "throttlingException",
    Kind.BUDGET: "throttlingException",
    Kind.INTERNAL: "internalServerException",
    Kind.UPSTREAM_BAD: "modelStreamErrorException",
    Kind.OVERLOADED: "serviceUnavailableException",
    Kind.TIMEOUT: "modelStreamErrorException",
}
"""a stream knows five exceptions; what is not here is a validationException"""


def render_error(error: GatewayError, call_id: str) -> WireReply:
    """A whole reply: the type in a header, `{"message"}` in the body."""
    # A provider's 500 is an error of Bedrock's own kind; what else is unusable is its model's.
    own = error.kind is Kind.UPSTREAM_BAD and error.status == _TYPES[Kind.INTERNAL][0]
    status, kind = _TYPES[Kind.INTERNAL if own else error.kind]
    if error.origin is Origin.GATEWAY and error.status != type(error).status:
        status = error.status
    headers = {
        "content-type": "application/json",
        _TYPE_HEADER: kind,
        "x-amzn-requestid": call_id,
        "x-sluice-error-origin": error.origin.value,
    }
    wait = wait_of(error)
    if wait is not None:
        headers["retry-after"] = str(max(1, math.ceil(wait)))
    if error.allow:
        headers["allow"] = ", ".join(error.allow)
    return WireReply(status, headers, error_body(error))


def error_body(error: GatewayError) -> bytes:
    return jsontext.dumps({"message": error.message})


def error_frame(error: GatewayError) -> bytes:
    """The frame that ends a stream that has begun."""
    headers = {
        ":exception-type": _IN_STREAM.get(error.kind, "validationException"),
        ":content-type": "application/json",
        ":message-type": "exception",
    }
    return write(headers, error_body(error))
