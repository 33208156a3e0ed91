"""What OpenAI's API has beside conversations and vectors, and we only carry.

Which paths these are, how the usage in their replies reads, and where they are
at a provider. `_opaque` does the work.
Source: OpenAI's API reference; Azure's REST reference for its paths.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from extproc.dialects import _opaque as opaque
from extproc.dialects._opaque import Paths
from extproc.dialects._reading import count
from extproc.dialects.openai_chat.errors import provider_error
from extproc.dialects.openai_chat.quirks import path_of
from extproc.dialects.openai_chat.words import NAME, read_usage, residue
from extproc.model.call import Target
from extproc.model.chat import Json
from extproc.model.dialect import Endpoint, Rendered, RequestHead
from extproc.model.embed import Opaque
from extproc.model.errors import Unsupported
from extproc.model.reply import NO_UNITS, Units, Usage

_PREFIXES = ("/v1", "")
_PATHS = (
    Paths("/images/*", "POST"),
    Paths("/audio/*", "GET POST DELETE"),
    Paths("/moderations", "POST"),
    Paths("/files", "GET POST", upload=True),
    Paths("/files/*", "GET DELETE"),
    Paths("/uploads", "POST"),
    Paths("/uploads/*", "POST", upload=True),
    Paths("/batches", "GET POST"),
    Paths("/batches/*", "GET POST"),
    Paths("/fine_tuning/*", "GET POST DELETE"),
    Paths("/vector_stores", "GET POST"),
    Paths("/vector_stores/*", "GET POST DELETE"),
    Paths("/containers", "GET POST"),
    Paths("/containers/*", "GET POST DELETE"),
    Paths("/evals", "GET POST"),
    Paths("/evals/*", "GET POST DELETE"),
    Paths("/videos", "GET POST"),
    Paths("/videos/*", "GET POST DELETE"),
)
_REALTIME = tuple(
    Endpoint(method, prefix + path, opaque.REFUSED)
    for prefix in _PREFIXES
    for path in ("/realtime", "/realtime/*")
    for method in ("GET", "POST")
)

ENDPOINTS = (*opaque.endpoints(_PATHS, _PREFIXES), *_REALTIME)


def parse_carried(head: RequestHead, body: bytes) -> Opaque:
    return opaque.parse(head, body, LANGUAGE)


def refuse_realtime() -> Unsupported:
    return Unsupported(
        "The realtime API is not carried by this gateway: it is a web socket (or WebRTC), of which"
        " nothing could be counted or checked. Use /v1/chat/completions or /v1/audio.",
        code="realtime_not_supported",
    )


def render_carried(request: Opaque, target: Target) -> Rendered:
    path, _, query = request.path.partition("?")
    return opaque.render(request, target, path_of(target, path, query), LANGUAGE)


def _usage(value: Mapping[str, Json]) -> Usage:
    """Chat's names or the newer ones (`input_tokens`), or the seconds of sound that were heard."""
    seconds = value.get("seconds", value.get("prompt_audio_seconds"))
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        return _tokens(value)
    heard = float(seconds) if 0 < seconds < _MOST_SECONDS else 0.0
    return replace(_tokens(value), units=Units(audio_seconds=heard))


def _tokens(value: Mapping[str, Json]) -> Usage:
    if "prompt_tokens" in value or "input_tokens" not in value:
        return read_usage(value)
    given = value.get("input_tokens_details", value.get("input_token_details"))
    made = value.get("output_tokens_details")
    renamed: dict[str, Json] = {
        "prompt_tokens": value["input_tokens"],
        "completion_tokens": value.get("output_tokens"),
        "total_tokens": value.get("total_tokens"),
        "prompt_tokens_details": given,
        "completion_tokens_details": made,
        **residue(value, _NEWER).fields,
    }
    return read_usage(renamed)


_NEWER = (
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "input_tokens_details",
    "input_token_details",
    "output_tokens_details",
)
_MOST_SECONDS = 1e9


def _units(path: str, field: opaque.FieldOf) -> Units:
    """Speech is billed by what is spoken, and pictures by how many are asked for."""
    path = path.partition("?")[0]
    if path == "/audio/speech":
        text = field("input")
        return Units(characters=len(text)) if isinstance(text, str) else NO_UNITS
    if path.startswith("/images/"):
        asked = field("n")
        number = int(asked) if isinstance(asked, str) and _NUMBER.fullmatch(asked) else asked
        return Units(images=max(1, count(number)))
    return NO_UNITS


_NUMBER = re.compile(r"\d{1,4}", re.ASCII)

LANGUAGE = opaque.Language(NAME, _PREFIXES, provider_error, _usage, units=_units)
