"""Bedrock Runtime as the provider's side of the wire: converse, converse-stream, count-tokens, invoke.

Takes a request, gives a whole reply or all frames of an AWS event stream, in the
shapes of the service model. As strict as `bedrock_rules` says; `choices.py` decides
what is said. Of InvokeModel only embeddings (Titan, Cohere) and rankings (Amazon, Cohere) are played.
Checks no signature. The model `missing-model` does not exist.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias, cast
from urllib.parse import unquote
from zlib import crc32

import orjson

from extproc.mock import writer
from extproc.mock.answer import IDENT, Answer, Asked
from extproc.mock.faults import Faults
from extproc.mock.speakers import choices as talk
from extproc.mock.speakers.bedrock_rules import SIGNATURE, inner, objects, thinks, wrong
from extproc.mock.speakers.ranking import ranked, tokens

Fields: TypeAlias = Mapping[str, object]

_OPERATIONS = (
    "/converse",
    "/converse-stream",
    "/count-tokens",
    "/invoke",
    "/invoke-with-response-stream",
)
_ABSENT = "missing-model"
_JSON = "application/json"
_STREAM = "application/vnd.amazon.eventstream"
_LATENCY = 7
_SIZE = 8
_NAMES = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    402: "ServiceQuotaExceededException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}
_STOPS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


class BedrockConverse:
    """Speaker of `/model/{id}/{operation}`."""

    name = "bedrock_converse"

    def claims(self, path: str) -> bool:
        """By prefix and end, so that any base path will do."""
        return "/model/" in path and path.endswith(_OPERATIONS)

    def answer(self, asked: Asked) -> Answer:
        """The reply, or Bedrock's refusal."""
        path = asked.path.partition("?")[0]
        name, _, operation = path.partition("/model/")[2].rpartition("/")
        model = unquote(name).partition(";")[0]
        if asked.method != "POST":
            return self.error(405, "Method not allowed.")
        try:
            request: object = orjson.loads(asked.body)
        except orjson.JSONDecodeError:
            request = None
        if not isinstance(request, dict):
            return self.error(400, "The body of the request is not a JSON object.")
        fields = cast("Fields", request)
        if model == _ABSENT:
            return self.error(400, "The provided model identifier is invalid.")
        if operation.startswith("invoke"):
            return self._invoke(model, fields)
        if operation == "count-tokens":
            given = inner(inner(fields, "input"), "converse")
            found = wrong(given) if given else "The input must be converse here."
            return self.error(400, found) if found else _json({"inputTokens": _tokens(given)})
        found = wrong(fields)
        if found is not None:
            return self.error(400, found)
        said = _Said(fields, asked.faults)
        if operation == "converse":
            return _json(said.whole())
        return Answer(200, _STREAM, events=tuple(said.events()), headers=_HEADERS)

    def error(self, status: int, message: str) -> Answer:
        """`{"message"}`, and the error's type in a header."""
        name = _NAMES.get(status, "InternalServerException" if status >= 500 else _NAMES[400])
        headers = (*_HEADERS, ("x-amzn-errortype", f"{name}:http://internal.amazon.com/coral/"))
        return Answer(status, _JSON, orjson.dumps({"message": message}), headers=headers)

    def error_event(self) -> bytes:
        """An exception in place of an event."""
        value = {"message": "The model failed while it was answering.", "originalStatusCode": 500}
        return _frame(":exception-type", "modelStreamErrorException", value, "exception")

    def _invoke(self, model: str, fields: Fields) -> Answer:
        if "titan-embed" in model and isinstance(fields.get("inputText"), str):
            text = str(fields["inputText"])
            size = fields.get("dimensions", _SIZE)
            vector = _vector(text, size if isinstance(size, int) else _SIZE)
            counted = max(1, writer.count(text))
            return _counted({"embedding": vector, "inputTextTokenCount": counted}, counted)
        if "rerank" in model:
            return self._rank(model, fields)
        texts = fields.get("texts")
        if "cohere.embed" not in model or not isinstance(texts, list):
            return self.error(400, "Malformed input request, please reformat your input.")
        if not isinstance(fields.get("input_type"), str):
            return self.error(
                400, "Malformed input request: #: required key [input_type] not found"
            )
        size = fields.get("output_dimension", _SIZE)
        said = [str(one) for one in cast("list[object]", texts)]
        vectors = [_vector(one, size if isinstance(size, int) else _SIZE) for one in said]
        reply = {"id": "mock", "embeddings": vectors, "response_type": "embeddings_floats"}
        return _counted({**reply, "texts": said}, sum(map(writer.count, said)))

    def _rank(self, model: str, fields: Fields) -> Answer:
        query, documents = fields.get("query"), fields.get("documents")
        if not isinstance(query, str) or not isinstance(documents, list):
            return self.error(400, "Malformed input request, please reformat your input.")
        if ("cohere." in model) != ("api_version" in fields):
            return self.error(400, "Malformed input request: #: key [api_version]")
        given = cast("list[object]", documents)
        results = ranked(query, given, fields.get("top_n"))
        return _counted({"results": results}, tokens(query, given))


