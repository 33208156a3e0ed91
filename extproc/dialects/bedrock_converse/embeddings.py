"""Embeddings on Bedrock: Titan's and Cohere's bodies of InvokeModel, to `Embed` and back.

Titan takes one text in a call, Cohere a list. Which of them a request is for is
told by the model's name, and for a client by the members of its body. Bodies that
want more than floating-point vectors of texts (pictures, int8) are not read here:
they are carried as they are.

Source: Amazon Bedrock user guide, Titan Text Embeddings and Cohere Embed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from extproc.codec import jsontext
from extproc.dialects import _decoding as decoding
from extproc.dialects import _reading as read
from extproc.dialects._decoding import bad, read_object
from extproc.dialects._extras import SHAPE, fill, refuse_shapes, residue
from extproc.dialects._loss import Losses
from extproc.dialects._options import BODY_MEMBER, read_options
from extproc.dialects._vectors import numbers, unpack
from extproc.dialects.bedrock_converse.errors import error_body, provider_error
from extproc.dialects.bedrock_converse.words import NAME, OPTIONS
from extproc.model.call import Target
from extproc.model.chat import Extra, Json
from extproc.model.dialect import Headers, Rendered, ReplyDecoder, ReplyHead
from extproc.model.embed import Embed
from extproc.model.fields import Field
from extproc.model.reply import Event, Failed, Finished, Started, Usage, Used, Vector

Object: TypeAlias = dict[str, Json]

TITAN = "embed-titan"
COHERE = "embed-cohere"
_KIND = SHAPE + "kind"
"""whose body the client sent"""
_JSON = {"content-type": "application/json"}
_TITAN_KNOWN = ("inputText", "dimensions")
_COHERE_KNOWN = ("texts", "input_type", "output_dimension")
_FLOATS: tuple[Json, ...] = (None, ["float"])
TOKENS_HEADER = "x-amzn-bedrock-input-token-count"


# --- requests -------------------------------------------------------------------------------


def parse_embed(headers: Headers, body: bytes, model: str) -> Embed | None:
    """None for a body that is not one of ours. Raises `InvalidRequest` for one that is broken."""
    if "embed" not in model:
        return None
    x = read.read_object(body)
    refuse_shapes(x, body)
    kind = _kind_of(x)
    if kind is None:
        return None
    titan = kind == TITAN
    if titan:
        inputs: tuple[str, ...] = (read.expect_string(x["inputText"], "inputText"),)
    else:
        texts = read.expect_list(x["texts"], "texts")
        inputs = tuple(read.expect_string(one, f"texts[{i}]") for i, one in enumerate(texts))
    rest = dict(residue(NAME, x, _TITAN_KNOWN if titan else _COHERE_KNOWN).fields)
    rest[_KIND] = kind
    if BODY_MEMBER in rest:
        del rest[BODY_MEMBER]
        rest[OPTIONS] = True
    size = "dimensions" if titan else "output_dimension"
    return Embed(
        dialect=NAME,
        model=model,
        inputs=inputs,
        dimensions=read.optional_int(x.get(size), size),
        input_type=None if titan else read.optional_string(x.get("input_type"), "input_type"),
        single=titan,
        options=read_options(headers, x.get(BODY_MEMBER)),
        extra=Extra(NAME, rest),
        raw=body,
    )


def _kind_of(x: Object) -> str | None:
    if "inputText" in x and "inputImage" not in x:
        return TITAN if x.get("embeddingTypes") in _FLOATS else None
    if "texts" in x and "images" not in x and "inputs" not in x:
        return COHERE if x.get("embedding_types") in _FLOATS else None
    return None


def render_embed(request: Embed, target: Target, path: str) -> Rendered:
    """Raises `Unsupported` for a model whose body is not known, and for several texts to Titan."""
    losses = Losses(target)
    home = request.dialect == NAME
    sent = request.extra.home(NAME).get(_KIND)
    name = target.model.lower()
    if "titan-embed" in name:
        kind = TITAN
    elif "cohere.embed" in name:
        kind = COHERE
    elif home and isinstance(sent, str):
        kind = sent
    else:
        raise losses.refusal(Field.MODEL, f"how {target.model[:64]} embeds texts is not known here")
    if home and request.raw and sent == kind:
        ours = OPTIONS in request.extra.fields
        body = jsontext.splice(request.raw, remove=(BODY_MEMBER,)) if ours else request.raw
    else:
        body = jsontext.dumps(_body(request, kind, losses))
    return Rendered(path, body, _JSON, losses.names, operation=kind)


def _body(request: Embed, kind: str, losses: Losses) -> Object:
    texts: list[Json] = []
    for one in request.inputs:
        if not isinstance(one, str):
            raise losses.refusal(Field.INPUT, "token ids are of one provider only; send the text")
        texts.append(one)
    out: Object
    if kind == TITAN:
        if len(texts) != 1:
            why = "Titan embeds one text in a call; send them one by one"
            raise losses.refusal(Field.INPUT, why)
        out = {"inputText": texts[0]}
        if request.input_type is not None:
            losses.drop(Field.INPUT_TYPE)
    else:
        out = {"texts": texts, "input_type": request.input_type or "search_document"}
    if request.dimensions is not None:
        out["dimensions" if kind == TITAN else "output_dimension"] = request.dimensions
    if request.user is not None:
        losses.drop(Field.USER)
    extra = request.extra.home(NAME)
    if extra.get(_KIND) == kind:
        if "input_type" not in extra and request.input_type is None:
            out.pop("input_type", None)
        fill(out, extra)
    else:
        # What one model knows of is as strange to the other as another language's words.
        losses.foreign(request.extra, kind)
    return out


# --- replies --------------------------------------------------------------------------------


def embed_decoder(head: ReplyHead) -> ReplyDecoder:
    return decoding.decoder(
        head,
        decoding.Language(
            error=provider_error,
            whole=lambda body: _decoded(head, body),
            stream=lambda: decoding.Refusing(bad("the provider streamed its vectors")),
            streams=lambda _head, _start: False,
        ),
    )


def _decoded(head: ReplyHead, body: bytes) -> Sequence[Event]:
    value = read_object(body)
    found: Json = value.get("embeddings")
    if isinstance(found, dict):
        found = found.get("float")
    if found is None and "embedding" in value:
        found = [value["embedding"]]
    if not isinstance(found, list):
        raise bad("the provider's reply has no vectors")
    identity = value.get("id")
    events: list[Event] = [Started(identity if isinstance(identity, str) else "", "")]
    events.extend(Vector(i, numbers(one)) for i, one in enumerate(found))
    tokens = _tokens(head, value)
    if tokens is not None:
        events.append(Used(Usage(fresh=tokens, total=tokens)))
    events.append(Finished())
    return events


def _tokens(head: ReplyHead, value: Mapping[str, Json]) -> int | None:
    counted = value.get("inputTextTokenCount")
    if isinstance(counted, int) and not isinstance(counted, bool) and counted >= 0:
        return counted
    return tokens_of(head)


def tokens_of(head: ReplyHead) -> int | None:
    """The tokens of the input, as Bedrock's own head counts them."""
    text = head.headers.get(TOKENS_HEADER, "")
    return int(text) if text.isdecimal() and len(text) < 18 else None


class EmbedEncoder:
    """Gathers the vectors; gives the body with `Finished`, in the order of the inputs."""

    def __init__(self, request: Embed) -> None:
        self._request = request
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
                return error_body(event.error)
            case _:
                pass
        return b""

    def _body(self) -> bytes:
        vectors: list[Json] = [
            list(unpack(one)) for one in sorted(self._vectors, key=lambda one: one.index)
        ]
        home = self._request.extra.home(NAME)
        out: Object
        if home.get(_KIND) == TITAN:
            out = {"embedding": vectors[0] if vectors else []}
            if "embeddingTypes" in home:
                out["embeddingsByType"] = {"float": out["embedding"]}
            if self._usage is not None:
                out["inputTextTokenCount"] = self._usage.prompt
        else:
            texts: list[Json] = [one for one in self._request.inputs if isinstance(one, str)]
            out = {
                "embeddings": {"float": vectors} if "embedding_types" in home else vectors,
                "response_type": "embeddings_by_type"
                if "embedding_types" in home
                else "embeddings_floats",
                "texts": texts,
            }
        return jsontext.dumps(out)
