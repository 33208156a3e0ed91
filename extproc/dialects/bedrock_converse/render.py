"""Canonical requests to Converse bodies.

A request that came in this dialect, and that no stage changed (it still has its
`raw` bytes), leaves as those bytes: the model is in the path, so at most our own
member is cut out. One that was changed is written anew as it came; what came in
another dialect, `foreign` fits to Bedrock's ways.
"""

from __future__ import annotations

import functools
from typing import TypeAlias

from extproc.codec import jsontext
from extproc.dialects import _names as names
from extproc.dialects._extras import fill
from extproc.dialects._loss import Losses
from extproc.dialects._options import BODY_MEMBER
from extproc.dialects.bedrock_converse.blocks import Blocks
from extproc.dialects.bedrock_converse.fields import (
    MODEL_FIELDS,
    OUTPUT,
    Lifted,
    Wish,
    forget_reasoning,
    lift,
    write_reasoning,
    write_schema,
    write_top_k,
)
from extproc.dialects.bedrock_converse.foreign import Foreign
from extproc.dialects.bedrock_converse.settings import Tools, write_inference
from extproc.dialects.bedrock_converse.words import NAME, OPTIONS, WITHIN, WRAPPED
from extproc.model.call import Target
from extproc.model.chat import Chat, Json, OutputKind, Role
from extproc.model.dialect import Rendered

Object: TypeAlias = dict[str, Json]

CONVERSE = "converse"
COUNT = "count-tokens"
HEADERS = {"content-type": "application/json"}
_COUNTED = ("messages", "system", "toolConfig", MODEL_FIELDS)
"""what a count of tokens takes of a request"""


@functools.lru_cache(maxsize=1024)
def path_of(model: str, operation: str) -> str:
    """`:` and `/` of the name are quoted, as AWS's own clients do."""
    return f"/model/{names.write(model)}/{operation}"


def render_chat(chat: Chat, target: Target) -> Rendered:
    """Raises `Unsupported` for what this language cannot say and must not drop."""
    path = path_of(target.model, "converse-stream" if chat.stream else "converse")
    if (raw := _untouched(chat)) is not None:
        return Rendered(path, raw, HEADERS, stream=chat.stream, operation=CONVERSE)
    if chat.dialect == NAME:
        losses = Losses(target)
        body = jsontext.dumps(_home(chat, target, losses))
        return Rendered(path, body, HEADERS, losses.names, stream=chat.stream, operation=CONVERSE)
    writer = Foreign(chat, target)
    body = jsontext.dumps(writer.body())
    return Rendered(
        path,
        body,
        HEADERS,
        writer.losses.names,
        chat.stream,
        renamed=writer.renamed,
        answer_tool=writer.answer_tool,
        operation=CONVERSE,
    )


def render_count(chat: Chat, target: Target) -> Rendered:
    path = path_of(target.model, COUNT)
    if (raw := _untouched(chat)) is not None:
        return Rendered(path, raw, HEADERS, operation=COUNT)
    losses = Losses(target)
    if chat.dialect == NAME:
        body = _home(chat, target, losses)
    else:
        writer = Foreign(chat, target)
        body, losses = writer.body(), writer.losses
    counted: Object = {name: body[name] for name in _COUNTED if name in body}
    text = jsontext.dumps({"input": {"converse": counted}})
    return Rendered(path, text, HEADERS, losses.names, operation=COUNT)


def _untouched(chat: Chat) -> bytes | None:
    if not chat.raw or chat.dialect != NAME or WRAPPED in chat.extra.fields:
        return None
    if OPTIONS in chat.extra.fields:
        return jsontext.splice(chat.raw, remove=(BODY_MEMBER,))
    return chat.raw


# --- at home --------------------------------------------------------------------------------


def _home(chat: Chat, target: Target, losses: Losses) -> Object:
    """As it came, but for what a stage changed."""
    blocks = Blocks(losses, at_home=True, caches=True)
    out: Object = {}
    _messages(chat, blocks, out)
    Tools(blocks, losses, at_home=True, strict=True).write(out, chat.tools, chat.tool_choice)
    write_inference(out, chat.sampling)
    if chat.metadata is not None:
        out["requestMetadata"] = dict(chat.metadata)
    if chat.service_tier is not None:
        out["serviceTier"] = {"type": chat.service_tier}
    extra = dict(chat.extra.home(NAME))
    _change(chat, extra, target, losses)
    fill(out, extra)
    return out


def _messages(chat: Chat, blocks: Blocks, out: Object) -> None:
    system: list[Json] = []
    said: list[Json] = []
    for message in chat.messages:
        written = blocks.of(message.parts)
        leading = message.role in (Role.SYSTEM, Role.DEVELOPER) and not said
        if leading and WITHIN not in message.extra.home(NAME):
            system.extend(written)
        elif written or not message.parts:
            one: Object = {"role": _ROLES[message.role], "content": written}
            fill(one, message.extra.home(NAME))
            said.append(one)
    if said:
        out["messages"] = said
    if system:
        out["system"] = system


def _change(chat: Chat, extra: Object, target: Target, losses: Losses) -> None:
    """Writes over what the client said in free-form fields, where a stage thought otherwise."""
    before = lift(extra)
    if before == Lifted(chat.output, chat.reasoning, chat.sampling.top_k):
        return
    config, own = _object(extra.get(OUTPUT)), _object(extra.get(MODEL_FIELDS))
    if chat.output != before.output:
        config.pop("textFormat", None)
        if chat.output is not None and chat.output.kind is OutputKind.SCHEMA:
            config["textFormat"] = write_schema(chat.output)
    if chat.sampling.top_k != before.top_k:
        own.pop("top_k", None)
        if chat.sampling.top_k is not None:
            write_top_k(own, chat.sampling.top_k, target.model, losses)
    if chat.reasoning != before.reasoning:
        forget_reasoning(own, config)
        if chat.reasoning is not None:
            limit = chat.sampling.max_tokens
            wish = Wish(chat.reasoning, target.model, target.capabilities, limit)
            write_reasoning(own, config, wish, losses)
    for name, value in ((OUTPUT, config), (MODEL_FIELDS, own)):
        if value:
            extra[name] = value
        elif extra.get(name):
            del extra[name]


_ROLES = {
    Role.SYSTEM: "system",
    Role.DEVELOPER: "system",
    Role.USER: "user",
    Role.TOOL: "user",
    Role.ASSISTANT: "assistant",
}


def _object(value: Json) -> Object:
    return dict(value) if isinstance(value, dict) else {}