_HEADERS = (("x-amzn-requestid", IDENT.decode()),)


def _json(value: object) -> Answer:
    return Answer(200, _JSON, orjson.dumps(value), headers=_HEADERS)


def _counted(value: object, tokens: int) -> Answer:
    header = ("x-amzn-bedrock-input-token-count", str(tokens))
    return Answer(200, _JSON, orjson.dumps(value), headers=(*_HEADERS, header))


def _vector(text: str, size: int) -> list[float]:
    seed = crc32(text.encode("utf-8", "surrogatepass"))
    return [((seed >> at % 24) & 255) / 256 for at in range(min(size, 4096))]


def _frame(kind: str, name: str, value: object, message_type: str = "event") -> bytes:
    """One frame of an event stream."""
    pairs = ((kind, name), (":content-type", _JSON), (":message-type", message_type))
    headers = b"".join(
        struct.pack(">B", len(key))
        + key.encode()
        + b"\x07"
        + struct.pack(">H", len(text))
        + text.encode()
        for key, text in pairs
    )
    payload = orjson.dumps(value)
    lengths = struct.pack(">II", len(headers) + len(payload) + 16, len(headers))
    start = lengths + struct.pack(">I", crc32(lengths)) + headers + payload
    return start + struct.pack(">I", crc32(start))


def _event(name: str, value: Fields) -> bytes:
    # Bedrock pads every event, by a length of chance: here by that of its name.
    return _frame(":event-type", name, {**value, "p": "abcdefghijklmnopqrstuvwxyz"[: len(name)]})


def _text_of(blocks: Sequence[Fields]) -> str:
    texts: list[str] = []
    for block in blocks:
        if isinstance(block.get("text"), str):
            texts.append(str(block["text"]))
        texts.extend(
            str(one.get("text", one.get("json", "")))
            for one in objects(inner(block, "toolResult").get("content"))
        )
    return " ".join(texts)


def _messages(fields: Fields) -> list[Fields]:
    """The conversation as `choices` reads it."""
    out: list[Fields] = []
    system = objects(fields.get("system"))
    if system:
        out.append({"role": "system", "content": _text_of(system)})
    for message in objects(fields.get("messages")):
        blocks = objects(message.get("content"))
        answered = any("toolResult" in block for block in blocks)
        role = "tool" if answered else message.get("role")
        out.append({"role": role, "content": _text_of(blocks)})
    return out


def _tokens(fields: Fields) -> int:
    messages = _messages(fields)
    return sum(writer.count(str(one["content"])) for one in messages) + 3 * len(messages)


