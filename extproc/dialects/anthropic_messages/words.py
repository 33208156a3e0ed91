"""Words that the files of the Anthropic Messages dialect share: its name, shapes, stop reasons, usage, cache marks.

Source: Anthropic's API reference (Messages, Count tokens, Streaming), versions 2023-06-01 and 2026-10-21.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from extproc.dialects._extras import SHAPE, fill, residue
from extproc.dialects._reading import count
from extproc.model.chat import CacheMark, Json
from extproc.model.fields import Field
from extproc.model.reply import Reason, Usage

NAME = "anthropic_messages"

OLD_VERSION = "2023-06-01"
NEW_VERSION = "2026-10-21"
"""in which temperature, top_p and top_k are gone"""

BETAS = SHAPE + "betas"
"""what the client's `anthropic-beta` header said"""
CONTENT = SHAPE + "content"
"""`list`: the content came as a list though it holds one plain text"""
FIELD = SHAPE + "field"
"""the older member in which the form of the answer was found"""
OPTIONS = SHAPE + "options"
"""the body has our own object, which is cut out before it leaves"""
QUERY = SHAPE + "query"
"""the client's path had this query"""
SOURCE = SHAPE + "source"
"""the type of a document's source, where its media type does not say it"""
WITHIN = SHAPE + "within"
"""a system message that stood among the messages, not before them"""
WRAPPED = SHAPE + "wrapped"
"""some reasoning is not Claude's: the client's bytes cannot leave as they are"""

LEGAL_ID = re.compile(r"[a-zA-Z0-9_-]+")
LEGAL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
ANY_NAME = re.compile(r".*", re.DOTALL)
"""at home the provider is the judge"""
BAD_IN_NAME = re.compile(r"[^a-zA-Z0-9_-]")
LONGEST_NAME = 128

FIELD_NAMES: Mapping[str, str] = {
    Field.STOP: "stop_sequences",
    Field.USER: "metadata.user_id",
    Field.EFFORT: "output_config.effort",
    Field.BUDGET: "thinking.budget_tokens",
    Field.SUMMARY: "thinking.display",
    Field.OUTPUT: "output_config.format",
    Field.PARALLEL_TOOLS: "tool_choice.disable_parallel_tool_use",
    Field.FIRST: "messages[0].role",
    Field.FILE_ID: "source.file_id",
    Field.CACHE: "cache_control",
    Field.RESULT_MEDIA: "tool_result.content",
}
"""what its clients call a `Field`, where that is not the field's own value"""

# --- stop reasons ---------------------------------------------------------------------------

_REASONS: Mapping[str, Reason] = {
    "end_turn": Reason.STOP,
    "stop_sequence": Reason.STOP_SEQUENCE,
    "max_tokens": Reason.LENGTH,
    "model_context_window_exceeded": Reason.CONTEXT,
    "tool_use": Reason.TOOL,
    "refusal": Reason.REFUSAL,
    "pause_turn": Reason.PAUSED,
}

_WORDS: Mapping[Reason, str] = {
    **{reason: word for word, reason in _REASONS.items()},
    Reason.FILTER: "refusal",
    Reason.OTHER: "end_turn",
}


def reason_of(word: str | None) -> Reason:
    return Reason.STOP if word is None else _REASONS.get(word, Reason.OTHER)


def word_of(reason: Reason, raw: str | None, at_home: bool) -> str:
    """The wire's word. The provider's own word goes home as it is."""
    return raw if at_home and raw else _WORDS[reason]


# --- cache marks ----------------------------------------------------------------------------

_LIVES = {"5m": 300, "1h": 3600}


def read_cache(value: Json) -> CacheMark | None:
    """The mark that a `cache_control` stands for; None for what the model has no word for."""
    if not isinstance(value, dict) or value.get("type") != "ephemeral":
        return None
    if len(value) == 1:
        return CacheMark()
    life = value.get("ttl")
    known = len(value) == 2 and isinstance(life, str) and life in _LIVES
    return CacheMark(_LIVES[life]) if known and isinstance(life, str) else None


def write_cache(mark: CacheMark) -> Json:
    """A life that this language does not have becomes the longest that is not longer."""
    if mark.ttl is None:
        return {"type": "ephemeral"}
    return {"type": "ephemeral", "ttl": "1h" if mark.ttl >= _LIVES["1h"] else "5m"}


# --- usage ----------------------------------------------------------------------------------

_COUNTS = (
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
)
_NESTED = {
    "cache_creation": ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"),
    "output_tokens_details": ("thinking_tokens",),
}


def read_usage(value: Mapping[str, Json]) -> Usage | None:
    """Normalised usage; None when nothing was counted. Counts that make no sense are 0.

    `input_tokens` leaves out what the cache gave or took; output holds the thinking.
    """
    fresh, output, written, read = (count(value.get(name)) for name in _COUNTS)
    if not (fresh or output or written or read):
        return None
    return Usage(
        fresh=fresh,
        cache_read=read,
        cache_write=written,
        cache_write_1h=min(
            written, count(_inside(value, "cache_creation", "ephemeral_1h_input_tokens"))
        ),
        output=output,
        reasoning=min(output, count(_inside(value, "output_tokens_details", "thinking_tokens"))),
        extra=residue(NAME, value, _COUNTS, _NESTED),
    )


def write_usage(usage: Usage | None) -> dict[str, Json]:
    """The wire's usage. The SDKs insist on it, so what is not known is 0."""
    if usage is None or usage.estimated:
        return {"input_tokens": 0, "output_tokens": 0}
    out: dict[str, Json] = {
        "input_tokens": usage.fresh,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output,
    }
    if usage.cache_write:
        out["cache_creation"] = {
            "ephemeral_5m_input_tokens": usage.cache_write - usage.cache_write_1h,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        }
    if usage.reasoning:
        out["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    fill(out, usage.extra.home(NAME))
    return out


def _inside(value: Mapping[str, Json], name: str, member: str) -> Json:
    below = value.get(name)
    return below.get(member) if isinstance(below, dict) else None
