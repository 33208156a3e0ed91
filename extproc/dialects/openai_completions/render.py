"""Canonical requests to legacy completions bodies, and the splice that spares us most of them.

A request that came in this dialect and that no stage changed leaves as its own
bytes; at most its model, `stream_options` and our own member are spliced. A
conversation of another language becomes one prompt, if it can: the roles of
several turns are then plain words, which is a named loss.
"""

from __future__ import annotations

from typing import TypeAlias

from extproc.codec import jsontext
from extproc.dialects._extras import fill
from extproc.dialects._loss import Losses, field_of
from extproc.dialects.openai_chat.quirks import path_of
from extproc.dialects.openai_chat.render import splice
from extproc.dialects.openai_chat.words import STOP
from extproc.dialects.openai_completions.words import LISTED, LOGPROBS, NAME
from extproc.model.call import Target
from extproc.model.chat import (
    NOTHING,
    Chat,
    Json,
    Message,
    OpaquePart,
    OutputKind,
    Reasoning,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolMode,
)
from extproc.model.dialect import Rendered
from extproc.model.fields import Field

Object: TypeAlias = dict[str, Json]

_PATH = "/completions"
_HEADERS = {"content-type": "application/json"}
_USUAL_LENGTH = 1024
"""tokens of an answer where nobody says: the API's own 16 would cut every answer of a chat"""
_MOST_STOPS = 4
_WORDS = {Role.USER: "User", Role.ASSISTANT: "Assistant"}
_NEXT_TURN = "\nUser:"
_CARRIED = frozenset(
    {
        Field.TEMPERATURE,
        Field.TOP_P,
        Field.STOP,
        Field.SEED,
        Field.FREQUENCY_PENALTY,
        Field.PRESENCE_PENALTY,
        Field.N,
        Field.LOGIT_BIAS,
        Field.USER,
    }
)
"""settings that the language has, and tells of in a form that others can read"""
_AT_HOME = _CARRIED | {Field.LOGPROBS}


def render_completion(chat: Chat, target: Target) -> Rendered:
    """The request for `target`. Raises `Unsupported` for what a prompt cannot say and must not lose."""
    losses = Losses(target)
    if chat.dialect != NAME:
        body = jsontext.dumps(_foreign(chat, target, losses))
    elif chat.raw:
        body = _spliced(chat, target.model)
    else:
        body = jsontext.dumps(_home(chat, target, losses))
    return Rendered(
        path=path_of(target, _PATH),
        body=body,
        headers=_HEADERS,
        dropped=losses.names,
        stream=chat.stream,
        withhold_usage=chat.stream and not chat.include_usage,
    )


def _spliced(chat: Chat, model: str) -> bytes:
    known = chat.extra.fields
    replace: dict[str, bytes] = {}
    add: dict[str, bytes] = {}
    if chat.stream:
        options = known.get("stream_options")
        if "stream_options" not in known:
            add["stream_options"] = b'{"include_usage":true}'
        elif not isinstance(options, dict):
            replace["stream_options"] = b'{"include_usage":true}'
        elif options.get("include_usage") is not True:
            replace["stream_options"] = jsontext.dumps({**options, "include_usage": True})
    return splice(chat.raw, chat.extra, chat.model, model, replace=replace, add=add)


def _home(chat: Chat, target: Target, losses: Losses) -> Object:
    losses.settings(chat, _AT_HOME)
    extra = chat.extra.home(NAME)
    out: Object = {"model": target.model}
    texts: list[str] = []
    for message in chat.messages:
        if message.role is Role.ASSISTANT:
            raise losses.refusal(Field.CONTENT, "it takes one prompt, and no conversation")
        for part in message.parts:
            match part:
                case Text():
                    texts.append(part.text)
                case OpaquePart():
                    fill(out, part.extra.home(NAME))
                case _:
                    raise losses.refusal(field_of(part), "it is text and nothing else")
    if texts:
        text = "\n\n".join(texts)
        out["prompt"] = [text] if LISTED in extra else text
    _settings(out, chat)
    if LOGPROBS in extra:
        out["logprobs"] = extra[LOGPROBS]
    if extra.get(STOP) == "string" and len(chat.sampling.stop) == 1:
        out["stop"] = chat.sampling.stop[0]
    fill(out, extra)
    return out


