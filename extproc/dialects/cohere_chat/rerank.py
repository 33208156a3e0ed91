"""Ranking of documents: Cohere's `/v2/rerank`, and its older `/v1/rerank`.

The older form takes documents as objects too, and can give them back. A body
whose documents have no `text`, or which ranks by other fields, is not read here:
`parse_rerank` gives None, and it is carried as it is.

Source: Cohere's API reference, POST /v2/rerank and /v1/rerank.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from extproc.codec import jsontext
from extproc.dialects import _ranking as ranking
from extproc.dialects import _reading as read
from extproc.dialects._decoding import read_object
from extproc.dialects._extras import SHAPE, fill, refuse_shapes
from extproc.dialects._loss import Losses
from extproc.dialects._options import BODY_MEMBER, read_options
from extproc.dialects.cohere_chat.embed import meta_of, metered
from extproc.dialects.cohere_chat.encoder import reply_id
from extproc.dialects.cohere_chat.errors import envelope, provider_error, reply_error
from extproc.dialects.cohere_chat.render import spliced
from extproc.dialects.cohere_chat.words import JSON_HEADERS, NAME, OPTIONS, residue
from extproc.model.call import Target
from extproc.model.chat import NOTHING, Extra, Json
from extproc.model.dialect import (
    Headers,
    Rendered,
    ReplyContext,
    ReplyDecoder,
    ReplyEncoder,
    ReplyHead,
)
from extproc.model.embed import Rerank
from extproc.model.reply import Event, Usage

Object: TypeAlias = dict[str, Json]

RERANK = "rerank"
RERANK_V1 = "rerank_v1"
_PATHS = {RERANK: "/v2/rerank", RERANK_V1: "/v1/rerank"}
_OLDER = SHAPE + "older"
"""the request came in the older form, and is answered in it"""
_RETURN = SHAPE + "return"
"""`return_documents` was named though it is the usual false"""


# --- requests -------------------------------------------------------------------------------


def parse_rerank(headers: Headers, body: bytes, operation: str) -> Rerank | None:
    """None for what has no canonical form. Raises `InvalidRequest` for what is broken."""
    x = read.read_object(body)
    refuse_shapes(x, body)
    for name in ("model", "query", "documents"):
        if x.get(name) in (None, "", []):
            raise read.missing(name)
    items = read.expect_list(x["documents"], "documents")
    documents = ranking.texts(items)
    if documents is None or x.get("rank_fields") not in (None, ["text"]):
        return None
    extra: Object = dict(residue(x, _KNOWN).fields)
    given_back = read.optional_bool(x.get("return_documents"), "return_documents")
    if given_back is False:
        extra[_RETURN] = True
    if operation == RERANK_V1:
        extra[_OLDER] = True
    if not all(isinstance(item, str) for item in items):
        extra[ranking.DOCUMENTS] = items
    if BODY_MEMBER in extra:
        del extra[BODY_MEMBER]
        extra[OPTIONS] = True
    return Rerank(
        dialect=NAME,
        model=read.expect_string(x["model"], "model"),
        query=read.expect_string(x["query"], "query"),
        documents=documents,
        top_n=read.optional_int(x.get("top_n"), "top_n"),
        return_documents=given_back is True,
        options=read_options(headers, x.get(BODY_MEMBER)),
        extra=Extra(NAME, extra) if extra else NOTHING,
        raw=body,
    )


_KNOWN = frozenset({"model", "query", "documents", "top_n", "return_documents"})


def render_rerank(request: Rerank, target: Target) -> Rendered:
    losses = Losses(target)
    home = request.extra.home(NAME)
    operation = RERANK_V1 if _OLDER in home else RERANK
    if request.raw and request.dialect == NAME:
        body = spliced(request.raw, request.extra, request.model, target.model)
    else:
        body = jsontext.dumps(_body(request, target.model, losses))
    return Rendered(_PATHS[operation], body, JSON_HEADERS, losses.names, operation=operation)


def _body(request: Rerank, model: str, losses: Losses) -> Object:
    home = request.extra.home(NAME)
    losses.foreign(request.extra, NAME)
    out: Object = {
        "model": model,
        "query": request.query,
        "documents": ranking.written(request, home),
    }
    if request.top_n is not None:
        out["top_n"] = request.top_n
    # For others the documents are given back here: the newer form does not know the member.
    if request.dialect == NAME and (request.return_documents or _RETURN in home):
        out["return_documents"] = request.return_documents
    fill(out, home)
    return out


# --- replies --------------------------------------------------------------------------------


def rerank_decoder(head: ReplyHead) -> ReplyDecoder:
    return ranking.decoder(head, provider_error, whole_ranking)


def whole_ranking(body: bytes) -> Sequence[Event]:
    """The events of a good reply."""
    value = read_object(body)
    results = value.get("results")
    if not isinstance(results, list):
        raise reply_error(value)
    return ranking.events(value, results, metered(value) or ranking.usage_of(value))


def rerank_encoder(request: Rerank, context: ReplyContext) -> ReplyEncoder:
    version = "1" if _OLDER in request.extra.home(NAME) else "2"

    def body(results: list[Json], usage: Usage | None) -> bytes:
        about: Object = {"id": reply_id(context.call_id), "results": results}
        return jsontext.dumps({**about, "meta": meta_of(version, usage)})

    return ranking.Encoder(request, body, lambda error: envelope(error, context.call_id))
