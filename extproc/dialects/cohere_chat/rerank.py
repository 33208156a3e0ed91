"""Ranking of documents: Cohere's `/v2/rerank`, and `/v1/rerank` as Cohere had it and Jina has it.

The older form takes documents as objects too, and can give them back. A body
whose documents have no `text`, or which ranks by other fields, is not read here:
`parse_rerank` gives None, and it is carried as it is.

Source: Cohere's API reference, POST /v2/rerank and /v1/rerank; Jina's reranker API.
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
from extproc.dialects.cohere_chat.embed import meta_of, metered
from extproc.dialects.cohere_chat.encoder import reply_id
from extproc.dialects.cohere_chat.errors import envelope, provider_error, reply_error
from extproc.dialects.cohere_chat.render import spliced
from extproc.dialects.cohere_chat.words import JSON_HEADERS, NAME, OPTIONS, residue
from extproc.model.call import Target
from extproc.model.chat import Extra, Json
from extproc.model.dialect import Headers, Rendered, ReplyContext, ReplyDecoder, ReplyHead
from extproc.model.embed import Rerank
from extproc.model.reply import Event, Failed, Finished, Ranked, Started, Usage, Used

Object: TypeAlias = dict[str, Json]

RERANK = "rerank"
RERANK_V1 = "rerank_v1"
_PATHS = {RERANK: "/v2/rerank", RERANK_V1: "/v1/rerank"}
_OLDER = SHAPE + "older"
"""the request came in the older form, and is answered in it"""
_DOCUMENTS = SHAPE + "documents"
"""the documents as the client wrote them, where not all are plain texts"""
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
    texts = [_text(item, f"documents[{i}]") for i, item in enumerate(items)]
    documents = tuple(text for text in texts if text is not None)
    if len(documents) != len(items) or x.get("rank_fields") not in (None, ["text"]):
        return None
    extra: Object = dict(residue(x, _KNOWN).fields)
    given_back = read.optional_bool(x.get("return_documents"), "return_documents")
    if given_back is False:
        extra[_RETURN] = True
    if operation == RERANK_V1:
        extra[_OLDER] = True
    if not all(isinstance(item, str) for item in items):
        extra[_DOCUMENTS] = items
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
        extra=Extra(NAME, extra),
        raw=body,
    )


_KNOWN = ("model", "query", "documents", "top_n", "return_documents")


def _text(item: Json, path: str) -> str | None:
    if isinstance(item, str):
        return item
    text = read.expect_object(item, path).get("text")
    return text if isinstance(text, str) else None


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
    documents: list[Json] = list(request.documents)
    written = home.get(_DOCUMENTS)
    out: Object = {
        "model": model,
        "query": request.query,
        "documents": documents if written is None else written,
    }
    if request.top_n is not None:
        out["top_n"] = request.top_n
    if request.return_documents or _RETURN in home:
        out["return_documents"] = request.return_documents
    fill(out, home)
    return out


# --- replies --------------------------------------------------------------------------------


def rerank_decoder(head: ReplyHead) -> ReplyDecoder:
    return decoding.decoder(
        head,
        decoding.Language(
            error=provider_error,
            whole=whole_ranking,
            stream=lambda: decoding.Refusing(bad("the provider streamed its ranking")),
            streams=decoding.sse_streams,
        ),
    )


def whole_ranking(body: bytes) -> Sequence[Event]:
    """The events of a good reply."""
    value = read_object(body)
    results = value.get("results")
    if not isinstance(results, list):
        raise reply_error(value)
    reply = value.get("id")
    model = value.get("model")
    events: list[Event] = [
        Started(reply if isinstance(reply, str) else "", model if isinstance(model, str) else "")
    ]
    events.extend(_ranked(item) for item in results)
    usage = value.get("usage")
    if isinstance(usage, dict):
        events.append(Used(_jinas_usage(usage)))
    events.extend(metered(value))
    events.append(Finished())
    return events


def _ranked(item: Json) -> Ranked:
    index = item.get("index") if isinstance(item, dict) else None
    score = item.get("relevance_score") if isinstance(item, dict) else None
    if isinstance(index, int) and isinstance(score, int | float) and not isinstance(score, bool):
        return Ranked(index, score)
    raise bad("the provider's ranking has an entry without index or score")


def _jinas_usage(value: Mapping[str, Json]) -> Usage:
    total = value.get("total_tokens")
    return Usage(fresh=max(0, total) if type(total) is int else 0)


class RerankEncoder:
    """Gathers the ranking; gives the body with `Finished`, in the order in which it came."""

    def __init__(self, request: Rerank, context: ReplyContext) -> None:
        self._request = request
        self._context = context
        self._older = _OLDER in request.extra.home(NAME)
        self._results: list[Json] = []
        self._usage: Usage | None = None

    def head(self) -> tuple[int, Mapping[str, str]]:
        return 200, JSON_HEADERS

    def feed(self, event: Event) -> bytes:
        match event:
            case Ranked():
                self._results.append(self._result(event))
            case Used() if not event.usage.estimated:
                self._usage = event.usage
            case Finished():
                return self._body()
            case Failed():
                return envelope(event.error, self._context.call_id)
            case _:
                pass
        return b""

    def _result(self, ranked: Ranked) -> Json:
        out: Object = {"index": ranked.index, "relevance_score": ranked.score}
        documents = self._request.documents
        if self._request.return_documents and 0 <= ranked.index < len(documents):
            out["document"] = {"text": documents[ranked.index]}
        return out

    def _body(self) -> bytes:
        out: Object = {
            "id": reply_id(self._context.call_id),
            "results": self._results,
            "meta": meta_of("1" if self._older else "2", self._usage),
        }
        if self._older:
            # What Jina's clients read.
            out["model"] = self._context.model
            if self._usage is not None:
                out["usage"] = {"total_tokens": self._usage.prompt + self._usage.output}
        return jsontext.dumps(out)
