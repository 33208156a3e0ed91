"""Anthropic's Messages API as the provider's side of the wire, also on Bedrock and on Vertex.

Takes a request, gives a whole reply, all events of a stream, or (InvokeModel) all
frames of an AWS event stream, in the shapes of the API reference. Plays messages,
count_tokens and, in small, batches. As strict as `anthropic_rules` says;
`choices.py` decides what is said. The model `missing-model` does not exist. Headers
are not seen, so neither credential nor version is checked, and model lists are
OpenAI's.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Iterator, Mapping
from typing import TypeAlias, cast
from urllib.parse import unquote
from zlib import crc32

import orjson

from extproc.mock import writer
from extproc.mock.answer import IDENT, Answer, Asked
from extproc.mock.faults import Faults
from extproc.mock.speakers import choices as talk
from extproc.mock.speakers.anthropic_rules import (
    SIGNATURE,
    blocks_of,
    inner,
    objects,
    thinks,
    wrong,
)

Fields: TypeAlias = Mapping[str, object]

_ABSENT = "missing-model"
_JSON = "application/json"
_SSE = "text/event-stream; charset=utf-8"
_FRAMES = "application/vnd.amazon.eventstream"
_ID = "msg_" + IDENT.decode()
_HEADERS = (("request-id", "req_" + IDENT.decode()),)
_INVOKE = re.compile(r"/model/([^/]*(?:anthropic|claude)[^/]*)/(invoke(?:-with-response-stream)?)$")
_VERTEX = re.compile(r"/publishers/anthropic/models/([^/]+):(rawPredict|streamRawPredict)$")
_COUNT = "count-tokens"
_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_STOPS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


class AnthropicMessages:
    """Speaker of `.../v1/messages` and below, and of the paths of Bedrock and Vertex for Claude."""

    name = "anthropic_messages"

    def claims(self, path: str) -> bool:
        """By the path's end, so that any base path will do."""
        plain = path.endswith(("/v1/messages", "/v1/messages/count_tokens"))
        return plain or "/v1/messages/batches" in path or _variant_of(path)[0] != ""

    def answer(self, asked: Asked) -> Answer:
        """The reply, or Anthropic's refusal."""
        path = asked.path.partition("?")[0]
        if "/v1/messages/batches" in path:
            return self._batches(asked, path)
        if asked.method != "POST":
            return self.error(405, f"Method {asked.method} not allowed.")
        try:
            request: object = orjson.loads(asked.body)
        except orjson.JSONDecodeError as broken:
            return self.error(400, f"The request body is not valid JSON: {broken}")
        if not isinstance(request, dict):
            return self.error(400, "The request body must be a JSON object.")
        fields = cast("Fields", request)
        variant, model, stream = _variant_of(path)
        count = path.endswith("/count_tokens") or model == _COUNT
        if not variant or model == _COUNT:
            name = fields.get("model")
            if not isinstance(name, str) or not name:
                return self.error(400, "model: Field required")
            model = name
        model = model.partition(";")[0]
        if model == _ABSENT:
            return self.error(404, f"model: {model}")
        found = wrong(fields, variant, count=count)
        if found is not None:
            return self.error(400, found)
        if count:
            return _json({"input_tokens": _tokens(fields)})
        said = _Said(fields, model, asked.faults)
        if variant == "bedrock" and stream:
            return Answer(200, _FRAMES, events=tuple(map(_framed, said.events())))
        if stream if variant else fields.get("stream") is True:
            events = tuple(_event(event) for event in said.events())
            return Answer(200, _SSE, events=events, headers=_HEADERS)
        return _json(said.whole())

    def error(self, status: int, message: str) -> Answer:
        """Anthropic's envelope with the type it uses for this status."""
        kind = _KINDS.get(status, "api_error" if status >= 500 else _KINDS[400])
        error = {"type": kind, "message": message}
        body = {"type": "error", "error": error, "request_id": _HEADERS[0][1]}
        return Answer(status, _JSON, orjson.dumps(body), headers=_HEADERS)

    def error_event(self) -> bytes:
        """The event that ends a running stream."""
        return _event(
            {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
        )

    def _batches(self, asked: Asked, path: str) -> Answer:
        batch = {
            "id": "msgbatch_mock",
            "type": "message_batch",
            "processing_status": "in_progress",
            "request_counts": {"processing": 1, "succeeded": 0, "errored": 0},
            "created_at": "2026-01-01T00:00:00Z",
        }
        if asked.method == "GET" and path.endswith("/batches"):
            return _json({"data": [batch], "has_more": False, "first_id": None, "last_id": None})
        if path.endswith(("/batches", "/msgbatch_mock", "/cancel")):
            return _json(batch)
        return self.error(404, "Not found")


def invoked(path: str) -> bool:
    """Whether this is a path of Bedrock's."""
    return _INVOKE.search(path) is not None


def _variant_of(path: str) -> tuple[str, str, bool]:
    """Variant, model and whether to stream, as a path says it; all empty for Anthropic's own."""
    if found := _INVOKE.search(path):
        return "bedrock", unquote(found[1]), found[2] != "invoke"
    if found := _VERTEX.search(path):
        return "vertex", unquote(found[1]), found[2] == "streamRawPredict"
    return "", "", False


def _json(value: object) -> Answer:
    return Answer(200, _JSON, orjson.dumps(value), headers=_HEADERS)


def _event(value: Fields) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (str(value["type"]).encode(), orjson.dumps(value))


def _framed(value: Fields) -> bytes:
    """One frame of an AWS event stream, as InvokeModel sends it."""
    pairs = (
        (":event-type", "chunk"),
        (":content-type", _JSON),
        (":message-type", "event"),
    )
    headers = b"".join(
        struct.pack(">B", len(key))
        + key.encode()
        + b"\x07"
        + struct.pack(">H", len(text))
        + text.encode()
        for key, text in pairs
    )
    data = base64.b64encode(orjson.dumps(value)).decode()
    payload = orjson.dumps({"bytes": data, "p": "abcdefgh"[: len(data) % 8]})
    lengths = struct.pack(">II", len(headers) + len(payload) + 16, len(headers))
    start = lengths + struct.pack(">I", crc32(lengths)) + headers + payload
    return start + struct.pack(">I", crc32(start))


# --- what was asked -------------------------------------------------------------------------


def _text_of(content: object) -> str:
    texts: list[str] = []
    for block in blocks_of(content):
        if block.get("type") == "tool_result":
            texts.append(_text_of(block.get("content")))
        elif isinstance(block.get("text"), str):
            texts.append(str(block["text"]))
    return " ".join(texts)


def _messages(fields: Fields) -> list[Fields]:
    """The conversation as `choices` reads it."""
    out: list[Fields] = []
    if fields.get("system"):
        out.append({"role": "system", "content": _text_of(fields["system"])})
    for message in objects(fields.get("messages")):
        content = message.get("content")
        answered = any(block.get("type") == "tool_result" for block in blocks_of(content))
        role = "tool" if answered else message.get("role")
        out.append({"role": role, "content": _text_of(content)})
    return out


def _tokens(fields: Fields) -> int:
    messages = _messages(fields)
    return sum(writer.count(str(one["content"])) for one in messages) + 3 * len(messages)


def _asked(fields: Fields) -> dict[str, object]:
    """The settings as `choices` reads them."""
    out: dict[str, object] = {"max_tokens": fields["max_tokens"]}
    tools = [tool for tool in objects(fields.get("tools")) if "input_schema" in tool]
    if tools:
        out["tools"] = [
            {"function": {"name": tool["name"], "parameters": tool["input_schema"]}}
            for tool in tools
        ]
    choice = inner(fields, "tool_choice")
    match choice.get("type"):
        case "any":
            out["tool_choice"] = "required"
        case "tool":
            out["tool_choice"] = {"function": {"name": choice.get("name")}}
        case "none":
            out["tool_choice"] = "none"
        case _:
            pass
    if choice.get("disable_parallel_tool_use") is True:
        out["parallel_tool_calls"] = False
    form = inner(inner(fields, "output_config"), "format") or inner(fields, "output_format")
    if form:
        wanted = {"schema": form.get("schema")}
        out["response_format"] = {"type": "json_schema", "json_schema": wanted}
    return out


# --- what is said ---------------------------------------------------------------------------


class _Said:
    """One answer, in both forms."""

    def __init__(self, fields: Fields, model: str, faults: Faults) -> None:
        self._model = model
        self._faults = faults
        messages, asked = _messages(fields), _asked(fields)
        stops = [str(word) for word in cast("list[object]", fields.get("stop_sequences", []))]
        plain = talk.answer(asked, messages, faults).choices[0]
        said = talk.answer({**asked, "stop": stops}, messages, faults)
        self._choice = choice = said.choices[0]
        self._stop, self._hit = _STOPS[choice.finish], None
        if choice.refused:
            self._stop = "refusal"
        elif choice != plain:
            text = "".join(plain.pieces)
            self._stop = "stop_sequence"
            self._hit = min((s for s in stops if s in text), key=text.index, default=None)
        self._thoughts = talk.thoughts({"reasoning_effort": "high"}) if thinks(fields) else ()
        self._shown = inner(fields, "thinking").get("display") != "omitted"
        given, made = faults.usage or (
            said.prompt_tokens,
            said.completion_tokens + len(self._thoughts),
        )
        self._given, self._made = given, made

    def whole(self) -> dict[str, object]:
        content: list[object] = []
        for block, deltas in self._blocks():
            whole = dict(block)
            for delta in deltas:
                match delta:
                    case {"text": str(text)}:
                        whole["text"] = str(whole["text"]) + text
                    case {"thinking": str(text)}:
                        whole["thinking"] = str(whole["thinking"]) + text
                    case {"signature": str(text)}:
                        whole["signature"] = text
                    case _:
                        pass
            content.append(whole)
        for use, arguments in self._calls():
            content.append({**use, "input": orjson.loads(arguments)})
        reply = {**self._message(), "content": content, **self._end()}
        if not self._faults.no_usage:
            reply["usage"] = {**self._input(), **self._output()}
        return reply

    def events(self) -> Iterator[Fields]:
        message = {**self._message(), "content": [], "stop_reason": None, "stop_sequence": None}
        if not self._faults.no_usage:
            message["usage"] = {**self._input(), "output_tokens": 1}
        yield {"type": "message_start", "message": message}
        index = 0
        for block, deltas in self._blocks():
            yield {"type": "content_block_start", "index": index, "content_block": block}
            if index == 0:
                yield {"type": "ping"}
            for delta in deltas:
                yield {"type": "content_block_delta", "index": index, "delta": delta}
            yield {"type": "content_block_stop", "index": index}
            index += 1
        for use, arguments in self._calls():
            yield {"type": "content_block_start", "index": index, "content_block": use}
            for piece in ("", *talk.slices(arguments, self._faults.events)):
                delta = {"type": "input_json_delta", "partial_json": piece}
                yield {"type": "content_block_delta", "index": index, "delta": delta}
            yield {"type": "content_block_stop", "index": index}
            index += 1
        ended: dict[str, object] = {"type": "message_delta", "delta": self._end()}
        if not self._faults.no_usage:
            ended["usage"] = self._output()
        yield ended
        yield {"type": "message_stop"}

    def _message(self) -> dict[str, object]:
        return {"id": _ID, "type": "message", "role": "assistant", "model": self._model}

    def _end(self) -> dict[str, object]:
        refused = {"type": "refusal", "category": None, "explanation": None}
        return {
            "stop_reason": self._stop,
            "stop_sequence": self._hit,
            "stop_details": refused if self._stop == "refusal" else None,
        }

    def _input(self) -> dict[str, object]:
        return {
            "input_tokens": self._given,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "service_tier": "standard",
        }

    def _output(self) -> dict[str, object]:
        out: dict[str, object] = {"output_tokens": self._made}
        if self._thoughts:
            out["output_tokens_details"] = {"thinking_tokens": len(self._thoughts)}
        return out

    def _calls(self) -> Iterator[tuple[dict[str, object], str]]:
        for at, call in enumerate(self._choice.calls):
            use = {"type": "tool_use", "id": f"toolu_mock{at:02d}", "name": call.name, "input": {}}
            yield use, call.arguments

    def _blocks(self) -> Iterator[tuple[Fields, Iterator[Fields]]]:
        """Thinking and text, each as it begins and its deltas."""
        if self._thoughts:
            yield {"type": "thinking", "thinking": "", "signature": ""}, self._thinking()
        if self._choice.pieces:
            groups = talk.grouped(self._choice.pieces, self._faults.events)
            said = ({"type": "text_delta", "text": "".join(group)} for group in groups)
            yield {"type": "text", "text": ""}, said

    def _thinking(self) -> Iterator[Fields]:
        for piece in self._thoughts if self._shown else ():
            yield {"type": "thinking_delta", "thinking": piece}
        yield {"type": "signature_delta", "signature": SIGNATURE}


SPEAKER = AnthropicMessages()
