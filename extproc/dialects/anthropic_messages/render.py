"""Canonical requests to Anthropic bodies and paths, and the splice that spares us most of them.

A request that came in this dialect and that no stage changed leaves as its own
bytes, with a few members spliced. Anything else is written anew from the canonical
fields, and what cannot be carried goes to `Losses`.

The variants say the same in other places: on Bedrock (InvokeModel) and on Vertex
the model stands in the path and the version in the body, on Bedrock the betas too.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TypeAlias

from extproc.codec import jsontext
from extproc.dialects import _names
from extproc.dialects._extras import fill
from extproc.dialects._loss import Losses
from extproc.dialects._options import BODY_MEMBER
from extproc.dialects._tools import Names
from extproc.dialects.anthropic_messages.blocks import Conversation
from extproc.dialects.anthropic_messages.settings import Settings
from extproc.dialects.anthropic_messages.words import (
    ANY_NAME,
    BAD_IN_NAME,
    BETAS,
    LEGAL_NAME,
    LONGEST_NAME,
    NAME,
    NEW_VERSION,
    OLD_VERSION,
    OPTIONS,
    QUERY,
    WRAPPED,
)
from extproc.model.call import Target
from extproc.model.chat import Chat, Json
from extproc.model.dialect import Rendered
from extproc.model.embed import Count
from extproc.model.errors import Unsupported
from extproc.model.fields import Field

Object: TypeAlias = dict[str, Json]

COUNT = "count"
"""the operation of a rendered request that asks for a count"""
_MESSAGES = "/v1/messages"
_COUNT_TOKENS = "/v1/messages/count_tokens"
_PUBLISHER = "anthropic"
_VERTEX_COUNTER = "count-tokens"
_BODY_VERSIONS = {"bedrock": "bedrock-2023-05-31", "vertex": "vertex-2023-10-16"}
_GONE = (Field.TEMPERATURE, Field.TOP_P, Field.TOP_K)
"""called the same here, as members too"""
_COUNTED = frozenset(
    {
        "model",
        "messages",
        "system",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
    }
)
"""members that a request to count may have"""


def render_chat(chat: Chat, target: Target) -> Rendered:
    """The request for the model that the provider calls `target.model`.

    Raises `Unsupported` for what this language cannot say and must not drop.
    """
    return _render(chat, target, _path(chat, target), count=False)


def render_count(count: Count, target: Target) -> Rendered:
    """The question how many tokens a prompt has. Raises `Unsupported` where nobody counts."""
    if target.variant == "bedrock":
        raise Unsupported("InvokeModel does not count tokens")
    path = _COUNT_TOKENS
    if target.variant == "vertex":
        place, slash, _ = target.model.rpartition("/")
        counter = f"{place}{slash}{_VERTEX_COUNTER}"
        path = f"/v1/{_names.on_vertex(counter, _PUBLISHER, target)}:rawPredict"
    return _render(count.chat, target, path, count=True)


def version_of(target: Target) -> str:
    return target.detail("api_version") or _BODY_VERSIONS.get(target.variant, OLD_VERSION)


def headers(target: Target, content_type: str = "application/json") -> Mapping[str, str]:
    return _headers(target.variant, version_of(target), content_type)


@functools.lru_cache(maxsize=64)
def _headers(
    variant: str, version: str, content_type: str = "application/json"
) -> Mapping[str, str]:
    found = {"content-type": content_type} if content_type else {}
    if variant not in _BODY_VERSIONS:
        found["anthropic-version"] = version
    return found


def _path(chat: Chat, target: Target) -> str:
    match target.variant:
        case "bedrock":
            verb = "invoke-with-response-stream" if chat.stream else "invoke"
            return f"/model/{_names.write(target.model)}/{verb}"
        case "vertex":
            verb = "streamRawPredict" if chat.stream else "rawPredict"
            return f"/v1/{_names.on_vertex(target.model, _PUBLISHER, target)}:{verb}"
        case _:
            query = chat.extra.home(NAME).get(QUERY)
            return f"{_MESSAGES}?{query}" if isinstance(query, str) else _MESSAGES


def _named(target: Target) -> str:
    """The model in a body; on Vertex it may be configured by its whole path."""
    return target.model.rpartition("/")[2] if target.variant == "vertex" else target.model


def _render(chat: Chat, target: Target, path: str, *, count: bool) -> Rendered:
    losses = Losses(target)
    version = version_of(target)
    stream = chat.stream and not count
    if chat.raw and chat.dialect == NAME and WRAPPED not in chat.extra.fields:
        body = _spliced(chat, target, losses, version, count=count)
        return Rendered(
            path,
            body,
            _headers(target.variant, version),
            losses.names,
            stream,
            operation=COUNT if count else "",
            hosted=bool(target.variant),
        )
    legal = ANY_NAME if chat.dialect == NAME else LEGAL_NAME
    names = Names(legal, BAD_IN_NAME, LONGEST_NAME)
    settings = Settings(chat, target, losses, names)
    conversation = Conversation(chat, target, losses, names)
    out: Object = {"model": _named(target), "messages": conversation.messages}
    if conversation.system is not None:
        out["system"] = conversation.system
    settings.write(out, unsigned_tools=conversation.unsigned_tools)
    losses.foreign(chat.extra, NAME)
    fill(out, chat.extra.home(NAME))
    if count and chat.dialect != NAME:
        out = {name: value for name, value in out.items() if name in _COUNTED}
    if version == NEW_VERSION:
        for name in _GONE:
            if out.pop(name, None) is not None:
                losses.drop(name)
    if target.variant in _BODY_VERSIONS:
        _place(out, chat, target, version, count=count)
    return Rendered(
        path,
        jsontext.dumps(out),
        _headers(target.variant, version),
        losses.names,
        stream,
        renamed=names.renamed,
        answer_tool=settings.answer_tool,
        operation=COUNT if count else "",
        hosted=bool(target.variant),
    )


def _place(out: Object, chat: Chat, target: Target, version: str, *, count: bool) -> None:
    """Moves what the variant says elsewhere."""
    if not count:
        del out["model"]
    if target.variant == "bedrock":
        out.pop("stream", None)
    for name, value in _added(chat, target, version).items():
        out.setdefault(name, value)


def _added(chat: Chat, target: Target, version: str) -> Mapping[str, Json]:
    """Members that the variant's body has besides."""
    added: Object = {"anthropic_version": version}
    betas = chat.extra.home(NAME).get(BETAS)
    if target.variant == "bedrock" and isinstance(betas, str):
        added["anthropic_beta"] = [beta.strip() for beta in betas.split(",") if beta.strip()]
    return added


def _spliced(chat: Chat, target: Target, losses: Losses, version: str, *, count: bool) -> bytes:
    known = chat.extra.fields
    replace: dict[str, bytes] = {}
    remove: list[str] = []
    add: dict[str, bytes] = {}
    if target.variant in _BODY_VERSIONS:
        if not count:
            remove.append("model")
        if target.variant == "bedrock" and (chat.stream or "stream" in known):
            remove.append("stream")
        for name, value in _added(chat, target, version).items():
            if name not in known:
                add[name] = jsontext.dumps(value)
    if (name := _named(target)) != chat.model and "model" not in remove:
        replace["model"] = jsontext.dumps(name)
    if OPTIONS in known:
        remove.append(BODY_MEMBER)
    if version == NEW_VERSION:
        for name in _GONE:
            if getattr(chat.sampling, name) is not None:
                remove.append(name.value)
                losses.drop(name)
    if not (replace or remove or add):
        return chat.raw
    return jsontext.splice(chat.raw, replace=replace, remove=remove, add=add)
