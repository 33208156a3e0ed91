"""Words that the files of the OpenAI Responses dialect share: its name, shapes, ids, endings, usage.

`extra` of this dialect fills gaps: canonical fields are written first, and a
member of `extra` is added only where nothing stands yet. Its members whose
names start with a NUL remember a shape and are never sent.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from extproc.dialects import _extras as extras
from extproc.dialects._extras import SHAPE, fill
from extproc.dialects._reading import count
from extproc.model.chat import Extra, Json
from extproc.model.fields import Field
from extproc.model.reply import ChoiceEnded, Reason, Usage

NAME = "openai_responses"

ITEM = SHAPE + "item"
"""of the first part of an item: the item's own members; the parts after it belong to it too"""
CONTENT = SHAPE + "content"
"""of an opaque part: it stands within a message of the model, and is no item"""
BARE = SHAPE + "bare"
"""of a message: it came without any content, not even an empty one"""
LISTED = SHAPE + "listed"
"""the content (or output) came as a list though it holds one plain text"""
PLAIN = SHAPE + "plain"
"""of the request: the input came as one string"""
INSTRUCTIONS = SHAPE + "instructions"
"""of a system message: it was the request's `instructions`"""
FOREIGN = SHAPE + "foreign"
"""of the request: it carries reasoning that another dialect's provider signed"""

# Of a reply's parts and notes; on the wire of no request.
REPLY_ITEM = "item"
"""of a part: it begins an item that has these members; of a note: the item as it ended"""
REPLY_EVENT = "event"
"""of a note: an event of an item that only this dialect knows"""
REPLY_PART = "part"
"""of a note: from here the reasoning is in this list (`summary`, `content`) at `index`"""

LOGPROBS = "message.output_text.logprobs"
ENCRYPTED = "reasoning.encrypted_content"
TEXTS = frozenset({"output_text", "refusal"})
CALLS: Mapping[str, str] = {"function_call": "arguments", "custom_tool_call": "input"}
"""calls of the client's own tools, and the member that holds what they are called with"""
BREAK = "\n\n"
"""between the parts of a summary, where another language reads them as one text"""

FIELD_NAMES: Mapping[str, str] = {
    Field.MAX_TOKENS: "max_output_tokens",
    Field.LOGPROBS: "include",
    Field.VERBOSITY: "text.verbosity",
    Field.OUTPUT: "text.format",
    Field.OUTPUT_DESCRIPTION: "text.format.description",
    Field.SYSTEM: "instructions",
    Field.FIRST: "input",
    Field.CONTENT: "input",
    Field.IMAGE: "input_image",
    Field.DETAIL: "input_image.detail",
    Field.AUDIO: "input_audio",
    Field.DOCUMENT: "input_file",
    Field.THINKING: "input.reasoning",
    Field.CITATIONS: "annotations",
    Field.CACHE: "prompt_cache_breakpoint",
    Field.RESULT: "function_call_output",
    Field.RESULT_MEDIA: "function_call_output.output",
}
"""what clients of this dialect call a field, where that is not the field's own value"""


def residue(
    shape: Mapping[str, Json],
    known: Collection[str],
    nested: Mapping[str, Collection[str]] | None = None,
) -> Extra:
    """What is left of `shape` for our own extra."""
    return extras.residue(NAME, shape, known, nested)


# --- ids ------------------------------------------------------------------------------------


def reply_id(call_id: str) -> str:
    return "resp_" + call_id.removeprefix("gw-").replace("-", "")


_PREFIX = {"message": "msg", "reasoning": "rs", "function_call": "fc", "custom_tool_call": "ctc"}


def item_id(kind: str, call_id: str, index: int) -> str:
    """The same in every event of one reply, and another for each of its items."""
    return f"{_PREFIX[kind]}_{call_id.removeprefix('gw-').replace('-', '')}{index:03d}"


# --- how a reply ends -----------------------------------------------------------------------

_REASONS: Mapping[str, Reason] = {
    "max_output_tokens": Reason.LENGTH,
    "content_filter": Reason.FILTER,
}
_WORDS: Mapping[Reason, str] = {
    Reason.LENGTH: "max_output_tokens",
    Reason.CONTEXT: "max_output_tokens",
    Reason.FILTER: "content_filter",
    Reason.REFUSAL: "content_filter",
}
COMPLETED = "completed"
INCOMPLETE = "incomplete"


def read_ending(response: Mapping[str, Json], saw_tool: bool) -> tuple[Reason, str]:
    """The canonical reason, and the provider's own word for it."""
    status = response.get("status") or COMPLETED
    details = response.get("incomplete_details")
    if status == COMPLETED:
        return (Reason.TOOL if saw_tool else Reason.STOP), COMPLETED
    if status == INCOMPLETE:
        word = details.get("reason") if isinstance(details, dict) else None
        known = word if isinstance(word, str) else INCOMPLETE
        return _REASONS.get(known, Reason.OTHER), known
    return Reason.OTHER, status if isinstance(status, str) else ""


def write_ending(event: ChoiceEnded) -> dict[str, Json]:
    """`status` and `incomplete_details` of the reply."""
    if "status" in event.extra.home(NAME):
        status = event.extra.fields["status"]
        return {"status": status, "incomplete_details": None, **event.extra.fields}
    word = _WORDS.get(event.reason)
    if word is None:
        return {"status": COMPLETED, "incomplete_details": None}
    return {"status": INCOMPLETE, "incomplete_details": {"reason": word}}


# --- usage ----------------------------------------------------------------------------------

_KNOWN = ("input_tokens", "output_tokens", "total_tokens")
_NESTED = {
    "input_tokens_details": ("cached_tokens", "cache_write_tokens"),
    "output_tokens_details": ("reasoning_tokens",),
}


def read_usage(value: Mapping[str, Json]) -> Usage:
    """Normalised usage; never raises. The prompt's count holds what the cache gave and took.

    Reasoning is part of the output, unless the total says that it was counted beside it.
    """
    prompt = count(value.get("input_tokens"))
    inside = _details(value.get("input_tokens_details"))
    read = min(count(inside.get("cached_tokens")), prompt)
    written = min(count(inside.get("cache_write_tokens")), prompt - read)
    output = count(value.get("output_tokens"))
    reasoning = count(_details(value.get("output_tokens_details")).get("reasoning_tokens"))
    given = value.get("total_tokens")
    total = None if given is None else count(given)
    if reasoning and total == prompt + output + reasoning:
        output += reasoning
    return Usage(
        fresh=prompt - read - written,
        cache_read=read,
        cache_write=written,
        output=output,
        reasoning=reasoning,
        total=total,
        extra=residue(value, _KNOWN, _NESTED),
    )


def write_usage(usage: Usage | None) -> Json:
    """The wire's usage object; null where the provider reported none."""
    if usage is None or usage.estimated:
        return None
    out: dict[str, Json] = {
        "input_tokens": usage.prompt,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write,
        },
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.prompt + usage.output if usage.total is None else usage.total,
    }
    fill(out, usage.extra.home(NAME))
    return out


def _details(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}
