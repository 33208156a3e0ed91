"""Errors of Cohere: `{"id", "message"}` and the status, and the last event of a stream that failed.

Source: Cohere's API reference (Errors); the classes that its SDK picks by status.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from extproc.codec import jsontext
from extproc.dialects._decoding import Unreadable, read_object
from extproc.dialects._errors import (
    refused_us,
    retry_after_of,
    said,
    status_of,
    unreadable,
    wait_of,
)
from extproc.dialects.cohere_chat.words import JSON_HEADERS
from extproc.model.chat import Json
from extproc.model.dialect import Headers, WireReply
from extproc.model.errors import (
    ContextTooLong,
    GatewayError,
    Origin,
    UpstreamBad,
)

_INVALID_TOKEN = 498
"""Cohere's own status for a key that is none"""
_TOO_LONG = re.compile(r"too many tokens|(exceed|over).{0,60}(context|token limit)", re.IGNORECASE)


def provider_error(status: int, headers: Headers, body: bytes) -> GatewayError:
    """The error in a reply with `status` >= 400. The status is kept, but for 401, 403 and 498."""
    if status in (401, 403, _INVALID_TOKEN):
        return refused_us(status)
    retry_after = retry_after_of(headers)
    try:
        text = message_of(read_object(body))
    except Unreadable:
        text = ""
    if not text:
        return unreadable(status, retry_after)
    make = ContextTooLong if status in (400, 413, 422) and _TOO_LONG.search(text) else None
    return said(status, text, make=make, retry_after=retry_after)


def reply_error(value: Mapping[str, Json]) -> GatewayError:
    """The error that stands in place of a good reply, or of an event; it has no status."""
    text = message_of(value)
    return said(502, text) if text else unreadable(502, None)


def ended_badly(word: str, delta: Mapping[str, Json]) -> GatewayError:
    """A generation that failed: `word` is the finish reason, `delta` may say why."""
    why = delta.get("error")
    text = why if isinstance(why, str) and why else f"the provider's answer ended with {word[:64]}"
    return UpstreamBad(text[:4096], origin=Origin.PROVIDER)


def message_of(value: Mapping[str, Json]) -> str:
    """What an error says, wherever it stands; empty if it is none."""
    for name in ("message", "error", "detail"):
        found = value.get(name)
        if isinstance(found, dict):
            found = found.get("message")
        if isinstance(found, str) and found:
            return found
    return ""


def envelope(error: GatewayError, call_id: str) -> bytes:
    """`{"id", "message"}`."""
    return jsontext.dumps({"id": call_id.removeprefix("gw-"), "message": error.message})


def render_error(error: GatewayError, call_id: str) -> WireReply:
    """A whole reply. Cohere's SDK picks its class by the status, and shows the body."""
    headers = {
        **JSON_HEADERS,
        "x-request-id": call_id,
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
