"""Words that the files of the Cohere dialect share: its name, fields, shapes, finish reasons, usage."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from extproc.dialects import _extras
from extproc.dialects._extras import SHAPE, fill
from extproc.dialects._reading import count
from extproc.model.chat import Extra, Json
from extproc.model.fields import Field
from extproc.model.reply import NO_UNITS, Reason, Units, Usage

NAME = "cohere_chat"
JSON_HEADERS = {"content-type": "application/json"}
FIELD_NAMES: Mapping[str, str] = {
    Field.TOP_P: "p",
    Field.TOP_K: "k",
    Field.STOP: "stop_sequences",
    Field.EFFORT: "thinking",
    Field.BUDGET: "thinking.token_budget",
    Field.STRICT: "strict_tools",
    Field.IMAGE: "image_url",
    Field.DETAIL: "image_url.detail",
    Field.DOCUMENT: "documents",
    Field.INPUT: "texts",
    Field.DIMENSIONS: "output_dimension",
}
"""what Cohere's clients call a field"""

BARE = SHAPE + "bare"
"""a tool or a call that came without its `type`"""
CONTENT = SHAPE + "content"
"""`list`: the content came as a list though it holds one plain text"""
DOCUMENT = SHAPE + "document"
"""the document as the client wrote it; its words are canonical"""
MINTED = SHAPE + "minted"
"""an id that the client did not send"""
NO_ARGUMENTS = SHAPE + "no_arguments"
"""a call that came without the member"""
OPTIONS = SHAPE + "options"
"""the body has our own object, which is cut out before it leaves"""
PLAN = SHAPE + "plan"
"""reasoning that is a `tool_plan`, and no part of the content"""


def residue(
    shape: Mapping[str, Json],
    known: Collection[str],
    nested: Mapping[str, Collection[str]] | None = None,
) -> Extra:
    """What only this dialect knows of `shape`: see `_extras.residue`."""
    return _extras.residue(NAME, shape, known, nested)


# --- finish reasons -------------------------------------------------------------------------

_REASONS: Mapping[str, Reason] = {
    "COMPLETE": Reason.STOP,
    "STOP_SEQUENCE": Reason.STOP_SEQUENCE,
    "MAX_TOKENS": Reason.LENGTH,
    "TOOL_CALL": Reason.TOOL,
}

_WORDS: Mapping[Reason, str] = {
    Reason.STOP: "COMPLETE",
    Reason.STOP_SEQUENCE: "STOP_SEQUENCE",
    Reason.LENGTH: "MAX_TOKENS",
    Reason.CONTEXT: "MAX_TOKENS",
    Reason.TOOL: "TOOL_CALL",
    Reason.FILTER: "COMPLETE",
    Reason.REFUSAL: "COMPLETE",
    Reason.PAUSED: "COMPLETE",
    Reason.OTHER: "COMPLETE",
}


def is_failure(word: str) -> bool:
    """Whether the provider's word says that there is no good answer."""
    return word == "TIMEOUT" or word.startswith("ERROR")


def reason_of(word: str | None, saw_tool: bool) -> Reason:
    """The canonical reason; an end after tool calls is a tool turn, whatever the provider says."""
    reason = _REASONS.get(word or "COMPLETE", Reason.OTHER)
    return Reason.TOOL if reason is Reason.STOP and saw_tool else reason


def word_of(reason: Reason, raw: str | None, at_home: bool) -> str:
    """The wire's word. The provider's own word goes home as it is."""
    if at_home and raw and not is_failure(raw):
        return raw
    return _WORDS[reason]


# --- usage ----------------------------------------------------------------------------------

_KNOWN = ("tokens", "cached_tokens")


def read_usage(value: Mapping[str, Json]) -> Usage:
    """Normalised usage of `usage`, or of the `meta` that vectors and rankings have.

    Counts come as floats. The prompt's count holds what the cache gave. What is
    billed is less than what was read: it counts only where nothing else does.
    """
    tokens, billed = value.get("tokens"), value.get("billed_units")
    found: Mapping[str, Json] = billed if isinstance(billed, dict) else {}
    if not isinstance(tokens, dict):
        tokens = found
    prompt = count(tokens.get("input_tokens"))
    searches, images = count(found.get("search_units")), count(found.get("images"))
    cached = min(count(value.get("cached_tokens")), prompt)
    return Usage(
        fresh=prompt - cached,
        cache_read=cached,
        output=count(tokens.get("output_tokens")),
        extra=residue(value, _KNOWN),
        units=Units(search_units=searches, images=images) if searches or images else NO_UNITS,
    )


def write_usage(usage: Usage) -> dict[str, Json]:
    """The wire's `usage`. What was billed is said only if the provider did."""
    out: dict[str, Json] = {
        "tokens": {"input_tokens": usage.prompt, "output_tokens": usage.output},
    }
    if usage.cache_read:
        out["cached_tokens"] = usage.cache_read
    fill(out, usage.extra.home(NAME))
    return out
