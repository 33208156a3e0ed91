"""Words that the files of the OpenAI Chat dialect share: its name, shapes, finish reasons, usage."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from extproc.dialects import _extras
from extproc.dialects._extras import SHAPE, fill
from extproc.dialects._reading import count
from extproc.model.chat import Extra, Json
from extproc.model.fields import Field
from extproc.model.reply import Reason, Usage

NAME = "openai_chat"

CONTENT = SHAPE + "content"
"""`list`: the content came as a list though it holds one plain text"""
FIELD = SHAPE + "field"
"""the member in which reasoning or a refusal was found"""
LEGACY = SHAPE + "legacy"
"""spoken as before `tools` came: `functions`, `function_call`, role `function`"""
LIMIT = SHAPE + "limit"
"""which of the two names the token limit had"""
OPTIONS = SHAPE + "options"
"""the body has our own object, which is cut out before it leaves"""
STOP = SHAPE + "stop"
"""`string`: the one stop sequence was not in a list"""

FIELD_NAMES: Mapping[str, str] = {
    Field.EFFORT: "reasoning_effort",
    Field.OUTPUT_DESCRIPTION: "response_format.json_schema.description",
    Field.STRICT: "tools.function.strict",
    Field.SYSTEM: "messages.role:system",
    Field.IMAGE: "image_url",
    Field.DETAIL: "image_url.detail",
    Field.AUDIO: "input_audio",
    Field.DOCUMENT: "file",
    Field.FILE_ID: "file.file_id",
    Field.THINKING: "reasoning_content",
    Field.CITATIONS: "annotations",
    Field.CACHE: "prompt_cache_breakpoint",
    Field.RESULT: "messages.role:tool",
}
"""what clients of this dialect call a field, where that is not the field's own value"""


def residue(
    shape: Mapping[str, Json],
    known: Collection[str],
    nested: Mapping[str, Collection[str]] | None = None,
) -> Extra:
    """What only this dialect knows of `shape`: see `_extras.residue`."""
    return _extras.residue(NAME, shape, known, nested)


# --- finish reasons -------------------------------------------------------------------------

_REASONS: Mapping[str, Reason] = {
    "stop": Reason.STOP,
    "length": Reason.LENGTH,
    "tool_calls": Reason.TOOL,
    "function_call": Reason.TOOL,
    "content_filter": Reason.FILTER,
}

_WORDS: Mapping[Reason, str] = {
    Reason.STOP: "stop",
    Reason.STOP_SEQUENCE: "stop",
    Reason.LENGTH: "length",
    Reason.CONTEXT: "length",
    Reason.TOOL: "tool_calls",
    Reason.FILTER: "content_filter",
    Reason.REFUSAL: "content_filter",
    Reason.PAUSED: "stop",
    Reason.OTHER: "stop",
}


def reason_of(word: str, saw_tool: bool) -> Reason:
    """The canonical reason; a stop after tool calls is a tool turn, whatever the provider says."""
    reason = _REASONS.get(word, Reason.OTHER)
    return Reason.TOOL if reason is Reason.STOP and saw_tool else reason


def word_of(reason: Reason, raw: str | None, at_home: bool) -> str:
    """The wire's word. The provider's own word goes home as it is."""
    return raw if at_home and raw else _WORDS[reason]


# --- usage ----------------------------------------------------------------------------------

_PROMPT_DETAILS = ("cached_tokens", "cache_write_tokens", "audio_tokens")
_OUTPUT_DETAILS = ("reasoning_tokens", "audio_tokens")
_KNOWN = ("prompt_tokens", "completion_tokens", "total_tokens")
_NESTED = {
    "prompt_tokens_details": _PROMPT_DETAILS,
    "completion_tokens_details": _OUTPUT_DETAILS,
}


def read_usage(value: Mapping[str, Json]) -> Usage:
    """Normalised usage. Counts that make no sense are 0; never raises.

    The prompt's count holds what the cache gave. Reasoning is part of the
    completion, unless the total says that it was counted beside it (xAI).
    """
    prompt = count(value.get("prompt_tokens"))
    completion = count(value.get("completion_tokens"))
    inside = _details(value.get("prompt_tokens_details"))
    outside = _details(value.get("completion_tokens_details"))
    cached = inside.get("cached_tokens")
    read = count(value.get("prompt_cache_hit_tokens") if cached is None else cached)
    read = min(read, prompt)
    written = min(count(inside.get("cache_write_tokens")), prompt - read)
    reasoning = count(outside.get("reasoning_tokens"))
    given = value.get("total_tokens")
    total = None if given is None else count(given)
    if reasoning and total == prompt + completion + reasoning:
        completion += reasoning
    return Usage(
        fresh=prompt - read - written,
        cache_read=read,
        cache_write=written,
        output=completion,
        reasoning=reasoning,
        audio_in=count(inside.get("audio_tokens")),
        audio_out=count(outside.get("audio_tokens")),
        total=total,
        extra=residue(_said(value), _KNOWN, _NESTED),
    )


def write_usage(usage: Usage) -> dict[str, Json]:
    """The wire's usage object."""
    out: dict[str, Json] = {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.output,
        "total_tokens": usage.prompt + usage.output if usage.total is None else usage.total,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write,
            "audio_tokens": usage.audio_in,
        },
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": usage.audio_out,
        },
    }
    fill(out, usage.extra.home(NAME))
    return out


def _said(value: Mapping[str, Json]) -> Mapping[str, Json]:
    return {name: item for name, item in value.items() if item is not None}


def _details(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}
