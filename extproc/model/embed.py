"""Requests that are not a conversation: vectors, ranking, counting, and what we only carry.

Like `Chat`, each names its dialect, keeps the client's bytes in `raw`, and in
`extra` what only that dialect knows.
"""

from __future__ import annotations

from dataclasses import field
from typing import TypeAlias

from extproc.model.chat import NO_OPTIONS, NOTHING, Chat, Extra, ListModels, Options
from extproc.model.reply import NO_UNITS, Units
from extproc.model.value import value


@value
class Embed:
    """Texts to be turned into vectors. An input of token ids cannot leave its own dialect.

    `encoding` is how the client wants vectors: `float` or `base64` (float32,
    little-endian). `input_type` is the purpose: search_document, search_query,
    classification, clustering, or None. `single`: the client sent one text, not a list.
    """

    dialect: str
    model: str
    inputs: tuple[str | tuple[int, ...], ...]
    provider: str | None = None
    dimensions: int | None = None
    encoding: str = "float"
    input_type: str | None = None
    single: bool = False
    user: str | None = None
    options: Options = NO_OPTIONS
    extra: Extra = NOTHING
    raw: bytes = field(default=b"", repr=False, compare=False)
    stream: bool = False


@value
class Rerank:
    """Documents to be ordered by how well they answer `query`; the best `top_n` are wanted."""

    dialect: str
    model: str
    query: str
    documents: tuple[str, ...]
    provider: str | None = None
    top_n: int | None = None
    return_documents: bool = False
    options: Options = NO_OPTIONS
    extra: Extra = NOTHING
    raw: bytes = field(default=b"", repr=False, compare=False)
    stream: bool = False


@value
class Count:
    """How many tokens this conversation has as a prompt. Costs nothing."""

    chat: Chat

    @property
    def dialect(self) -> str:
        return self.chat.dialect

    @property
    def model(self) -> str:
        return self.chat.model

    @property
    def provider(self) -> str | None:
        return self.chat.provider

    @property
    def options(self) -> Options:
        return self.chat.options

    @property
    def raw(self) -> bytes:
        return self.chat.raw

    @property
    def stream(self) -> bool:
        return False


@value
class Opaque:
    """What is not translated: it goes to a provider of its own dialect as it came.

    `path` is relative to the provider's base path and holds the query; `model`
    is empty where the request names none. `units` are what the request alone says
    that a good reply will cost.
    """

    dialect: str
    method: str
    path: str
    content_type: str
    model: str = ""
    provider: str | None = None
    stream: bool = False
    options: Options = NO_OPTIONS
    units: Units = NO_UNITS
    raw: bytes = field(default=b"", repr=False, compare=False)


Routed: TypeAlias = Chat | Embed | Rerank | Count | Opaque
"""what a provider answers"""
Request: TypeAlias = Routed | ListModels
"""what a dialect parses"""
