"""Words that the files of the Converse dialect share: its name, shapes, stop reasons, usage, cache points.

Source: the service model of Amazon Bedrock Runtime (2023-09-30), Converse and ConverseStream.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from extproc.dialects._extras import SHAPE, fill, residue
from extproc.dialects._reading import count
from extproc.model.chat import CacheMark, Json
from extproc.model.fields import Field
from extproc.model.reply import Reason, Usage

NAME = "bedrock_converse"

OPTIONS = SHAPE + "options"
"""the body has our own object, which is cut out before it leaves"""
WITHIN = SHAPE + "within"
"""a system message that stood among the messages, not before them"""
AS_JSON = SHAPE + "json"
"""the text of a tool's result is a `json` block"""
AS_TEXT = SHAPE + "text"
"""the document came as text, not as bytes"""
WRAPPED = SHAPE + "wrapped"
"""some reasoning was signed by another provider: the client's bytes cannot leave as they are"""

LEGAL_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
LEGAL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
BAD_IN_NAME = re.compile(r"[^a-zA-Z0-9_-]")
LONGEST_NAME = 64
IMAGE_FORMATS = frozenset({"png", "jpeg", "gif", "webp"})
DOCUMENT_FORMATS = frozenset({"pdf", "csv", "doc", "docx", "xls", "xlsx", "html", "txt", "md"})
AUDIO_FORMATS = frozenset(
    {"mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "m4a", "mpeg", "webm"}
)
TIERS = frozenset({"priority", "default", "flex", "reserved"})

_OWN = "additionalModelRequestFields"
FIELD_NAMES: Mapping[str, str] = {
    Field.TEMPERATURE: "inferenceConfig.temperature",
    Field.TOP_P: "inferenceConfig.topP",
    Field.TOP_K: _OWN + ".top_k",
    Field.MAX_TOKENS: "inferenceConfig.maxTokens",
    Field.STOP: "inferenceConfig.stopSequences",
    Field.METADATA: "requestMetadata",
    Field.SERVICE_TIER: "serviceTier",
    Field.EFFORT: "outputConfig.effort",
    Field.BUDGET: _OWN + ".thinking.budget_tokens",
    Field.OUTPUT: "outputConfig.textFormat",
    Field.OUTPUT_DESCRIPTION: "outputConfig.textFormat.structure.jsonSchema.description",
    Field.TOOLS: "toolConfig.tools",
    Field.STRICT: "toolConfig.tools.toolSpec.strict",
    Field.TOOL_CHOICE: "toolConfig.toolChoice",
    Field.MODEL: "modelId",
    Field.FIRST: "messages[0].role",
    Field.THINKING: "reasoningContent",
    Field.CITATIONS: "citationsContent",
    Field.CACHE: "cachePoint",
    Field.RESULT: "toolResult",
    Field.RESULT_MEDIA: "toolResult.content",
    Field.IS_ERROR: "toolResult.status",
}
"""what its clients call a `Field`, where that is not the field's own value"""

# --- stop reasons ---------------------------------------------------------------------------

_REASONS: Mapping[str, Reason] = {
    "end_turn": Reason.STOP,
    "tool_use": Reason.TOOL,
    "max_tokens": Reason.LENGTH,
    "stop_sequence": Reason.STOP_SEQUENCE,
    "content_filtered": Reason.FILTER,
    "guardrail_intervened": Reason.FILTER,
    "model_context_window_exceeded": Reason.CONTEXT,
}
BROKEN = frozenset({"malformed_model_output", "malformed_tool_use"})
"""stop reasons which say that what came before cannot be used"""

_WORDS: Mapping[Reason, str] = {
    Reason.STOP: "end_turn",
    Reason.STOP_SEQUENCE: "stop_sequence",
    Reason.LENGTH: "max_tokens",
    Reason.CONTEXT: "model_context_window_exceeded",
    Reason.TOOL: "tool_use",
    Reason.FILTER: "content_filtered",
    Reason.REFUSAL: "content_filtered",
    Reason.PAUSED: "end_turn",
    Reason.OTHER: "end_turn",
}


def reason_of(word: str, saw_tool: bool) -> Reason:
    """The canonical reason; a plain stop after a tool's call is a tool turn."""
    reason = _REASONS.get(word, Reason.OTHER)
    return Reason.TOOL if reason is Reason.STOP and saw_tool else reason


def word_of(reason: Reason, raw: str | None, at_home: bool) -> str:
    """The wire's word. The provider's own word goes home as it is."""
    return raw if at_home and raw else _WORDS[reason]


# --- usage ----------------------------------------------------------------------------------

_KNOWN = (
    "inputTokens",
    "outputTokens",
    "totalTokens",
    "cacheReadInputTokens",
    "cacheWriteInputTokens",
)
_HOUR = "1h"


def read_usage(value: Mapping[str, Json]) -> Usage:
    """Normalised usage. Counts that make no sense are 0; never raises.

    `inputTokens` leaves out what the cache gave and took. Thinking is part of
    the output, and not told apart.
    """
    written = count(value.get("cacheWriteInputTokens"))
    total = value.get("totalTokens")
    return Usage(
        fresh=count(value.get("inputTokens")),
        cache_read=count(value.get("cacheReadInputTokens")),
        cache_write=written,
        cache_write_1h=min(written, _for_an_hour(value.get("cacheDetails"))),
        output=count(value.get("outputTokens")),
        total=None if total is None else count(total),
        extra=residue(NAME, value, _KNOWN),
    )


def write_usage(usage: Usage) -> dict[str, Json]:
    """The wire's usage object."""
    out: dict[str, Json] = {
        "inputTokens": usage.fresh,
        "outputTokens": usage.output,
        "totalTokens": usage.prompt + usage.output if usage.total is None else usage.total,
        "cacheReadInputTokens": usage.cache_read,
        "cacheWriteInputTokens": usage.cache_write,
    }
    home = usage.extra.home(NAME)
    if usage.cache_write_1h and "cacheDetails" not in home:
        rest = usage.cache_write - usage.cache_write_1h
        details: list[Json] = [{"ttl": _HOUR, "inputTokens": usage.cache_write_1h}]
        if rest:
            details.append({"ttl": "5m", "inputTokens": rest})
        out["cacheDetails"] = details
    fill(out, home)
    return out


def _for_an_hour(details: Json) -> int:
    if not isinstance(details, list):
        return 0
    return sum(
        count(one.get("inputTokens"))
        for one in details
        if isinstance(one, dict) and one.get("ttl") == _HOUR
    )


# --- cache points ---------------------------------------------------------------------------

_LIVES = {"5m": 300, "1h": 3600}


def read_mark(value: Json) -> CacheMark | None:
    """The mark that a `cachePoint` is; None for one that says more than we know."""
    if not isinstance(value, dict) or value.get("type") != "default":
        return None
    if len(value) == 1:
        return CacheMark()
    life = value.get("ttl")
    known = len(value) == 2 and isinstance(life, str) and life in _LIVES
    return CacheMark(_LIVES[life]) if known and isinstance(life, str) else None


def write_mark(mark: CacheMark) -> Json:
    """A block of its own, to stand behind what it marks. A life that is not to be had is the next longer."""
    point: dict[str, Json] = {"type": "default"}
    if mark.ttl is not None:
        point["ttl"] = "5m" if mark.ttl <= _LIVES["5m"] else _HOUR
    return {"cachePoint": point}