def _asked(fields: Fields) -> dict[str, object]:
    """The settings as `choices` reads them."""
    config, tools = inner(fields, "inferenceConfig"), inner(fields, "toolConfig")
    out: dict[str, object] = {}
    specs = [inner(tool, "toolSpec") for tool in objects(tools.get("tools")) if "toolSpec" in tool]
    if specs:
        out["tools"] = [
            {"function": {"name": s["name"], "parameters": inner(s, "inputSchema").get("json")}}
            for s in specs
        ]
    choice = inner(tools, "toolChoice")
    if "any" in choice:
        out["tool_choice"] = "required"
    elif "tool" in choice:
        out["tool_choice"] = {"function": {"name": inner(choice, "tool").get("name")}}
    if config.get("maxTokens") is not None:
        out["max_tokens"] = config["maxTokens"]
    form = inner(inner(fields, "outputConfig"), "textFormat")
    schema = inner(inner(form, "structure"), "jsonSchema").get("schema")
    if isinstance(schema, str):
        wanted = {"schema": orjson.loads(schema)}
        out["response_format"] = {"type": "json_schema", "json_schema": wanted}
    return out


class _Said:
    """One answer, in both forms."""

    def __init__(self, fields: Fields, faults: Faults) -> None:
        self._faults = faults
        messages, asked = _messages(fields), _asked(fields)
        stops = inner(fields, "inferenceConfig").get("stopSequences")
        plain = talk.answer(asked, messages, faults)
        said = talk.answer({**asked, "stop": stops}, messages, faults) if stops else plain
        choice = said.choices[0]
        self._choice = choice
        self._stop = "content_filtered" if choice.refused else _STOPS[choice.finish]
        if self._stop == "end_turn" and choice != plain.choices[0]:
            self._stop = "stop_sequence"
        self._thoughts = talk.thoughts({"reasoning_effort": "high"}) if thinks(fields) else ()
        given, made = faults.usage or (
            said.prompt_tokens,
            said.completion_tokens + len(self._thoughts),
        )
        self._usage = {
            "inputTokens": given,
            "outputTokens": made,
            "totalTokens": given + made,
            "cacheReadInputTokens": 0,
            "cacheWriteInputTokens": 0,
        }

    def _beside(self) -> dict[str, object]:
        told: dict[str, object] = {} if self._faults.no_usage else {"usage": self._usage}
        return {**told, "metrics": {"latencyMs": _LATENCY}}

    def _calls(self) -> Iterator[tuple[dict[str, object], str]]:
        for at, call in enumerate(self._choice.calls):
            yield {"toolUseId": f"tooluse_mock{at:02d}", "name": call.name}, call.arguments

    def whole(self) -> dict[str, object]:
        content: list[object] = []
        if self._thoughts:
            thought = {"text": "".join(self._thoughts), "signature": SIGNATURE}
            content.append({"reasoningContent": {"reasoningText": thought}})
        if self._choice.pieces:
            content.append({"text": "".join(self._choice.pieces)})
        for use, arguments in self._calls():
            content.append({"toolUse": {**use, "input": orjson.loads(arguments)}})
        message = {"role": "assistant", "content": content}
        return {"output": {"message": message}, "stopReason": self._stop, **self._beside()}

    def events(self) -> Iterator[bytes]:
        yield _event("messageStart", {"role": "assistant"})
        for index, (start, deltas) in enumerate(self._blocks()):
            if start is not None:
                yield _event("contentBlockStart", {"start": start, "contentBlockIndex": index})
            for delta in deltas:
                yield _event("contentBlockDelta", {"delta": delta, "contentBlockIndex": index})
            yield _event("contentBlockStop", {"contentBlockIndex": index})
        yield _event("messageStop", {"stopReason": self._stop})
        yield _event("metadata", self._beside())

    def _blocks(self) -> Iterator[tuple[Fields | None, Iterator[Fields]]]:
        if self._thoughts:
            yield None, self._thinking()
        if self._choice.pieces:
            groups = talk.grouped(self._choice.pieces, self._faults.events)
            yield None, ({"text": "".join(group)} for group in groups)
        for use, arguments in self._calls():
            pieces = talk.slices(arguments, self._faults.events)
            yield {"toolUse": use}, ({"toolUse": {"input": piece}} for piece in pieces)

    def _thinking(self) -> Iterator[Fields]:
        for piece in self._thoughts:
            yield {"reasoningContent": {"text": piece}}
        yield {"reasoningContent": {"signature": SIGNATURE}}


SPEAKER = BedrockConverse()
