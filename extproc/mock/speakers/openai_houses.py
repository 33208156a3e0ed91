"""Who else speaks OpenAI's chat language, and what each does otherwise. A table, and looks into it.

A house is known by the names of its models, as the mock has one address for all.
Takes a model's name or a request's fields, gives what this house would do with
them; never answers itself. Sources: each provider's API reference, and the
refusals that its users report.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from extproc.mock.speakers.openai_rules import Fields, Wrong


@dataclass(frozen=True, slots=True)
class House:
    """One provider.

    `takes`: the members it knows, None for whatever OpenAI knows; `refuses` and `ignores` are of
    those it is sent all the same, `in_messages` the members of messages that it knows. `silent`
    and `always`: models that think without showing it, or without being asked. `thought` is where
    thinking stands in a message: a member's name, or `content` for a part of it. `beside`:
    thinking is counted beside the completion. `ids` is the form of a call's id, `longest_id` its most
    characters, `made` one of its own with room for two numbers. `parts` are the kinds of a
    user's content that it takes, None: all that OpenAI does.
    `refuses_apart`: a refusal has a member of its own. `tells_usage`: streams end with it, asked or not.
    """

    name: str = "openai"
    takes: frozenset[str] | None = None
    refuses: frozenset[str] = frozenset()
    ignores: frozenset[str] = frozenset()
    in_messages: frozenset[str] | None = None
    forms: tuple[str, ...] = ("text", "json_object", "json_schema")
    silent: re.Pattern[str] | None = None
    always: re.Pattern[str] | None = None
    thought: Literal["reasoning_content", "reasoning", "content"] = "reasoning_content"
    beside: bool = False
    ids: re.Pattern[str] | None = None
    longest_id: int = 40
    made: str = "call_mock{:02d}{:02d}"
    parts: tuple[str, ...] | None = None
    refuses_apart: bool = False
    tells_usage: bool = False


_OPENAI = House(silent=re.compile(r"o\d|gpt-"), refuses_apart=True)
_XAI = House("xai", beside=True, parts=("text", "image_url"))
_XAI_REASONS = House(
    "xai",
    refuses=frozenset({"presence_penalty", "frequency_penalty", "stop"}),
    beside=True,
    parts=("text", "image_url"),
    silent=re.compile(r"grok-4"),
    always=re.compile(r"grok-4"),
)
_MISTRAL = House(
    "mistral",
    takes=frozenset(
        {
            "model",
            "messages",
            "temperature",
            "top_p",
            "max_tokens",
            "stream",
            "stop",
            "random_seed",
            "metadata",
            "response_format",
            "tools",
            "tool_choice",
            "presence_penalty",
            "frequency_penalty",
            "n",
            "prediction",
            "parallel_tool_calls",
            "prompt_cache_key",
            "prompt_mode",
            "reasoning_effort",
            "safe_prompt",
        }
    ),
    in_messages=frozenset({"role", "content", "tool_calls", "tool_call_id", "name", "prefix"}),
    always=re.compile(r"magistral"),
    thought="content",
    parts=("text", "image_url", "document_url", "input_audio", "reference"),
    ids=re.compile(r"[A-Za-z0-9]{9}"),
    made="mock{:02d}{:03d}",
    tells_usage=True,
)
_DEEPSEEK = House(
    "deepseek",
    ignores=frozenset(
        {
            "max_completion_tokens",
            "reasoning_effort",
            "seed",
            "logit_bias",
            "user",
            "metadata",
            "service_tier",
            "parallel_tool_calls",
        }
    ),
    forms=("text", "json_object"),
    always=re.compile(r"deepseek-reasoner"),
    longest_id=64,
    made="call_00_mock{:02d}{:02d}abcdefghijkl",
    parts=("text",),
)
_VLLM = House(
    "vllm",
    thought="reasoning",
    parts=("text", "image_url", "video_url", "audio_url", "input_audio"),
    longest_id=64,
    made="chatcmpl-tool-mock{:02d}{:02d}" + "0123456789abcdef01234567",
)
_USUAL = House(refuses_apart=True)
_BY_MODEL = (
    (re.compile(r"o\d|gpt-|chatgpt"), _OPENAI),
    (re.compile(r"grok-(4(?!.*non-reasoning)|code|3-mini)"), _XAI_REASONS),
    (re.compile(r"grok"), _XAI),
    (re.compile(r"(open-)?(mistral|mixtral|ministral|magistral|codestral|pixtral)"), _MISTRAL),
    (re.compile(r"deepseek-"), _DEEPSEEK),
    (re.compile(r"Qwen/"), _VLLM),
)


def house_of(model: str) -> House:
    """Whose model this is; of no house in particular where nobody claims the name."""
    return next((house for name, house in _BY_MODEL if name.match(model)), _USUAL)


def known(house: House, fields: dict[str, object]) -> dict[str, object]:
    """The request without what this house overlooks in silence."""
    return {name: value for name, value in fields.items() if name not in house.ignores}


def refused(house: House, model: str, fields: Fields, messages: Sequence[Fields]) -> Wrong | None:
    """The first thing that this house would not take and OpenAI would."""
    for name, value in fields.items():
        if value is None:
            continue
        if house.takes is not None and name not in house.takes:
            return _extra("body", name)
        if name in house.refuses:
            return _unsupported(model, name)
    effort = fields.get("reasoning_effort")
    if house.name == "mistral" and effort is not None and not model.startswith("mistral-small"):
        return _extra("body", "reasoning_effort")
    if house.name == "xai" and effort is not None and not _thinks_at_will(model, effort):
        return _unsupported(model, "reasoning_effort")
    if house.name == "deepseek" and fields.get("n") not in (None, 1):
        return Wrong("Invalid n value (currently only n = 1 is supported)", "n")
    form = fields.get("response_format")
    kind = cast(Fields, form).get("type") if isinstance(form, dict) else None
    if kind is not None and kind not in house.forms:
        return Wrong("This response_format type is unavailable now", "response_format")
    for at, message in enumerate(messages):
        if found := _in_message(house, message, at):
            return found
    return None


def _thinks_at_will(model: str, effort: object) -> bool:
    return model.startswith("grok-3-mini") and effort in ("low", "high")


def _unsupported(model: str, name: str) -> Wrong:
    return Wrong(f"Model {model} does not support parameter {name}.", name)


def _extra(*where: object) -> Wrong:
    place = ".".join(map(str, where))
    return Wrong(f"extra_forbidden at {place}: Extra inputs are not permitted", place, "extra")


def _in_message(house: House, message: Fields, at: int) -> Wrong | None:
    role = message.get("role")
    if house.name in ("mistral", "deepseek") and role in ("developer", "function"):
        return Wrong(f"messages[{at}].role: unknown variant `{role}`", "messages")
    if house.in_messages is not None:
        for name, value in message.items():
            if name not in house.in_messages and value is not None:
                return _extra("body", "messages", at, role, name)
    content = message.get("content")
    parts = cast("list[object]", content) if isinstance(content, list) else []
    kinds = [str(cast(Fields, part).get("type")) for part in parts if isinstance(part, dict)]
    known = house.parts
    for kind in kinds if known is not None and role == "user" else ():
        if known is not None and kind not in known:
            wanted = ", ".join(f"`{one}`" for one in known)
            text = f"messages[{at}]: unknown variant `{kind}`, expected one of {wanted}"
            return Wrong(text, "messages", "invalid_request_error")
    calls = message.get("tool_calls")
    ids = [
        cast(Fields, c).get("id") for c in cast("list[object]", calls or []) if isinstance(c, dict)
    ]
    for ident in (*ids, message.get("tool_call_id")):
        if house.ids is not None and isinstance(ident, str) and not house.ids.fullmatch(ident):
            text = f"Tool call id was {ident} but must be a-z, A-Z, 0-9, with a length of 9."
            return Wrong(text, code="3280")
    return None


def envelope(house: House, found: Mapping[str, object]) -> tuple[int | None, object]:
    """A refusal as this house writes it, of `found` as OpenAI does: its status where it has its own."""
    match house.name:
        case "xai":
            text = "Client specified an invalid argument"
            return None, {"code": text, "error": found["message"]}
        case "mistral" if found["code"] == "extra":
            where = str(found["param"]).split(".")
            message = "Extra inputs are not permitted"
            detail = [{"type": "extra_forbidden", "loc": where, "msg": message, "input": None}]
            return 422, {
                "object": "error",
                "message": {"detail": detail},
                "type": "invalid_request_error",
                "param": None,
                "code": None,
            }
        case "mistral":
            return None, {"object": "error", **found, "raw_status_code": 400}
        case _:
            return None, {"error": dict(found)}


def thinking_part(text: str) -> dict[str, object]:
    """A part of `content` that says it."""
    return {"type": "thinking", "thinking": [{"type": "text", "text": text}]}
