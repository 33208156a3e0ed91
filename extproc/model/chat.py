"""The canonical conversation: what a client asked, in no provider's language.

A dialect parses its wire language into `Chat` and renders `Chat` back. What
only that one language knows stays in `extra`, tagged with the dialect's name,
and travels only home. Nothing here does I/O or knows a wire name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from typing import TypeAlias

from extproc.model.value import value

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
"""A JSON value. Integers are exact whatever their size; floats are finite."""


@value
class Extra:
    """Fields that only `dialect` knows, as JSON values, in the order they came."""

    dialect: str
    fields: Mapping[str, Json]

    def home(self, dialect: str) -> Mapping[str, Json]:
        """The fields if they are going home, else nothing."""
        return self.fields if dialect == self.dialect else {}


NOTHING = Extra("", {})


class Role(StrEnum):
    SYSTEM = "system"
    DEVELOPER = "developer"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


@value
class CacheMark:
    """The client asked the provider to cache the prompt up to here. `ttl` in seconds, or the default."""

    ttl: int | None = None


@value
class Source:
    """Where media comes from: exactly one of `url`, `data` (base64 text) and `file_id` is set."""

    url: str | None = None
    data: str | None = None
    file_id: str | None = None
    media_type: str | None = None
    name: str | None = None


@value
class Text:
    text: str
    cache: CacheMark | None = None
    extra: Extra = NOTHING


@value
class Image:
    source: Source
    detail: str | None = None
    cache: CacheMark | None = None
    extra: Extra = NOTHING


@value
class Audio:
    """`format` is a short name such as `wav` or `mp3`."""

    source: Source
    format: str | None = None
    extra: Extra = NOTHING


@value
class Document:
    source: Source
    cache: CacheMark | None = None
    extra: Extra = NOTHING


@value
class Thinking:
    """A model's reasoning. `signature` and `redacted` are opaque and bound to who made them.

    `origin` is the dialect of the provider that made them: to any other they are noise.
    """

    text: str = ""
    signature: str | None = None
    redacted: str | None = None
    origin: str = ""
    extra: Extra = NOTHING


@value
class ToolCall:
    """`arguments` is JSON text exactly as the model wrote it; it may be broken JSON."""

    id: str
    name: str
    arguments: str
    cache: CacheMark | None = None
    extra: Extra = NOTHING


@value
class ToolResult:
    """The outcome of the call `call_id`. `name` is the tool's, where the dialect says it."""

    call_id: str
    parts: tuple[Part, ...]
    name: str | None = None
    is_error: bool = False
    cache: CacheMark | None = None
    extra: Extra = NOTHING


@value
class Refusal:
    text: str
    extra: Extra = NOTHING


@value
class OpaquePart:
    """A part of a kind that only its own dialect knows."""

    extra: Extra


Part: TypeAlias = (
    Text | Image | Audio | Document | Thinking | ToolCall | ToolResult | Refusal | OpaquePart
)


@value
class Message:
    role: Role
    parts: tuple[Part, ...]
    name: str | None = None
    extra: Extra = NOTHING


@value
class Tool:
    """A function the model may call. `parameters` is a JSON Schema, or None when not given.

    A tool of any other kind (web search, code, MCP) has an empty `name` and
    lives in `extra`.
    """

    name: str
    description: str | None = None
    parameters: Json = None
    strict: bool | None = None
    cache: CacheMark | None = None
    extra: Extra = NOTHING


class ToolMode(StrEnum):
    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"
    NAMED = "named"


@value
class ToolChoice:
    """`names` limits the choice: exactly one for NAMED, any number else (empty = all)."""

    mode: ToolMode
    names: tuple[str, ...] = ()
    extra: Extra = NOTHING


class OutputKind(StrEnum):
    TEXT = "text"
    JSON = "json"
    SCHEMA = "schema"


@value
class Output:
    """The form the answer must have. `schema` is set for SCHEMA only."""

    kind: OutputKind
    schema: Json = None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None
    extra: Extra = NOTHING


@value
class Reasoning:
    """`effort`: none, minimal, low, medium, high, xhigh, max. `budget` in tokens, 0 = off, -1 = auto."""

    effort: str | None = None
    budget: int | None = None
    summary: str | None = None
    extra: Extra = NOTHING


@value
class Sampling:
    """None means: not given, the provider's default applies. `max_tokens` counts all that is generated."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    n: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: Mapping[str, float] | None = None


NO_SAMPLING = Sampling()


@value
class Options:
    """Our own wishes, from `x-sluice-*` headers or a `sluice` object in the body.

    `conversation` is the name of the one that this turn belongs to, and `format` is `plain`
    for text without fences. The stage whose it is takes them away: what is left when the
    request leaves is named as lost.
    """

    tags: tuple[str, ...] = ()
    user: str | None = None
    timeout: float | None = None
    cache: str | None = None
    strict: bool = False
    why: str | None = None
    conversation: str | None = None
    format: str | None = None


NO_OPTIONS = Options()


@value
class Chat:
    """One turn asked of a model.

    `model` and `provider` are as the client named them; an empty `model` means
    "you choose". `store`: the provider may keep the reply; `cache_key` groups prompts
    that begin alike, and `cache_retention` says how long they are kept (`in_memory`,
    `24h`); `safety_identifier` stands for the person who asks. `raw` is the client's
    body, untouched, for the path on which client and provider speak one dialect: a
    stage that changes anything else must empty it, or the old bytes leave.
    """

    dialect: str
    model: str
    messages: tuple[Message, ...]
    stream: bool = False
    provider: str | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tools: bool | None = None
    sampling: Sampling = NO_SAMPLING
    output: Output | None = None
    reasoning: Reasoning | None = None
    user: str | None = None
    metadata: Mapping[str, str] | None = None
    service_tier: str | None = None
    store: bool | None = None
    cache_key: str | None = None
    cache_retention: str | None = None
    verbosity: str | None = None
    safety_identifier: str | None = None
    include_usage: bool = True
    options: Options = NO_OPTIONS
    extra: Extra = NOTHING
    raw: bytes = field(default=b"", repr=False, compare=False)


@value
class ListModels:
    """The client asked which models it may use; `model` narrows it to one.

    `query` is that of its path, for languages whose lists have pages.
    """

    dialect: str
    model: str | None = None
    query: str = ""
