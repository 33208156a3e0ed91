"""Errors of Ollama: `{"error": "text"}` and the status, in a reply's body and as a stream's last line."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from extproc.codec import jsontext
from extproc.dialects._decoding import Unreadable, read_object
from extproc.dialects._errors import retry_after_of, said, status_of, unreadable, wait_of
from extproc.model.chat import Json
from extproc.model.dialect import Headers, WireReply
from extproc.model.errors import ContextTooLong, GatewayError

_TOO_LONG = re.compile(
    r"(input|prompt).{0,40}(exceed|too long)|exceed.{0,40}context", re.IGNORECASE
)


def provider_error(status: int, headers: Headers, body: bytes) -> GatewayError:
    """The error in a reply with `status` >= 400. The status is kept, but for 401 and 403."""
    retry_after = retry_after_of(headers)
    try:
        text = _text(read_object(body))
    except Unreadable:
        text = ""
    return _said(status, text, retry_after)


def line_error(line: Mapping[str, Json]) -> GatewayError:
    """The error that a line of a good reply carries. Ollama gives it no status; its cloud may."""
    for member in (line.get("status_code"), line.get("status")):
        if isinstance(member, int) and 400 <= member <= 599:
            return _said(member, _text(line), None)
    return _said(502, _text(line), None)


def _said(status: int, text: str, retry_after: float | None) -> GatewayError:
    if not text and status not in (401, 403):
        return unreadable(status, retry_after)
    make = ContextTooLong if status in (400, 413, 500, 502) and _TOO_LONG.search(text) else None
    if make is ContextTooLong:
        status = 400
    return said(status, text, make=make, retry_after=retry_after)


def _text(value: Mapping[str, Json]) -> str:
    error = value.get("error")
    if isinstance(error, dict):
        error = error.get("message")
    return error if isinstance(error, str) else ""


def envelope(error: GatewayError) -> bytes:
    """`{"error": text}`."""
    return jsontext.dumps({"error": error.message})


def render_error(error: GatewayError, call_id: str) -> WireReply:
    """A whole reply. Ollama's SDK reads the text and the status."""
    headers = {
        "content-type": "application/json; charset=utf-8",
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
    return WireReply(status_of(error), headers, envelope(error))
