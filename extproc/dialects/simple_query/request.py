"""Requests of the simple query language to the canonical model.

Each endpoint takes exactly its members. `conversation_id` of `/chat` is a wish for the
gateway, which keeps conversations; `extra` remembers it for the reply, which says it again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from extproc.dialects import _reading as read
from extproc.dialects._extras import SHAPE
from extproc.dialects._options import conversation_name, read_options
from extproc.dialects.openai_chat.embeddings import parse_embed
from extproc.model.chat import (
    NOTHING,
    Chat,
    Extra,
    Json,
    Message,
    Options,
    Role,
    Sampling,
    Text,
)
from extproc.model.dialect import Headers, RequestHead
from extproc.model.embed import Embed, Request
from extproc.model.errors import InvalidRequest

NAME = "simple_query"
CONVERSATION = "conversation_id"
SAID = SHAPE + CONVERSATION
"""member of `extra`: the conversation that the reply names"""

_AUTO = "auto"
_QUERY = (
    "prompt",
    "context",
    "provider",
    "model",
    "temperature",
    "max_tokens",
    "user_id",
    "force_refresh",
)
_CHAT = ("prompt", "context", CONVERSATION, "user_id")
_EMBEDDINGS = ("text", "model", "provider", "user_id")


def parse(head: RequestHead, body: bytes) -> Request:
    """The request of `head.operation`. Raises `InvalidRequest` for a missing text, a wrong type and an unknown member."""
    x = read.read_object(body)
    match head.operation:
        case "embeddings":
            if "input" in x and "text" not in x:
                return parse_embed(head.headers, body)
            return _embed(head.headers, x, body)
        case "chat":
            return _chat(head, x, body, _CHAT)
        case _:
            return _chat(head, x, body, _QUERY)


def _chat(head: RequestHead, x: Mapping[str, Json], body: bytes, members: tuple[str, ...]) -> Chat:
    _check_members(x, members)
    prompt = _text(x, "prompt")
    context = read.optional_string(x.get("context"), "context")
    user = read.optional_string(x.get("user_id"), "user_id")
    options, conversation = _options(head.headers, x, user), _conversation(x)
    if conversation and options.conversation is None:
        options = replace(options, conversation=conversation)
    return Chat(
        dialect=NAME,
        model=read.optional_string(x.get("model"), "model") or "",
        messages=_messages(prompt, context),
        stream=head.operation == "stream",
        provider=_provider(x),
        sampling=Sampling(temperature=_temperature(x), max_tokens=_max_tokens(x)),
        user=user,
        options=options,
        extra=Extra(NAME, {SAID: options.conversation}) if conversation else NOTHING,
        raw=body,
    )


def _embed(headers: Headers, x: Mapping[str, Json], body: bytes) -> Embed:
    _check_members(x, _EMBEDDINGS)
    text = _text(x, "text")
    user = read.optional_string(x.get("user_id"), "user_id")
    return Embed(
        dialect=NAME,
        model=read.optional_string(x.get("model"), "model") or "",
        inputs=(text,),
        provider=_provider(x),
        single=True,
        user=user,
        options=_options(headers, x, user),
        raw=body,
    )


def _check_members(x: Mapping[str, Json], members: tuple[str, ...]) -> None:
    for name in x:
        if name not in members:
            known = ", ".join(members)
            message = f"{name[:64]!r} is not known here; known members: {known}"
            raise InvalidRequest(message, param=name[:64], code="unknown_member")


def _text(x: Mapping[str, Json], name: str) -> str:
    if name not in x:
        raise read.missing(name)
    text = read.expect_string(x[name], name)
    if not text.strip():
        raise InvalidRequest(f"{name} must not be empty", param=name)
    return text


def _provider(x: Mapping[str, Json]) -> str | None:
    provider = read.optional_string(x.get("provider"), "provider")
    return None if provider in (None, "", _AUTO) else provider


def _conversation(x: Mapping[str, Json]) -> str | None:
    name = read.optional_string(x.get(CONVERSATION), CONVERSATION)
    return conversation_name(name, CONVERSATION) if name else None


def _messages(prompt: str, context: str | None) -> tuple[Message, ...]:
    """The context is the system's word, before the prompt."""
    asked = Message(Role.USER, (Text(prompt),))
    if not context or not context.strip():
        return (asked,)
    return (Message(Role.SYSTEM, (Text(context),)), asked)


def _temperature(x: Mapping[str, Json]) -> float | None:
    value = read.optional_number(x.get("temperature"), "temperature")
    if value is not None and not 0.0 <= value <= 1.0:
        raise InvalidRequest("temperature must be from 0.0 to 1.0", param="temperature")
    return value


def _max_tokens(x: Mapping[str, Json]) -> int | None:
    value = read.optional_int(x.get("max_tokens"), "max_tokens")
    if value is not None and value < 1:
        raise InvalidRequest("max_tokens must be 1 or more", param="max_tokens")
    return value


def _options(headers: Headers, x: Mapping[str, Json], user: str | None) -> Options:
    options = read_options(headers)
    if options.user is None and user:
        options = replace(options, user=user)
    if read.optional_bool(x.get("force_refresh"), "force_refresh") and options.cache is None:
        options = replace(options, cache="refresh")
    return options
