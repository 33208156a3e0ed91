"""Cohere embeddings: the body of `/v2/embed` to `Embed` and back; vectors both ways.

Only vectors of numbers (or base64 of float32) of texts have a canonical form. A
body that wants pictures, mixed inputs or other kinds of vectors is not read here:
`parse_embed` gives None, and it is carried as it is.

Source: Cohere's API reference, POST /v2/embed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from extproc.codec import jsontext
from extproc.dialects import _decoding as decoding
from extproc.dialects import _reading as read
from extproc.dialects._decoding import bad, read_object
from extproc.dialects._extras import SHAPE, fill, refuse_shapes
from extproc.dialects._loss import Losses
from extproc.dialects._options import BODY_MEMBER, read_options
from extproc.dialects._vectors import numbers, pack, unpack
from extproc.dialects.cohere_chat.encoder import reply_id
from extproc.dialects.cohere_chat.errors import envelope, provider_error, reply_error
from extproc.dialects.cohere_chat.render import spliced
from extproc.dialects.cohere_chat.words import JSON_HEADERS, NAME, OPTIONS, read_usage, residue
from extproc.model.call import Target
from extproc.model.chat import NOTHING, Extra, Json
from extproc.model.dialect import Headers, Rendered, ReplyContext, ReplyDecoder, ReplyHead
from extproc.model.embed import Embed
from extproc.model.fields import Field
from extproc.model.reply import Event, Failed, Finished, Started, Usage, Used, Vector

Object: TypeAlias = dict[str, Json]

PATH = "/v2/embed"
EMBED = "embed"
_KNOWN = ("model", "texts", "input_type", "output_dimension")
_TYPES = SHAPE + "types"
"""the usual kind of vector was named"""
_KINDS: tuple[Json, ...] = (None, ["float"], ["base64"])
_PURPOSES = (None, "search_document", "search_query", "classification", "clustering")


# --- requests -------------------------------------------------------------------------------


def parse_embed(headers: Headers, body: bytes) -> Embed | None:
    """None for what has no canonical form. Raises `InvalidRequest` for what is broken."""
    x = read.read_object(body)
    refuse_shapes(x, body)
    kinds, purpose = x.get("embedding_types"), x.get("input_type")
    if x.get("images") or x.get("inputs") or kinds not in _KINDS or purpose not in _PURPOSES:
        return None
    for name in ("model", "texts"):
        if x.get(name) in (None, "", []):
            raise read.missing(name)
    texts = read.expect_list(x["texts"], "texts")
    extra: Object = dict(residue(x, _KNOWN).fields)
    if kinds is not None:
        del extra["embedding_types"]
        extra[_TYPES] = True
    if BODY_MEMBER in extra:
        del extra[BODY_MEMBER]
        extra[OPTIONS] = True
    return Embed(
        dialect=NAME,
        model=read.expect_string(x["model"], "model"),
        inputs=tuple(read.expect_string(text, f"texts[{i}]") for i, text in enumerate(texts)),
        dimensions=read.optional_int(x.get("output_dimension"), "output_dimension"),
        encoding="base64" if kinds == ["base64"] else "float",
        input_type=read.optional_string(purpose, "input_type"),
        options=read_options(headers, x.get(BODY_MEMBER)),
        extra=Extra(NAME, extra) if extra else NOTHING,
        raw=body,
    )


def render_embed(request: Embed, target: Target) -> Rendered:
    """Raises `Unsupported` for token ids."""
    losses = Losses(target)
    if request.raw and request.dialect == NAME:
        body = spliced(request.raw, request.extra, request.model, target.model)
    else:
        body = jsontext.dumps(_body(request, target.model, losses))
    return Rendered(PATH, body, JSON_HEADERS, losses.names, operation=EMBED)


def _body(request: Embed, model: str, losses: Losses) -> Object:
    at_home = request.dialect == NAME
    home = request.extra.home(NAME)
    losses.foreign(request.extra, NAME)
    texts: list[Json] = []
    for item in request.inputs:
        if not isinstance(item, str):
            raise losses.refusal(Field.INPUT, "token ids mean nothing to another model")
        texts.append(item)
    out: Object = {"model": model, "texts": texts}
    if request.input_type is not None or not at_home:
        out["input_type"] = request.input_type or "search_document"
    if request.dimensions is not None:
        out["output_dimension"] = request.dimensions
    if not at_home:
        # A text that is too long is an error elsewhere, and is not cut short in silence here.
        out.update({"embedding_types": ["float"], "truncate": "NONE"})
    elif _TYPES in home:
        out["embedding_types"] = [request.encoding]
    if request.user is not None:
        losses.drop(Field.USER)
    fill(out, home)
    return out


# --- replies --------------------------------------------------------------------------------


def embed_decoder(head: ReplyHead) -> ReplyDecoder:
    return decoding.decoder(
        head,
        decoding.Language(
            error=provider_error,
            whole=whole_vectors,
            stream=lambda: decoding.Refusing(bad("the provider streamed its vectors")),
            streams=decoding.sse_streams,
        ),
    )


def whole_vectors(body: bytes) -> Sequence[Event]:
    """The events of a good reply; without `embedding_types`, `embeddings` is the list itself."""
    value = read_object(body)
    found = value.get("embeddings")
    if found is None:
        raise reply_error(value)
    if isinstance(found, dict):
        found = found.get("float") or found.get("base64")
    if not isinstance(found, list):
        raise bad("the provider's reply has no vectors")
    reply = value.get("id")
    events: list[Event] = [Started(reply if isinstance(reply, str) else "", "")]
    events.extend(_vector(item, i) for i, item in enumerate(found))
    usage = metered(value)
    if usage is not None:
        events.append(Used(usage))
    events.append(Finished())
    return events


def metered(value: Mapping[str, Json]) -> Usage | None:
    """The usage that `meta` tells."""
    meta = value.get("meta")
    if not isinstance(meta, dict) or not isinstance(meta.get("billed_units"), dict):
        return None
    return read_usage({k: v for k, v in meta.items() if k in _METERED})


_METERED = ("billed_units", "tokens", "cached_tokens")


def _vector(item: Json, index: int) -> Vector:
    if isinstance(item, str):
        return Vector(index, packed=item)
    return Vector(index, numbers(item))


class EmbedEncoder:
    """Gathers the vectors; gives the body with `Finished`, in the order of the texts."""

    def __init__(self, request: Embed, context: ReplyContext) -> None:
        self._request = request
        self._context = context
        self._vectors: dict[int, Vector] = {}
        self._usage: Usage | None = None

    def head(self) -> tuple[int, Mapping[str, str]]:
        return 200, JSON_HEADERS

    def feed(self, event: Event) -> bytes:
        match event:
            case Vector():
                self._vectors[event.index] = event
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
        vectors: list[Json] = [
            pack(one) if packed else list(unpack(one)) for _, one in sorted(self._vectors.items())
        ]
        out: Object = {
            "id": reply_id(self._context.call_id),
            "embeddings": {self._request.encoding: vectors},
            "texts": [text for text in self._request.inputs if isinstance(text, str)],
            "meta": meta_of("2", self._usage),
            "response_type": "embeddings_by_type",
        }
        return jsontext.dumps(out)


def meta_of(version: str, usage: Usage | None) -> Json:
    """`meta` of a reply: what was billed, as Cohere said it, else the tokens that were read."""
    meta: Object = {"api_version": {"version": version}}
    if usage is not None:
        home = usage.extra.home(NAME)
        searches = usage.units.search_units
        units: Object = {"search_units": searches} if searches else {"input_tokens": usage.prompt}
        meta["billed_units"] = home.get("billed_units", units)
    return meta
