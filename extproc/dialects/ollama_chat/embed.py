"""Ollama embeddings: `/api/embed` and the older `/api/embeddings`, both ways.

The newer takes one text or several and gives `embeddings`, the older one
`prompt` and gives one `embedding`. Vectors are numbers here, never base64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from extproc.codec import jsontext
from extproc.dialects import _reading as read
from extproc.dialects._decoding import read_object
from extproc.dialects._extras import SHAPE, fill, refuse_shapes
from extproc.dialects._loss import Losses
from extproc.dialects._options import BODY_MEMBER, read_options
from extproc.dialects._vectors import numbers, unpack
from extproc.dialects.ollama_chat.errors import envelope, line_error
from extproc.dialects.ollama_chat.render import HEADERS, spliced
from extproc.dialects.ollama_chat.words import (
    EMBED_PATH,
    EMBEDDINGS_PATH,
    NAME,
    ONE_PROMPT,
    OPTIONS,
    read_usage,
)
from extproc.model.call import Target
from extproc.model.chat import NOTHING, Extra, Json
from extproc.model.dialect import Headers, Rendered, ReplyContext
from extproc.model.embed import Embed
from extproc.model.fields import Field
from extproc.model.reply import Event, Failed, Finished, Started, Usage, Used, Vector

Object: TypeAlias = dict[str, Json]

_ABSENT = SHAPE + "absent"
"""no text at all: the model is only loaded"""


def is_embedding(path: str) -> bool:
    return path in (EMBED_PATH, EMBEDDINGS_PATH)


def parse_embed(headers: Headers, body: bytes, *, one_prompt: bool = False) -> Embed:
    """A body of `/api/embed`, or with `one_prompt` of `/api/embeddings`. Raises `InvalidRequest`."""
    x = read.read_object(body)
    refuse_shapes(x, body)
    model = read.expect_string(x["model"], "model") if "model" in x else ""
    if not model:
        raise read.missing("model")
    field = "prompt" if one_prompt else "input"
    known = frozenset({"model", field, *(() if one_prompt else ("dimensions",))})
    extra: Object = {name: v for name, v in x.items() if name not in known or v is None}
    if BODY_MEMBER in extra:
        del extra[BODY_MEMBER]
        extra[OPTIONS] = True
    if one_prompt:
        extra[ONE_PROMPT] = True
    if field not in x:
        extra[_ABSENT] = True
    inputs, single = _inputs(x.get(field), field)
    return Embed(
        dialect=NAME,
        model=model,
        inputs=inputs,
        dimensions=read.optional_int(x.get("dimensions"), "dimensions") if not one_prompt else None,
        single=single,
        options=read_options(headers, x.get(BODY_MEMBER)),
        extra=Extra(NAME, extra) if extra else NOTHING,
        raw=body,
    )


def _inputs(value: Json, field: str) -> tuple[tuple[str, ...], bool]:
    """The texts. None at all is a request to load the model."""
    if value is None:
        return (), False
    if isinstance(value, list) and field == "input":
        return tuple(read.expect_string(t, f"{field}[{i}]") for i, t in enumerate(value)), False
    if not isinstance(value, str):
        raise read.type_error(value, field, "a string or an array of strings")
    return (value,), True


def render_embed(request: Embed, target: Target) -> Rendered:
    """Raises `Unsupported` for token ids, and for no text at all away from home."""
    home = request.extra.home(NAME)
    path = EMBEDDINGS_PATH if ONE_PROMPT in home else EMBED_PATH
    if request.raw and request.dialect == NAME:
        body = spliced(request.raw, request.model, target.model, OPTIONS in home)
        return Rendered(path, body, HEADERS)
    losses = Losses(target)
    texts: list[Json] = []
    for item in request.inputs:
        if not isinstance(item, str):
            raise losses.refusal(Field.INPUT, "token ids mean nothing to another model")
        texts.append(item)
    out: Object = {"model": target.model}
    if texts or not (_ABSENT in home or "input" in home):
        value = texts[0] if request.single and texts else texts
        if ONE_PROMPT not in home:
            out["input"] = value
        elif texts:
            out["prompt"] = texts[0]
    if request.dimensions is not None:
        out["dimensions"] = request.dimensions
    if request.input_type is not None:
        losses.drop(Field.INPUT_TYPE)
    if request.user is not None:
        losses.drop(Field.USER)
    if request.dialect != NAME:
        out["truncate"] = False
    losses.foreign(request.extra, NAME)
    fill(out, home)
    return Rendered(path, jsontext.dumps(out), HEADERS, losses.names)


def whole_vectors(body: bytes) -> Sequence[Event]:
    """The events of a good reply of either path."""
    value = read_object(body)
    if value.get("error"):
        raise line_error(value)
    found = value.get("embeddings")
    if found is None:
        one = value.get("embedding")
        found = [] if one == [] else [one]
    model = value.get("model")
    events: list[Event] = [Started("", model if isinstance(model, str) else "")]
    for index, vector in enumerate(found if isinstance(found, list) else [None]):
        events.append(Vector(index, numbers(vector)))
    usage = read_usage(value)
    if usage is not None:
        events.append(Used(usage))
    events.append(Finished())
    return events


class EmbedEncoder:
    """Gathers vectors in their order; `feed` gives the body with `Finished`."""

    def __init__(self, request: Embed, context: ReplyContext) -> None:
        self._one = ONE_PROMPT in request.extra.home(NAME)
        self._context = context
        self._vectors: dict[int, list[Json]] = {}
        self._usage: Usage | None = None

    def head(self) -> tuple[int, Mapping[str, str]]:
        return 200, {"content-type": "application/json; charset=utf-8"}

    def feed(self, event: Event) -> bytes:
        match event:
            case Vector():
                self._vectors[event.index] = list(unpack(event))
            case Used():
                self._usage = event.usage
            case Finished():
                return self._body()
            case Failed():
                return envelope(event.error)
            case _:
                pass
        return b""

    def _body(self) -> bytes:
        vectors: list[Json] = [self._vectors[index] for index in sorted(self._vectors)]
        if self._one:
            return jsontext.dumps({"embedding": vectors[0] if vectors else []})
        out: Object = {"model": self._context.model, "embeddings": vectors}
        if self._context.clock is not None:
            spent = self._context.clock.monotonic() - self._context.started
            out["total_duration"] = max(0, round(spent * 1e9))
        if self._usage is not None and not self._usage.estimated:
            out["prompt_eval_count"] = self._usage.prompt
        return jsontext.dumps(out)
