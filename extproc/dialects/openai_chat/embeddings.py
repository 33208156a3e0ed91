"""OpenAI embeddings: texts or token ids to vectors.

`POST /v1/embeddings` to `Embed`, and back to a body for a provider; a reply to
`Vector` events, and events to a reply. A vector is a list of numbers or base64
of little-endian float32, and is made the other one where the client wants it.

Source: OpenAI's API reference, POST /v1/embeddings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias, cast

from extproc.codec import jsontext
from extproc.dialects import _decoding as decoding
from extproc.dialects import _reading as read
from extproc.dialects._decoding import bad
from extproc.dialects._extras import SHAPE, fill, refuse_shapes
from extproc.dialects._loss import Losses
from extproc.dialects._options import BODY_MEMBER, read_options
from extproc.dialects._vectors import numbers, pack, unpack
from extproc.dialects.openai_chat.errors import envelope, provider_error, stream_error
from extproc.dialects.openai_chat.quirks import path_of
from extproc.dialects.openai_chat.render import splice
from extproc.dialects.openai_chat.words import NAME, OPTIONS, read_usage, residue
from extproc.model.call import Target
from extproc.model.chat import NOTHING, Extra, Json
from extproc.model.dialect import Headers, Rendered, ReplyContext, ReplyDecoder, ReplyHead
from extproc.model.embed import Embed
from extproc.model.errors import InvalidRequest
from extproc.model.fields import Field
from extproc.model.reply import Event, Failed, Finished, Started, Usage, Used, Vector

Object: TypeAlias = dict[str, Json]
Input: TypeAlias = str | tuple[int, ...]

OPERATION = "embed"
_PATH = "/embeddings"
_JSON = {"content-type": "application/json"}
_ENCODING = SHAPE + "encoding"
"""the encoding was named though it is the usual one"""
_PURPOSES = {"document": "search_document", "query": "search_query"}
"""what Voyage calls them, and NVIDIA and vLLM after it"""
_WORDS = {purpose: word for word, purpose in _PURPOSES.items()}


# --- requests -------------------------------------------------------------------------------


def parse_embed(headers: Headers, body: bytes) -> Embed:
    """The request in `body`, with `raw` set to it. Raises `InvalidRequest` naming the member at fault."""
    x = read.read_object(body)
    refuse_shapes(x, body)
    for name in ("model", "input"):
        if x.get(name) is None:
            raise read.missing(name)
    inputs, single = _inputs(x["input"])
    rest = dict(residue(x, _KNOWN).fields)
    if BODY_MEMBER in rest:
        del rest[BODY_MEMBER]
        rest[OPTIONS] = True
    encoding = read.optional_string(x.get("encoding_format"), "encoding_format")
    if encoding == "float":
        rest[_ENCODING] = True
    elif encoding not in (None, "base64"):
        rest["encoding_format"] = encoding
    purpose = read.optional_string(x.get("input_type"), "input_type")
    if purpose is not None and purpose not in _PURPOSES:
        rest["input_type"] = purpose
    return Embed(
        dialect=NAME,
        model=read.expect_string(x["model"], "model"),
        inputs=inputs,
        dimensions=read.optional_int(x.get("dimensions"), "dimensions"),
        encoding="base64" if encoding == "base64" else "float",
        input_type=_PURPOSES.get(purpose or ""),
        single=single,
        user=read.optional_string(x.get("user"), "user"),
        options=read_options(headers, x.get(BODY_MEMBER)),
        extra=Extra(NAME, rest) if rest else NOTHING,
        raw=body,
    )


_KNOWN = frozenset({"model", "input", "dimensions", "encoding_format", "input_type", "user"})


def _inputs(value: Json) -> tuple[tuple[Input, ...], bool]:
    """The inputs, and whether there was one that was in no list."""
    if isinstance(value, str):
        return (value,), True
    items = read.expect_list(value, "input")
    if not items:
        raise InvalidRequest("input must not be empty", param="input", code="empty_array")
    if _is_token(items[0]):
        return (_tokens(items, "input"),), True
    return tuple(_input(item, f"input[{i}]") for i, item in enumerate(items)), False


def _input(item: Json, path: str) -> Input:
    if isinstance(item, str):
        return item
    if isinstance(item, list):
        return _tokens(item, path)
    raise read.type_error(item, path, "a string or an array of token ids")


def _tokens(items: list[Json], path: str) -> tuple[int, ...]:
    for i, item in enumerate(items):
        if not _is_token(item):
            raise read.type_error(item, f"{path}[{i}]", "a token id")
    return tuple(cast("list[int]", items))


def _is_token(item: Json) -> bool:
    return isinstance(item, int) and not isinstance(item, bool)


def render_embed(request: Embed, target: Target) -> Rendered:
    """The request for `target`. Token ids of another dialect raise `Unsupported`."""
    losses = Losses(target)
    if request.dialect == NAME and request.raw:
        body = splice(request.raw, request.extra, request.model, target.model)
    else:
        body = jsontext.dumps(_body(request, target.model, losses))
    return Rendered(
        path=path_of(target, _PATH),
        body=body,
        headers=_JSON,
        dropped=losses.names,
        operation=OPERATION,
    )


def _body(request: Embed, model: str, losses: Losses) -> Object:
    home = request.dialect == NAME
    extra = request.extra.home(NAME)
    losses.foreign(request.extra, NAME)
    if not home and any(not isinstance(item, str) for item in request.inputs):
        raise losses.refusal(Field.INPUT, "token ids are of one provider only; send the text")
    inputs: list[Json] = [item if isinstance(item, str) else list(item) for item in request.inputs]
    out: Object = {"model": model, "input": inputs[0] if request.single else inputs}
    if request.dimensions is not None:
        out["dimensions"] = request.dimensions
    if request.encoding != "float" or _ENCODING in extra:
        out["encoding_format"] = request.encoding
    if request.input_type is not None:
        if home and request.input_type in _WORDS:
            out["input_type"] = _WORDS[request.input_type]
        else:
            losses.drop(Field.INPUT_TYPE)
    if request.user is not None:
        out["user"] = request.user
    fill(out, extra)
    return out


# --- replies --------------------------------------------------------------------------------


def embed_decoder(head: ReplyHead) -> ReplyDecoder:
    return decoding.decoder(
        head,
        decoding.Language(
            error=provider_error,
            whole=decode_embed,
            stream=lambda: decoding.Refusing(bad("the provider streamed its vectors")),
            streams=decoding.sse_streams,
        ),
    )


def decode_embed(body: bytes) -> Sequence[Event]:
    """The events of a reply with vectors. Raises `Unreadable`, or the error it holds."""
    value = decoding.read_object(body)
    data = value.get("data")
    if value.get("error") or value.get("object") == "error":
        raise stream_error(value)
    if not isinstance(data, list):
        raise bad("the provider's reply has no vectors")
    events: list[Event] = [_started(value)]
    events.extend(_vector(item, i) for i, item in enumerate(data))
    usage = value.get("usage")
    if isinstance(usage, dict):
        events.append(Used(_usage(usage)))
    events.append(Finished())
    return events


def _started(value: Mapping[str, Json]) -> Started:
    reply_id, model = value.get("id"), value.get("model")
    created = value.get("created")
    return Started(
        id=reply_id if isinstance(reply_id, str) else "",
        model=model if isinstance(model, str) else "",
        created=created if isinstance(created, int) else None,
    )


def _vector(item: Json, position: int) -> Vector:
    index = item.get("index") if isinstance(item, dict) else None
    found = item.get("embedding") if isinstance(item, dict) else None
    if not isinstance(index, int):
        index = position
    if isinstance(found, str):
        return Vector(index, packed=found)
    return Vector(index, numbers(found))


def _usage(value: Mapping[str, Json]) -> Usage:
    """Some count the total only."""
    if value.get("prompt_tokens") is None:
        value = {**value, "prompt_tokens": value.get("total_tokens")}
    return read_usage(value)


class EmbedEncoder:
    """Gathers the vectors; gives the body with `Finished`, in the order of the inputs."""

    def __init__(self, request: Embed, context: ReplyContext) -> None:
        self._request = request
        self._context = context
        self._vectors: list[Vector] = []
        self._usage: Usage | None = None

    def head(self) -> tuple[int, Mapping[str, str]]:
        return 200, _JSON

    def feed(self, event: Event) -> bytes:
        match event:
            case Vector():
                self._vectors.append(event)
            case Used() if not event.usage.estimated:
                self._usage = event.usage
            case Finished():
                return self._body()
            case Failed():
                return envelope(event.error, self._context.call_id)
            case _:
                pass
        return b""

    def _body(self) -> bytes:
        packed = self._request.encoding == "base64"
        data: list[Json] = [
            {
                "object": "embedding",
                "index": one.index,
                "embedding": pack(one) if packed else list(unpack(one)),
            }
            for one in sorted(self._vectors, key=_index)
        ]
        out: Object = {"object": "list", "data": data, "model": self._context.model}
        if self._usage is not None:
            out["usage"] = {
                "prompt_tokens": self._usage.prompt,
                "total_tokens": self._usage.prompt + self._usage.output,
            }
        return jsontext.dumps(out)


def _index(one: Vector) -> int:
    return one.index
