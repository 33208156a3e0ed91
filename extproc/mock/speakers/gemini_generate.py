"""Google's Gemini API and Vertex AI as the provider's side of the wire.

Takes a request, gives a whole reply, all events of a stream, or (without
`alt=sse`) one JSON array in pieces. Plays generateContent, streamGenerateContent,
countTokens, embedContent, batchEmbedContents, predict for embeddings, and model
lists. As strict as `gemini_rules` says; `choices.py` decides what is said. Models
from the third generation on sign their calls. The model `missing-model` does not
exist. Checks no credential.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import cast
from urllib.parse import parse_qs, unquote
from zlib import crc32

import orjson

from extproc.mock import writer
from extproc.mock.answer import IDENT, Answer, Asked
from extproc.mock.faults import Faults
from extproc.mock.speakers import choices as talk
from extproc.mock.speakers.gemini_rules import (
    SIGNATURE,
    Fields,
    declared,
    inner,
    is_gen_3,
    objects,
    wrong,
)

_MODELS = ("gemini-2.5-flash", "gemini-2.5-pro", "gemini-3-flash-preview", "gemini-embedding-001")
_ABSENT = "missing-model"
_JSON = "application/json; charset=UTF-8"
_METHOD = re.compile(
    r"/models/([^/]+):(generateContent|streamGenerateContent|countTokens|embedContent"
    r"|batchEmbedContents|predict)$"
)
_LIST = re.compile(r"/v1(?:beta)?/models(?:/([^/:]+))?$")
_SIZE = 8
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_FINISH = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP"}
_THEIRS = frozenset(
    {
        "args",
        "response",
        "parameters",
        "parametersJsonSchema",
        "responseSchema",
        "responseJsonSchema",
        "labels",
    }
)


class Gemini:
    """Speaker of `.../models/{model}:{method}` and of `/v1beta/models`."""

    name = "gemini_generate"

    def claims(self, path: str) -> bool:
        """Methods of models under any base; lists only under Google's version, OpenAI has them too."""
        return _METHOD.search(path) is not None or path.startswith("/v1beta/models")

    def answer(self, asked: Asked) -> Answer:
        """The reply, or Google's refusal."""
        path, _, query = asked.path.partition("?")
        found = _METHOD.search(path)
        if found is None:
            return self._models(path)
        model, verb = unquote(found[1]).partition(";")[0], found[2]
        if asked.method != "POST":
            return self.error(404, "Requested entity was not found.")
        try:
            request: object = orjson.loads(asked.body)
        except orjson.JSONDecodeError as bad:
            return self.error(400, f"Invalid JSON payload received. {bad}")
        if not isinstance(request, dict):
            return self.error(400, "Invalid JSON payload received. Expected an object.")
        if model == _ABSENT:
            return self.error(
                404, f"models/{model} is not found for API version v1beta, or is not supported"
            )
        if verb == "predict":
            return self._predict(cast("Fields", request))
        fields = cast("Fields", _camel(request))
        match verb:
            case "generateContent" | "streamGenerateContent":
                return self._generate(model, verb, query, fields, asked.faults)
            case "countTokens":
                return self._count(model, fields)
            case "embedContent":
                return self._embed([fields], many=False)
            case _:
                return self._embed(objects(fields.get("requests")), many=True)

    def error(self, status: int, message: str) -> Answer:
        """Google's envelope with the status word of this status."""
        word = _STATUSES.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
        error: dict[str, object] = {"code": status, "message": message, "status": word}
        if status == 429:
            kind = "type.googleapis.com/google.rpc.RetryInfo"
            error["details"] = [{"@type": kind, "retryDelay": "7s"}]
        return Answer(status, _JSON, orjson.dumps({"error": error}))

    def error_event(self) -> bytes:
        """Bare lines without `data:`, as Google sends them."""
        error = {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}
        return orjson.dumps({"error": error}, option=orjson.OPT_INDENT_2) + b"\r\n\r\n"

    def _models(self, path: str) -> Answer:
        found = _LIST.search(path)
        if found is None:
            return self.error(404, "Requested entity was not found.")
        cards = [
            {
                "name": f"models/{name}",
                "version": "001",
                "displayName": name,
                "inputTokenLimit": 1048576,
                "outputTokenLimit": 65536,
                "supportedGenerationMethods": ["generateContent", "countTokens"],
            }
            for name in _MODELS
        ]
        if found[1] is None:
            return _json({"models": cards})
        for card in cards:
            if card["name"] == f"models/{unquote(found[1])}":
                return _json(card)
        return self.error(404, f"models/{found[1]} is not found.")

    def _generate(
        self, model: str, verb: str, query: str, fields: Fields, faults: Faults
    ) -> Answer:
        refused = wrong(model, fields)
        if refused is not None:
            return self.error(400, refused)
        said = _Said(model, fields, faults)
        if verb == "generateContent":
            return _json(said.whole())
        chunks = [orjson.dumps(chunk) for chunk in said.chunks()]
        if parse_qs(query).get("alt") == ["sse"]:
            events = tuple(b"data: " + chunk + b"\r\n\r\n" for chunk in chunks)
            return Answer(200, "text/event-stream", events=events)
        pieces = (b"[" + chunks[0], *(b",\r\n" + chunk for chunk in chunks[1:]), b"]")
        return Answer(200, _JSON, events=pieces)

    def _count(self, model: str, fields: Fields) -> Answer:
        request = inner(fields, "generateContentRequest") or fields
        refused = wrong(model, request)
        if refused is not None:
            return self.error(400, refused)
        messages = _messages(request)
        total = sum(writer.count(str(message["content"])) for message in messages)
        return _json({"totalTokens": total + 3 * len(messages)})

    def _embed(self, requests: Sequence[Fields], *, many: bool) -> Answer:
        vectors: list[object] = []
        for one in requests:
            texts = [
                str(part.get("text", "")) for part in objects(inner(one, "content").get("parts"))
            ]
            if not any(texts):
                return self.error(400, "content is empty.")
            if many and not isinstance(one.get("model"), str):
                return self.error(400, "* BatchEmbedContentsRequest.requests[0].model: unexpected")
            vectors.append({"values": _vector("".join(texts), one.get("outputDimensionality"))})
        if not vectors:
            return self.error(
                400, "* BatchEmbedContentsRequest.requests: requests is not specified"
            )
        return _json({"embeddings": vectors} if many else {"embedding": vectors[0]})

    def _predict(self, fields: Fields) -> Answer:
        size = inner(fields, "parameters").get("outputDimensionality")
        predictions: list[object] = []
        for instance in objects(fields.get("instances")):
            text = instance.get("content")
            if not isinstance(text, str) or not text:
                return self.error(400, "The text content is empty.")
            statistics = {"token_count": writer.count(text), "truncated": False}
            vector = {"values": _vector(text, size), "statistics": statistics}
            predictions.append({"embeddings": vector})
        return _json({"predictions": predictions})


