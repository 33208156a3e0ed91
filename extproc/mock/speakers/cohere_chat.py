"""Cohere as the provider's side of the wire: chat, embed and rerank of API v2.

Takes a request, gives a whole reply or all events of a stream, in the shapes of
Cohere's API reference. As strict as `cohere_rules` says; `choices.py` decides what
is said. With tools it says a plan, with documents it cites the first. The model
`missing-model` does not exist. The older `/v1/rerank` is a path that others have too:
who asks for a model `rerank-*` there is answered here.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias, cast
from zlib import crc32

import orjson

from extproc.mock import writer
from extproc.mock.answer import IDENT, Answer, Asked
from extproc.mock.faults import Faults
from extproc.mock.speakers import choices as talk
from extproc.mock.speakers.cohere_rules import objects, wrong, wrong_embed, wrong_rerank
from extproc.mock.speakers.ranking import ranked, text

Fields: TypeAlias = Mapping[str, object]

_CHAT, _EMBED = "/v2/chat", "/v2/embed"
_RERANK = "/v2/rerank"
_ABSENT = "missing-model"
_ID = IDENT.decode()
_THOUGHT = ("Let", " me", " think", " about", " that", ".")
_PLAN = ("I", " will", " use", " the", " tools", ".")
_SIZE = 8
_FINISH = {"stop": "COMPLETE", "length": "MAX_TOKENS", "tool_calls": "TOOL_CALL"}
_DONE = b"data: [DONE]\n\n"


class CohereChat:
    """Speaker of `.../v2/chat` and its neighbours."""

    name = "cohere_chat"

    def claims(self, path: str) -> bool:
        """By the path's end, so that any base path will do."""
        return path.endswith((_CHAT, _EMBED, _RERANK))

    def answer(self, asked: Asked) -> Answer:
        """The reply, or Cohere's refusal."""
        path = asked.path.partition("?")[0]
        if asked.method != "POST":
            return self.error(405, "method not allowed")
        try:
            request: object = orjson.loads(asked.body)
        except orjson.JSONDecodeError:
            request = None
        if not isinstance(request, dict):
            return self.error(400, "invalid request: request body is not valid json")
        fields = cast("Fields", request)
        if path.endswith(_CHAT):
            check, reply = wrong, _chat
        elif path.endswith(_EMBED):
            check, reply = wrong_embed, _embed
        else:
            check, reply = wrong_rerank, _rerank
        found = check(fields)
        if found is not None:
            return self.error(400, found)
        model = str(fields["model"]).partition(";")[0]
        if model == _ABSENT:
            return self.error(404, f"model '{model}' not found, make sure the correct ID was used")
        return reply(fields, asked.faults)

    def error(self, status: int, message: str) -> Answer:
        """Cohere's envelope, the same for all."""
        body = orjson.dumps({"id": _ID, "message": message})
        return Answer(status, "application/json", body)

    def error_event(self) -> bytes:
        """An end that says why."""
        said = {"finish_reason": "ERROR", "error": "the model failed while it was answering"}
        return _event("message-end", delta=said)


def _json(value: object) -> Answer:
    return Answer(200, "application/json", orjson.dumps(value))


# --- chat -----------------------------------------------------------------------------------


def _chat(fields: Fields, faults: Faults) -> Answer:
    messages = objects(fields.get("messages"))
    asked: dict[str, object] = {
        "tools": fields.get("tools"),
        "tool_choice": {"REQUIRED": "required", "NONE": "none"}.get(
            str(fields.get("tool_choice")), "auto"
        ),
        "stop": fields.get("stop_sequences"),
        "max_tokens": fields.get("max_tokens"),
        "response_format": _form(fields.get("response_format")),
        "logprobs": fields.get("logprobs"),
    }
    said = talk.answer(asked, messages, faults)
    reply = _Reply(fields, said, faults)
    if fields.get("stream") is True:
        return Answer(200, "text/event-stream", events=tuple(reply.events()))
    return _json(reply.whole())


def _form(value: object) -> object:
    match value:
        case {"type": "json_object", "json_schema": dict() as schema}:
            return {"type": "json_schema", "json_schema": {"schema": schema}}
        case other:
            return other


