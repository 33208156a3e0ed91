"""Words that the files of the legacy completions dialect share: its name, shapes, usage, log probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from extproc.dialects._extras import SHAPE
from extproc.dialects._likelihood import Token
from extproc.dialects.openai_chat import words as chat
from extproc.model.chat import NOTHING, Extra, Json
from extproc.model.fields import Field
from extproc.model.reply import Reason, Usage

NAME = "openai_completions"

LISTED = SHAPE + "listed"
"""the one prompt came in a list"""
LOGPROBS = SHAPE + "logprobs"
"""`logprobs` as the client sent it"""

FIELD_NAMES: Mapping[str, str] = {Field.CONTENT: "prompt", Field.TOP_LOGPROBS: "logprobs"}
"""what clients of this dialect call a field, where that is not the field's own value"""

_WORDS: Mapping[Reason, str] = {
    Reason.LENGTH: "length",
    Reason.CONTEXT: "length",
    Reason.FILTER: "content_filter",
    Reason.REFUSAL: "content_filter",
}


def word_of(reason: Reason, raw: str | None, at_home: bool) -> str:
    """The wire's word. The provider's own word goes home as it is."""
    return raw if at_home and raw else _WORDS.get(reason, "stop")


def reason_of(word: str | None, saw_tool: bool) -> Reason:
    """The canonical reason; some providers give none for a whole reply."""
    return chat.reason_of(word or "stop", saw_tool)


def read_usage(value: Mapping[str, Json]) -> Usage:
    """As chat counts it."""
    usage = chat.read_usage(value)
    fields = usage.extra.fields
    return replace(usage, extra=Extra(NAME, fields) if fields else NOTHING)


def write_usage(usage: Usage) -> dict[str, Json]:
    """The wire's usage object."""
    home = usage.extra.home(NAME)
    out = chat.write_usage(replace(usage, extra=NOTHING))
    for name, value in home.items():
        out.setdefault(name, value)
    return out


def logprobs_of(told: Sequence[Token], offset: int) -> tuple[Json, int]:
    """Likelihoods in the older form, and where the text goes on after them."""
    tokens: list[Json] = []
    numbers: list[Json] = []
    offsets: list[Json] = []
    tops: list[Json] = []
    for item in told:
        text = str(item["token"])
        tokens.append(text)
        numbers.append(item["logprob"])
        offsets.append(offset)
        offset += len(text)
        tops.append(_top(item["top_logprobs"]))
    out: dict[str, Json] = {
        "tokens": tokens,
        "token_logprobs": numbers,
        "top_logprobs": tops,
        "text_offset": offsets,
    }
    return out, offset


def _top(value: Json) -> Json:
    best: dict[str, Json] = {}
    for item in value if isinstance(value, list) else []:
        if isinstance(item, dict) and isinstance(item.get("token"), str):
            best[str(item["token"])] = item.get("logprob")
    return best