def _json(value: object) -> Answer:
    return Answer(200, _JSON, orjson.dumps(value))


def _vector(text: str, size: object) -> list[float]:
    seed = crc32(text.encode("utf-8", "surrogatepass"))
    number = size if isinstance(size, int) and 0 < size <= 4096 else _SIZE
    return [((seed >> at % 24) & 255) / 256 for at in range(number)]


def _camel(value: object) -> object:
    """Names in camel case, as Google's own parser takes both."""
    if isinstance(value, list):
        return [_camel(item) for item in cast("list[object]", value)]
    if not isinstance(value, dict):
        return value
    out: dict[str, object] = {}
    for name, item in cast("dict[str, object]", value).items():
        first, *rest = name.split("_")
        known = first + "".join(word.capitalize() for word in rest) if first else name
        out[known] = item if known in _THEIRS else _camel(item)
    return out


# --- what is said ---------------------------------------------------------------------------


class _Said:
    """One answer, as chunks or whole."""

    def __init__(self, model: str, fields: Fields, faults: Faults) -> None:
        self._model = model
        self._faults = faults
        self._said = talk.answer(_asked(fields), _messages(fields), faults)
        thinking = inner(inner(fields, "generationConfig"), "thinkingConfig")
        effort = "low" if thinking.get("includeThoughts") is True else None
        self._thoughts = talk.thoughts({"reasoning_effort": effort})

    def whole(self) -> dict[str, object]:
        candidates: list[object] = []
        for index, choice in enumerate(self._said.choices):
            parts = [part for group in self._parts(choice, whole=True) for part in group]
            candidates.append(self._last(index, choice, parts))
        return self._reply(candidates, last=True)

    def chunks(self) -> Iterator[dict[str, object]]:
        ends: list[object] = []
        for index, choice in enumerate(self._said.choices):
            groups = list(self._parts(choice, whole=False))
            for parts in groups[:-1]:
                content = {"parts": parts, "role": "model"}
                yield self._reply([{"content": content, "index": index}], last=False)
            ends.append(self._last(index, choice, groups[-1] if groups else []))
        yield self._reply(ends, last=True)

    def _parts(self, choice: talk.Choice, *, whole: bool) -> Iterator[list[dict[str, object]]]:
        """Groups of parts, one for each chunk."""
        if self._thoughts:
            yield [{"text": "".join(self._thoughts), "thought": True}]
        if choice.refused:
            return
        signed: dict[str, object] = {"thoughtSignature": SIGNATURE} if is_gen_3(self._model) else {}
        if choice.calls:
            yield [
                {"functionCall": self._call(call, at), **(signed if at == 0 else {})}
                for at, call in enumerate(choice.calls)
            ]
            return
        if whole:
            yield [{"text": "".join(choice.pieces), **signed}]
            return
        for group in talk.grouped(choice.pieces, self._faults.events):
            yield [{"text": "".join(group)}]
        if signed:
            yield [{"text": "", **signed}]

    def _call(self, call: talk.ToolCall, at: int) -> dict[str, object]:
        args: object = orjson.loads(call.arguments)
        out: dict[str, object] = {"name": call.name, "args": args}
        if is_gen_3(self._model):
            out["id"] = f"mock{at:04d}"
        return out

    def _last(
        self, index: int, choice: talk.Choice, parts: list[dict[str, object]]
    ) -> dict[str, object]:
        finish = "SAFETY" if choice.refused else _FINISH[choice.finish]
        out: dict[str, object] = {"finishReason": finish, "index": index}
        if parts:
            out["content"] = {"parts": parts, "role": "model"}
        if choice.logprobs:
            out["logprobsResult"] = _logprobs(choice.pieces)
        return out

    def _reply(self, candidates: list[object], *, last: bool) -> dict[str, object]:
        out: dict[str, object] = {
            "candidates": candidates,
            "modelVersion": self._model,
            "responseId": IDENT.decode(),
        }
        if not self._faults.no_usage:
            out["usageMetadata"] = self._usage(last=last)
        return out

    def _usage(self, *, last: bool) -> dict[str, object]:
        thought = len(self._thoughts)
        prompt, made = self._faults.usage or (
            self._said.prompt_tokens,
            self._said.completion_tokens + thought,
        )
        thought = min(thought, made)
        out: dict[str, object] = {
            "promptTokenCount": prompt,
            "totalTokenCount": prompt + made if last else prompt,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}],
        }
        if last:
            out["candidatesTokenCount"] = made - thought
        if last and thought:
            out["thoughtsTokenCount"] = thought
        return out


