"""Words that the files of the Ollama dialect share: its name, shapes, finish reasons, usage."""

from __future__ import annotations

from collections.abc import Mapping

from extproc.dialects._extras import SHAPE
from extproc.model.chat import Extra, Json
from extproc.model.fields import Field
from extproc.model.reply import Reason, Usage

NAME = "ollama_chat"

CHAT_PATH = "/api/chat"
GENERATE_PATH = "/api/generate"
EMBED_PATH = "/api/embed"
EMBEDDINGS_PATH = "/api/embeddings"

GENERATE = SHAPE + "generate"
"""the request came to `/api/generate`, and is answered in that shape"""
LOAD = SHAPE + "load"
"""no messages: the model is loaded, or with `keep_alive: 0` unloaded, and says nothing"""
MINTED = SHAPE + "minted"
"""an id that the client did not send"""
INDEX = SHAPE + "index"
"""of a call: its number, as the client sent it"""
UNTYPED = SHAPE + "untyped"
"""a tool without `type`"""
OPTIONS = SHAPE + "options"
"""the body has our own object, which is cut out before it leaves"""
ONE_PROMPT = SHAPE + "prompt"
"""an embedding asked for at the older `/api/embeddings`"""

FIELD_NAMES: Mapping[str, str] = {
    Field.TEMPERATURE: "options.temperature",
    Field.TOP_P: "options.top_p",
    Field.TOP_K: "options.top_k",
    Field.MAX_TOKENS: "options.num_predict",
    Field.STOP: "options.stop",
    Field.SEED: "options.seed",
    Field.FREQUENCY_PENALTY: "options.frequency_penalty",
    Field.PRESENCE_PENALTY: "options.presence_penalty",
    Field.EFFORT: "think",
    Field.BUDGET: "think",
    Field.OUTPUT: "format",
    Field.IMAGE: "messages.images",
    Field.THINKING: "messages.thinking",
    Field.RESULT_MEDIA: "messages.images",
}
"""what this language's clients call the canonical fields"""


def is_generate(extra: Extra) -> bool:
    """Whether the request to which `extra` belongs came to `/api/generate`."""
    return GENERATE in extra.home(NAME)


# --- finish reasons -------------------------------------------------------------------------

_REASONS: Mapping[str, Reason] = {"stop": Reason.STOP, "length": Reason.LENGTH}

_LENGTHS = (Reason.LENGTH, Reason.CONTEXT)


def reason_of(word: str | None, saw_tool: bool) -> Reason:
    """The canonical reason. A stop after tool calls is a tool turn; older servers give no word at all."""
    reason = Reason.STOP if word is None else _REASONS.get(word, Reason.OTHER)
    return Reason.TOOL if reason is Reason.STOP and saw_tool else reason


def word_of(reason: Reason, raw: str | None, at_home: bool) -> str:
    """The wire's word. The provider's own word goes home as it is."""
    if at_home and raw is not None:
        return raw
    return "length" if reason in _LENGTHS else "stop"


# --- usage ----------------------------------------------------------------------------------


def read_usage(line: Mapping[str, Json]) -> Usage | None:
    """Usage of a last line. Without the prompt's count it is not known: servers leave out what is 0,

    and older ones what came from their cache, so a missing count is no zero.
    """
    prompt = _count(line.get("prompt_eval_count"))
    if prompt is None:
        return None
    output = _count(line.get("eval_count")) or 0
    return Usage(fresh=prompt, output=output)


def write_usage(out: dict[str, Json], usage: Usage | None) -> None:
    """The counts of a last line. What is only estimated is not said."""
    if usage is None or usage.estimated:
        return
    out["prompt_eval_count"] = usage.prompt
    out["eval_count"] = usage.output


def _count(value: Json) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return max(0, int(value)) if abs(value) < 1 << 63 else None
