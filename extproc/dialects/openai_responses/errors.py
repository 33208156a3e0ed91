"""Errors of OpenAI Responses: a reply that failed, and what stands in a stream.

Whole errors are OpenAI's own and the same as those of its other languages. Here
is the rest: the `error` of a response with status `failed`, and the flat
`error` event. Takes JSON objects, gives errors of our tree; and back.
"""

from __future__ import annotations

from collections.abc import Mapping

from extproc.dialects._errors import said
from extproc.dialects.openai_chat.errors import error_members, stream_error
from extproc.model.chat import Json
from extproc.model.errors import ContentBlocked, GatewayError, InvalidRequest, Kind, Timeout

_BLOCKED = frozenset(
    {"bio_policy", "misalignment_policy_violation", "image_content_policy_violation"}
)
_IMAGES = ("invalid_", "image_", "unsupported_image_", "empty_image_", "failed_to_download_")
"""how the codes begin that find fault with what the client sent"""
_REFUSED = frozenset({"data_residency_mismatch"})


def failed_error(response: Mapping[str, Json]) -> GatewayError:
    """Why a response has the status `failed`."""
    error = response.get("error")
    found: Mapping[str, Json] = error if isinstance(error, dict) else {}
    code, message = found.get("code"), found.get("message")
    text = message if isinstance(message, str) and message else "the provider's response failed"
    param = found.get("param")
    where = param if isinstance(param, str) else None
    if isinstance(code, str):
        if code in _BLOCKED:
            return said(400, text, make=ContentBlocked, code=code, param=where)
        if code in _REFUSED or code.startswith(_IMAGES):
            return said(400, text, make=InvalidRequest, code=code, param=where)
        if code == "vector_store_timeout":
            return said(504, text, make=Timeout, code=code, param=where)
    return stream_error({"error": {**found, "message": text}})


_FAILED: Mapping[Kind, str] = {
    Kind.RATE_LIMITED: "rate_limit_exceeded",
    Kind.BUDGET: "rate_limit_exceeded",
    Kind.INVALID_REQUEST: "invalid_prompt",
    Kind.UNSUPPORTED: "invalid_prompt",
    Kind.CONTEXT_TOO_LONG: "invalid_prompt",
    Kind.CONTENT_BLOCKED: "invalid_prompt",
    Kind.TOO_LARGE: "invalid_prompt",
}
"""a failed response has codes of its own; whatever is not named is `server_error`"""


def failed_member(error: GatewayError) -> Json:
    """The `error` of a response that failed."""
    code = error.code if error.code in _OWN else _FAILED.get(error.kind, "server_error")
    return {"code": code, "message": error.message}


_OWN = _BLOCKED | _REFUSED | {"vector_store_timeout", *_FAILED.values()}


def error_event(error: GatewayError, call_id: str, number: int) -> dict[str, Json]:
    """The flat event of a stream that breaks off before it said anything."""
    members = error_members(error, call_id)
    del members["type"]
    return {"type": "error", **members, "sequence_number": number}