def _logprobs(pieces: Sequence[str]) -> dict[str, object]:
    tokens = [{"token": piece, "tokenId": len(piece), "logProbability": -0.125} for piece in pieces]
    return {"chosenCandidates": tokens, "topCandidates": [{"candidates": [one]} for one in tokens]}


def _asked(fields: Fields) -> dict[str, object]:
    """The request's wishes, in the words of `choices`."""
    config = inner(fields, "generationConfig")
    calling = inner(inner(fields, "toolConfig"), "functionCallingConfig")
    allowed = calling.get("allowedFunctionNames")
    tools = [
        _tool(one)
        for one in declared(fields)
        if not isinstance(allowed, list) or one["name"] in allowed
    ]
    out: dict[str, object] = {
        "n": config.get("candidateCount"),
        "stop": config.get("stopSequences"),
        "max_tokens": config.get("maxOutputTokens"),
        "logprobs": config.get("responseLogprobs"),
        "tools": tools,
        "tool_choice": {"NONE": "none", "ANY": "required"}.get(str(calling.get("mode")), "auto"),
    }
    if config.get("responseMimeType") == "application/json":
        schema = config.get("responseJsonSchema", _lowered(config.get("responseSchema")))
        form: dict[str, object] = {"type": "json_object"}
        if schema is not None:
            form = {"type": "json_schema", "json_schema": {"schema": schema}}
        out["response_format"] = form
    return out


def _tool(one: Fields) -> dict[str, object]:
    schema = one.get("parametersJsonSchema", _lowered(one.get("parameters")))
    return {"function": {"name": one["name"], "parameters": schema or {"type": "object"}}}


def _lowered(schema: object) -> object:
    """Google's own form of a schema has its types in capitals."""
    if isinstance(schema, list):
        return [_lowered(item) for item in cast("list[object]", schema)]
    if not isinstance(schema, dict):
        return schema
    shape = cast("Mapping[str, object]", schema)
    return {
        name: item.lower() if name == "type" and isinstance(item, str) else _lowered(item)
        for name, item in shape.items()
    }


def _messages(fields: Fields) -> list[Mapping[str, object]]:
    out: list[Mapping[str, object]] = []
    system = inner(fields, "systemInstruction")
    if system:
        out.append({"role": "system", "content": _text(system)})
    for content in objects(fields.get("contents")):
        parts = objects(content.get("parts"))
        role = "assistant" if content.get("role") == "model" else "user"
        if any("functionResponse" in part for part in parts):
            role = "tool"
        out.append({"role": role, "content": _text(content)})
    return out


def _text(content: Fields) -> str:
    words: list[str] = []
    for part in objects(content.get("parts")):
        result = inner(part, "functionResponse").get("response")
        if isinstance(part.get("text"), str):
            words.append(str(part["text"]))
        elif result is not None:
            words.append(orjson.dumps(result).decode())
    return " ".join(words)


SPEAKER = Gemini()