def _settings(out: Object, chat: Chat) -> None:
    sampling = chat.sampling
    if chat.stream:
        out["stream"] = True
        out["stream_options"] = {"include_usage": True}
    for name, value in (
        ("max_tokens", sampling.max_tokens),
        ("temperature", sampling.temperature),
        ("top_p", sampling.top_p),
        ("seed", sampling.seed),
        ("frequency_penalty", sampling.frequency_penalty),
        ("presence_penalty", sampling.presence_penalty),
        ("n", sampling.n),
        ("user", chat.user),
    ):
        if value is not None:
            out[name] = value
    if sampling.logprobs:
        out["logprobs"] = sampling.top_logprobs or 0
    if sampling.stop:
        out["stop"] = list(sampling.stop)
    if sampling.logit_bias is not None:
        out["logit_bias"] = dict(sampling.logit_bias)


# --- from other languages -------------------------------------------------------------------


def _foreign(chat: Chat, target: Target, losses: Losses) -> Object:
    losses.foreign(chat.extra, NAME)
    losses.settings(chat, _CARRIED)
    _refuse(chat, losses)
    out: Object = {"model": target.model, "prompt": ""}
    _settings(out, chat)
    stops = list(chat.sampling.stop)
    if len(stops) > _MOST_STOPS:
        raise losses.refusal(Field.STOP, f"it takes {_MOST_STOPS} stop sequences")
    turns = [turn for turn in (_turn(m, losses) for m in chat.messages) if turn is not None]
    out["prompt"], spoken = _prompt(turns, losses)
    if spoken and len(stops) < _MOST_STOPS:
        # Else the model goes on with the next question, which is not its own to ask.
        out["stop"] = [*stops, _NEXT_TURN]
    out.setdefault("max_tokens", target.capabilities.max_output or _USUAL_LENGTH)
    if chat.reasoning is not None:
        _name_reasoning(chat.reasoning, losses)
    return out


def _name_reasoning(asked: Reasoning, losses: Losses) -> None:
    losses.foreign(asked.extra, NAME)
    for field, value in (
        (Field.EFFORT, asked.effort),
        (Field.BUDGET, asked.budget),
        (Field.SUMMARY, asked.summary),
    ):
        if value is not None:
            losses.drop(field)


def _refuse(chat: Chat, losses: Losses) -> None:
    """What a prompt cannot ask for."""
    wanted = chat.tool_choice is None or chat.tool_choice.mode is not ToolMode.NONE
    if chat.tools and wanted:
        raise losses.refusal(Field.TOOLS, "a completion calls no tools")
    if chat.tools:
        losses.drop(Field.TOOLS)
    if chat.output is not None:
        losses.foreign(chat.output.extra, NAME)
    if chat.output is not None and chat.output.kind is not OutputKind.TEXT:
        raise losses.refusal(Field.OUTPUT, "a completion is plain text")


def _turn(message: Message, losses: Losses) -> tuple[Role, str] | None:
    texts: list[str] = []
    for part in message.parts:
        match part:
            case Text():
                if part.cache is not None:
                    losses.drop(Field.CACHE)
                if part.extra is not NOTHING:
                    losses.foreign(part.extra, NAME)
                texts.append(part.text)
            case Refusal():
                texts.append(part.text)
            case Thinking():
                losses.drop(Field.THINKING)
            case _:
                raise losses.refusal(field_of(part), "a prompt is text and nothing else")
    if message.name is not None:
        losses.drop(Field.NAME)
    if message.extra is not NOTHING:
        losses.foreign(message.extra, NAME)
    text = "\n".join(texts)
    return (message.role, text) if text.strip() else None


def _prompt(turns: list[tuple[Role, str]], losses: Losses) -> tuple[str, bool]:
    """The prompt, and whether turns are spelled out in it."""
    asked = [role for role, _ in turns if role in _WORDS]
    if any(role not in _WORDS for role, _ in turns):
        losses.drop(Field.SYSTEM)
    if Role.ASSISTANT not in asked and len(asked) <= 1:
        return "\n\n".join(text for _, text in turns), False
    losses.lossy(Field.ROLES, "a prompt has no turns; they would become plain words")
    said = [f"{_WORDS[role]}: {text}" if role in _WORDS else text for role, text in turns]
    return "\n\n".join([*said, "Assistant:"]), True
