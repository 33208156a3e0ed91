"""Ranking of documents, of which all languages that have it say nearly the same.

Takes the fields of a request or a reply; gives texts, `Ranked` events, tokens, and
an encoder that gathers a ranking. It knows no language: what differs is passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from extproc.dialects import _decoding as decoding
from extproc.dialects import _reading as read
from extproc.dialects._decoding import bad
from extproc.dialects._extras import SHAPE
from extproc.dialects._reading import count
from extproc.model.chat import Json
from extproc.model.dialect import Headers, ReplyDecoder, ReplyHead
from extproc.model.embed import Rerank
from extproc.model.errors import GatewayError
from extproc.model.reply import (
    NO_UNITS,
    Event,
    Failed,
    Finished,
    Ranked,
    Started,
    Units,
    Usage,
    Used,
)

DOCUMENTS = SHAPE + "documents"
"""the documents as the client wrote them, where not all are plain texts"""
_JSON = {"content-type": "application/json"}


# --- requests -------------------------------------------------------------------------------


def texts(items: Sequence[Json]) -> tuple[str, ...] | None:
    """What is ranked of each document. None where one is a picture, or has no text."""
    found = [_text(item, f"documents[{i}]") for i, item in enumerate(items)]
    known = tuple(text for text in found if text is not None)
    return known if len(known) == len(found) else None


def _text(item: Json, path: str) -> str | None:
    if isinstance(item, str):
        return item
    document = read.expect_object(item, path)
    text = document.get("text")
    return text if isinstance(text, str) and not document.get("image") else None


def written(request: Rerank, home: Mapping[str, Json]) -> list[Json]:
    """The documents for a body: as they came, at `home`."""
    found = home.get(DOCUMENTS)
    return found if isinstance(found, list) else list(request.documents)


# --- replies --------------------------------------------------------------------------------


def decoder(
    head: ReplyHead,
    error: Callable[[int, Headers, bytes], GatewayError],
    whole: Callable[[bytes], Sequence[Event]],
) -> ReplyDecoder:
    return decoding.decoder(
        head,
        decoding.Language(
            error=error,
            whole=whole,
            stream=lambda: decoding.Refusing(bad("the provider streamed its ranking")),
            streams=decoding.sse_streams,
        ),
    )


def events(
    value: Mapping[str, Json], results: Sequence[Json], usage: Usage | None
) -> Sequence[Event]:
    """A whole ranking. Raises `UpstreamBad` for an entry without index or score."""
    reply, model = value.get("id"), value.get("model")
    found: list[Event] = [
        Started(reply if isinstance(reply, str) else "", model if isinstance(model, str) else "")
    ]
    found.extend(map(_ranked, results))
    if usage is not None:
        found.append(Used(usage))
    found.append(Finished())
    return found


def _ranked(item: Json) -> Ranked:
    index = item.get("index") if isinstance(item, dict) else None
    score = item.get("relevance_score") if isinstance(item, dict) else None
    if type(index) is int and isinstance(score, int | float) and not isinstance(score, bool):
        return Ranked(index, score)
    raise bad("the provider's ranking has an entry without index or score")


def usage_of(value: Mapping[str, Json], tokens: int | None = None) -> Usage | None:
    """What was read, and the searches that are billed, wherever a host counts them.

    In `usage` as Jina does, in `meta` as Cohere does, or in its head (`tokens`).
    """
    usage, meta = _object(value, "usage"), _object(value, "meta")
    for found, name in (
        (usage, "total_tokens"),
        (usage, "prompt_tokens"),
        (_object(meta, "tokens"), "input_tokens"),
    ):
        if tokens is None and found.get(name) is not None:
            tokens = count(found[name])
    searches = count(_object(meta, "billed_units").get("search_units"))
    if tokens is None and not searches:
        return None
    return Usage(fresh=tokens or 0, units=Units(search_units=searches) if searches else NO_UNITS)


def _object(value: Mapping[str, Json], name: str) -> Mapping[str, Json]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


class Encoder:
    """Gathers the ranking; gives the body with `Finished`, in the order in which it came."""

    def __init__(
        self,
        request: Rerank,
        body: Callable[[list[Json], Usage | None], bytes],
        error: Callable[[GatewayError], bytes],
    ) -> None:
        """`body` writes the reply from its results, `error` the body of an error."""
        self._documents = _given_back(request) if request.return_documents else ()
        self._write = body
        self._error = error
        self._results: list[Json] = []
        self._usage: Usage | None = None

    def head(self) -> tuple[int, Mapping[str, str]]:
        return 200, _JSON

    def feed(self, event: Event) -> bytes:
        match event:
            case Ranked():
                self._results.append(self._result(event))
            case Used() if not event.usage.estimated:
                self._usage = event.usage
            case Finished():
                return self._write(self._results, self._usage)
            case Failed():
                return self._error(event.error)
            case _:
                pass
        return b""

    def _result(self, ranked: Ranked) -> Json:
        out: dict[str, Json] = {"index": ranked.index, "relevance_score": ranked.score}
        if 0 <= ranked.index < len(self._documents):
            out["document"] = self._documents[ranked.index]
        return out


def _given_back(request: Rerank) -> list[Json]:
    """Each document as an object: the client's own, if it sent one."""
    own = written(request, request.extra.fields)
    return [one if isinstance(one, dict) else {"text": one} for one in own]