class _Reply:
    """One answer, whole or as events."""

    def __init__(self, fields: Fields, said: talk.Said, faults: Faults) -> None:
        (choice,) = said.choices
        match fields.get("thinking"):
            case {"type": "enabled"}:
                self._thought, self._plan = _THOUGHT, ()
            case _:
                self._thought, self._plan = (), _PLAN if choice.calls else ()
        self._choice = choice
        self._stops = bool(fields.get("stop_sequences"))
        self._faults = faults
        self._documents = fields.get("documents")
        spoken = said.completion_tokens + len(self._thought) + len(self._plan)
        self._counted = faults.usage or (said.prompt_tokens, spoken)

    def whole(self) -> object:
        choice = self._choice
        content: list[object] = []
        if self._thought:
            content.append({"type": "thinking", "thinking": "".join(self._thought)})
        if choice.pieces:
            content.append({"type": "text", "text": "".join(choice.pieces)})
        message: dict[str, object] = {"role": "assistant"}
        if content:
            message["content"] = content
        if self._plan:
            message["tool_plan"] = "".join(self._plan)
        if choice.calls:
            message["tool_calls"] = [_call(c, i, c.arguments) for i, c in enumerate(choice.calls)]
        cited = self._citation()
        if cited is not None:
            message["citations"] = [cited]
        out: dict[str, object] = {"id": _ID, "message": message, **self._end()}
        if choice.logprobs:
            out["logprobs"] = [_probable(piece) for piece in choice.pieces]
        return out

    def events(self) -> Iterator[bytes]:
        empty = {
            "role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": [],
        }  # fmt: skip
        yield _event("message-start", id=_ID, delta={"message": empty})
        index = 0
        if self._thought:
            yield from _block(0, "thinking", [[piece] for piece in self._thought])
            index = 1
        for piece in self._plan:
            yield _event("tool-plan-delta", delta=_message("tool_plan", piece))
        for at, call in enumerate(self._choice.calls):
            yield _event("tool-call-start", at, delta=_message("tool_calls", _call(call, at, "")))
            for piece in talk.slices(call.arguments, self._faults.events):
                more = {"function": {"arguments": piece}}
                yield _event("tool-call-delta", at, delta=_message("tool_calls", more))
            yield _event("tool-call-end", at)
        if self._choice.pieces:
            groups = talk.grouped(self._choice.pieces, self._faults.events)
            yield from _block(index, "text", groups, logprobs=self._choice.logprobs)
        cited = self._citation()
        if cited is not None:
            yield _event("citation-start", 0, delta=_message("citations", cited))
            yield _event("citation-end", 0)
        yield _event("message-end", delta=self._end()) + _DONE

    def _citation(self) -> object:
        """Of the first words, if there is a document to cite."""
        if not isinstance(self._documents, list) or not self._documents or not self._choice.pieces:
            return None
        first = cast("list[object]", self._documents)[0]
        source = {"type": "document", "id": "doc:0", "document": {"id": "doc:0"}}
        if isinstance(first, dict):
            source["document"] = {"id": "doc:0", **cast("dict[str, dict[str, str]]", first)["data"]}
        text = self._choice.pieces[0]
        return {
            "start": 0,
            "end": len(text),
            "text": text,
            "sources": [source],
            "content_index": 0,
            "type": "TEXT_CONTENT",
        }

    def _end(self) -> dict[str, object]:
        finish = _FINISH[self._choice.finish]
        if finish == "COMPLETE" and self._stops:
            finish = "STOP_SEQUENCE"
        out: dict[str, object] = {"finish_reason": finish}
        if not self._faults.no_usage:
            given, made = (float(count) for count in self._counted)
            counted = {"input_tokens": given, "output_tokens": made}
            out["usage"] = {"billed_units": counted, "tokens": counted, "cached_tokens": 0.0}
        return out


def _block(
    index: int, kind: str, groups: Iterator[Sequence[str]] | list[list[str]], logprobs: bool = False
) -> Iterator[bytes]:
    yield _event("content-start", index, delta=_message("content", {"type": kind, kind: ""}))
    for group in groups:
        text = "".join(group)
        more = {"logprobs": _probable(text)} if logprobs else {}
        yield _event("content-delta", index, delta=_message("content", {kind: text}), **more)
    yield _event("content-end", index)


def _call(call: talk.ToolCall, at: int, arguments: str) -> object:
    ident = f"{call.name}_{crc32(f'{call.arguments}{at}'.encode()):08x}"
    function = {"name": call.name, "arguments": arguments}
    return {"id": ident, "type": "function", "function": function}


def _probable(text: str) -> object:
    return {"text": text, "token_ids": [len(text)], "logprobs": [-0.125]}


def _message(name: str, value: object) -> dict[str, object]:
    return {"message": {name: value}}


def _event(kind: str, index: int | None = None, **more: object) -> bytes:
    value = {"type": kind, **({} if index is None else {"index": index}), **more}
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps(value))


# --- vectors and rankings -------------------------------------------------------------------


def _embed(fields: Fields, faults: Faults) -> Answer:
    texts = [str(text) for text in cast("list[object]", fields.get("texts") or [])]
    size = fields.get("output_dimension")
    kinds = cast("list[str]", fields.get("embedding_types") or ["float"])
    vectors = [_vector(text, size if isinstance(size, int) else _SIZE) for text in texts]
    made: dict[str, object] = {}
    for kind in kinds:
        made[kind] = vectors if kind == "float" else [_packed(kind, vector) for vector in vectors]
    meta: dict[str, object] = {"api_version": {"version": "2"}}
    if not faults.no_usage:
        counted = faults.usage[0] if faults.usage else sum(map(writer.count, texts))
        meta["billed_units"] = {"input_tokens": float(counted)}
    return _json(
        {
            "id": _ID,
            "texts": texts,
            "embeddings": made,
            "meta": meta,
            "response_type": "embeddings_by_type",
        }
    )


def _packed(kind: str, vector: list[float]) -> object:
    if kind == "base64":
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    return [int(number * 127) for number in vector]


def _vector(text: str, size: int) -> list[float]:
    """Numbers that depend on the text alone; exact as 32-bit floats."""
    data = text.encode("utf-8", "surrogatepass")
    return [(crc32(data, at) % 2048 - 1024) / 1024 for at in range(size)]


def _rerank(fields: Fields, faults: Faults) -> Answer:
    documents = cast("list[object]", fields["documents"])
    results = ranked(fields["query"], documents, fields.get("top_n"))
    if fields.get("return_documents") is True:
        for one in results:
            one["document"] = {"text": text(documents[cast(int, one["index"])])}
    meta: dict[str, object] = {"api_version": {"version": "2"}}
    if not faults.no_usage:
        meta["billed_units"] = {"search_units": 1}
    return _json({"id": _ID, "results": results, "meta": meta})


SPEAKER = CohereChat()
