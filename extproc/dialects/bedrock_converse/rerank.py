"""Ranking on Bedrock: the bodies of InvokeModel that Amazon's and Cohere's models take.

They are alike, but for the version of its API that Cohere's wants. Which body is one
is told by the model's name and the members. Only texts are read here: a body whose
documents are anything else is carried as it is.

Source: Amazon Bedrock user guide, reranker models; Cohere's page on Bedrock.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from extproc.codec import jsontext
from extproc.dialects import _ranking as ranking
from extproc.dialects import _reading as read
from extproc.dialects._decoding import bad, read_object
from extproc.dialects._extras import fill, refuse_shapes, residue
from extproc.dialects._loss import Losses
from extproc.dialects._options import BODY_MEMBER, read_options
from extproc.dialects.bedrock_converse.embeddings import tokens_of
from extproc.dialects.bedrock_converse.errors import error_body, provider_error
from extproc.dialects.bedrock_converse.words import NAME, OPTIONS
from extproc.model.call import Target
from extproc.model.chat import NOTHING, Extra, Json
from extproc.model.dialect import Headers, Rendered, ReplyDecoder, ReplyEncoder, ReplyHead
from extproc.model.embed import Rerank
from extproc.model.fields import Field
from extproc.model.reply import Event, Usage

Object: TypeAlias = dict[str, Json]

OPERATION = "rerank"
_JSON = {"content-type": "application/json"}
_KNOWN = frozenset({"query", "documents", "top_n"})
_VERSION = 2
"""of Cohere's API"""


def parse_rerank(headers: Headers, body: bytes, model: str) -> Rerank | None:
    """None for a body that is not one of ours. Raises `InvalidRequest` for one that is broken."""
    if "rerank" not in model:
        return None
    x = read.read_object(body)
    refuse_shapes(x, body)
    query, items = x.get("query"), x.get("documents")
    if not isinstance(query, str) or not isinstance(items, list):
        return None
    documents = tuple(item for item in items if isinstance(item, str))
    if len(documents) != len(items):
        return None
    extra: Object = dict(residue(NAME, x, _KNOWN).fields)
    if BODY_MEMBER in extra:
        del extra[BODY_MEMBER]
        extra[OPTIONS] = True
    return Rerank(
        dialect=NAME,
        model=model,
        query=query,
        documents=documents,
        top_n=read.optional_int(x.get("top_n"), "top_n"),
        options=read_options(headers, x.get(BODY_MEMBER)),
        extra=Extra(NAME, extra) if extra else NOTHING,
        raw=body,
    )


def render_rerank(request: Rerank, target: Target, path: str) -> Rendered:
    """Raises `Unsupported` for a model that ranks nothing, as far as its name tells."""
    losses = Losses(target)
    home = request.dialect == NAME
    if home and request.raw:
        ours = OPTIONS in request.extra.fields
        body = jsontext.splice(request.raw, remove=(BODY_MEMBER,)) if ours else request.raw
    elif home or "rerank" in target.model.lower():
        body = jsontext.dumps(_body(request, target.model, losses))
    else:
        raise losses.refusal(Field.MODEL, f"{target.model[:64]} is not known to rank documents")
    return Rendered(path, body, _JSON, losses.names, operation=OPERATION)


def _body(request: Rerank, model: str, losses: Losses) -> Object:
    losses.foreign(request.extra, NAME)
    out: Object = {"query": request.query, "documents": list(request.documents)}
    if request.top_n is not None:
        out["top_n"] = request.top_n
    if request.dialect == NAME:
        fill(out, request.extra.fields)
    elif "cohere." in model.lower():
        out["api_version"] = _VERSION
    return out


def rerank_decoder(head: ReplyHead) -> ReplyDecoder:
    return ranking.decoder(head, provider_error, lambda body: _decoded(head, body))


def _decoded(head: ReplyHead, body: bytes) -> Sequence[Event]:
    value = read_object(body)
    results = value.get("results")
    if not isinstance(results, list):
        raise bad("the provider's reply has no ranking")
    return ranking.events(value, results, ranking.usage_of(value, tokens_of(head)))


def rerank_encoder(request: Rerank) -> ReplyEncoder:
    def body(results: list[Json], usage: Usage | None) -> bytes:
        del usage
        return jsontext.dumps({"results": results})

    return ranking.Encoder(request, body, error_body)
