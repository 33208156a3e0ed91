"""Ranking of documents as Jina has it, and those who speak OpenAI's language after it.

`POST /v1/rerank` to `Rerank`, and back to a body for a provider; a reply to `Ranked`
events, and events to a reply. vLLM, llama.cpp, Together and LiteLLM have this path
beside OpenAI's own, which has none. A query or a document that is a picture is not
read here: `parse_rerank` gives None, and it is carried as it is.

Source: Jina's reranker API; vLLM's and llama.cpp's pages on their servers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from extproc.codec import jsontext
from extproc.dialects import _ranking as ranking
from extproc.dialects import _reading as read
from extproc.dialects._decoding import bad, read_object
from extproc.dialects._extras import SHAPE, fill, refuse_shapes
from extproc.dialects._loss import Losses
from extproc.dialects._options import BODY_MEMBER, read_options
from extproc.dialects.openai_chat.errors import envelope, provider_error, stream_error
from extproc.dialects.openai_chat.quirks import path_of
from extproc.dialects.openai_chat.render import splice
from extproc.dialects.openai_chat.words import NAME, OPTIONS, residue
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

OPERATION = "rerank"
PATH = "/rerank"
_JSON = {"content-type": "application/json"}
_RETURN = SHAPE + "return"
"""`return_documents` was named though it is the usual true"""


# --- requests -------------------------------------------------------------------------------


def parse_rerank(headers: Headers, body: bytes) -> Rerank | None:
    """None for what has no canonical form. Raises `InvalidRequest` naming the member at fault."""
    x = read.read_object(body)
    refuse_shapes(x, body)
    for name in ("model", "query", "documents"):
        if x.get(name) in (None, "", []):
            raise read.missing(name)
    items = read.expect_list(x["documents"], "documents")
    documents = ranking.texts(items)
    if documents is None or isinstance(x["query"], dict):
        return None
    extra: Object = dict(residue(x, _KNOWN).fields)
    given_back = read.optional_bool(x.get("return_documents"), "return_documents")
    if given_back is True:
        extra[_RETURN] = True
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
        return_documents=given_back is not False,
        options=read_options(headers, x.get(BODY_MEMBER)),
        extra=Extra(NAME, extra) if extra else NOTHING,
        raw=body,
    )


_KNOWN = frozenset({"model", "query", "documents", "top_n", "return_documents"})


def render_rerank(request: Rerank, target: Target) -> Rendered:
    losses = Losses(target)
    if request.raw and request.dialect == NAME:
        body = splice(request.raw, request.extra, request.model, target.model)
    else:
        body = jsontext.dumps(_body(request, target.model, losses))
    return Rendered(path_of(target, PATH), body, _JSON, losses.names, operation=OPERATION)


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
    if request.dialect != NAME:
        # Other clients' documents are given back here, and need not travel.
        out["return_documents"] = False
    elif _RETURN in home or not request.return_documents:
        out["return_documents"] = request.return_documents
    fill(out, home)
    return out


# --- replies --------------------------------------------------------------------------------


def rerank_decoder(head: ReplyHead) -> ReplyDecoder:
    return ranking.decoder(head, provider_error, whole_ranking)


def whole_ranking(body: bytes) -> Sequence[Event]:
    """The events of a good reply."""
    value = read_object(body)
    if value.get("error") or value.get("object") == "error":
        raise stream_error(value)
    results = value.get("results")
    if not isinstance(results, list):
        raise bad("the provider's reply has no ranking")
    return ranking.events(value, results, ranking.usage_of(value))


def rerank_encoder(request: Rerank, context: ReplyContext) -> ReplyEncoder:
    def body(results: list[Json], usage: Usage | None) -> bytes:
        out: Object = {"object": "list", "model": context.model, "results": results}
        if usage is not None:
            total = usage.prompt + usage.output
            counted: Object = {"prompt_tokens": usage.prompt, "total_tokens": total}
            out["usage"] = {**counted, **dict(usage.units.told())}
        return jsontext.dumps(out)

    return ranking.Encoder(request, body, lambda error: envelope(error, context.call_id))
