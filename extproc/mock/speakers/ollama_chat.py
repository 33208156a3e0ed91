"""Ollama's own API as the provider's side of the wire: chat, generate, embed, tags, show, version.

Takes a request, gives a whole reply or all lines of a stream (the default), in
the shapes of Ollama's API reference. Strict where its server is: types, base64
of pictures, arguments as objects, the levels of `think`. A model whose name holds
`nothink`, `notools` or `noids` is without that; `missing-model` does not exist.
`choices.py` decides what is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast
from zlib import crc32

import orjson

from extproc.mock import writer
from extproc.mock.answer import Answer, Asked
from extproc.mock.faults import Faults
from extproc.mock.speakers import choices as talk
from extproc.mock.speakers.ollama_rules import (
    Fields,
    Refused,
    messages_of,
    objects,
    options_of,
    prompt_of,
    wrong,
)

_MODELS = ("llama3.2", "qwen3:8b", "gpt-oss:20b", "all-minilm")
_ABSENT = "missing-model"
_CREATED = "2026-01-01T00:00:00.123456789Z"
_THOUGHT = ("Let", " me", " think", " about", " that", ".")
_LEVELS = ("low", "medium", "high", "max")
_SIZE = 8
_METHODS = {
    "/api/chat": "POST",
    "/api/generate": "POST",
    "/api/embed": "POST",
    "/api/embeddings": "POST",
    "/api/show": "POST",
    "/api/tags": "GET",
    "/api/version": "GET",
}


class OllamaChat:
    """Speaker of `.../api/chat` and its neighbours."""

    name = "ollama_chat"

    def claims(self, path: str) -> bool:
        """By the path's end, so that any base path will do."""
        return path.endswith(tuple(_METHODS))

    def answer(self, asked: Asked) -> Answer:
        """The reply, or Ollama's refusal."""
        path = asked.path.partition("?")[0]
        endpoint = next(known for known in _METHODS if path.endswith(known))
        if asked.method != _METHODS[endpoint]:
            return Answer(405, "text/plain", b"405 method not allowed")
        if endpoint == "/api/version":
            return _json({"version": "0.13.0"})
        if endpoint == "/api/tags":
            return _json({"models": [_card(name) for name in _MODELS]})
        try:
            return _answer(endpoint, asked)
        except Refused as refused:
            return self.error(refused.status, refused.message)

    def error(self, status: int, message: str) -> Answer:
        """Ollama's envelope, the same for all."""
        return Answer(status, "application/json", orjson.dumps({"error": message}))

    def error_event(self) -> bytes:
        """A line in place of what would have come."""
        return b'{"error":"an error was encountered while running the model"}\n'


def _answer(endpoint: str, asked: Asked) -> Answer:
    try:
        request: object = orjson.loads(asked.body)
    except orjson.JSONDecodeError as wrong:
        raise Refused(400, str(wrong)) from None
    if not isinstance(request, dict):
        raise Refused(400, "json: cannot unmarshal into Go value of type api.Request")
    fields = cast("dict[str, object]", request)
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise Refused(400, "model is required")
    model = model.partition(";")[0]
    if model == _ABSENT:
        raise Refused(404, f"model '{model}' not found")
    match endpoint:
        case "/api/show":
            return _json(_shown(model))
        case "/api/embed" | "/api/embeddings":
            return _embed(fields, model, asked.faults, newer=endpoint == "/api/embed")
        case "/api/generate":
            return _Talk(model, fields, prompt_of(fields), asked.faults, chat=False).answer()
        case _:
            return _Talk(model, fields, messages_of(fields), asked.faults, chat=True).answer()


# --- what is said ---------------------------------------------------------------------------


class _Talk:
    """One reply of chat or generate."""

    def __init__(
        self, model: str, fields: Fields, messages: list[Fields], faults: Faults, *, chat: bool
    ) -> None:
        self._model = model
        self._fields = fields
        self._messages = messages
        self._faults = faults
        self._chat = chat
        stream = fields.get("stream")
        if not isinstance(stream, bool | None):
            raise wrong("stream", "bool")
        self._streams = stream is not False

    def answer(self) -> Answer:
        options = options_of(self._fields)
        thought = self._thought()
        form = self._form()
        tools = objects(self._fields, "tools")
        if tools and "notools" in self._model:
            raise Refused(400, f"registry.ollama.ai/library/{self._model} does not support tools")
        if not self._messages:
            reason = "unload" if self._fields.get("keep_alive") == 0 else "load"
            return _json({**self._head(), **self._said(""), "done_reason": reason, "done": True})
        asked = {"tools": tools, "response_format": form, "stop": options.get("stop")}
        asked["logprobs"] = self._fields.get("logprobs")
        limit = options.get("num_predict")
        if isinstance(limit, int) and limit > 0:
            asked["max_tokens"] = limit
        said = talk.answer(asked, self._messages, self._faults)
        window = options.get("num_ctx")
        full = isinstance(window, int) and said.prompt_tokens > window
        if full and self._fields.get("truncate") is False:
            raise Refused(400, "the input length exceeds the context length")
        (choice,) = said.choices
        last = self._last(said, len(thought), choice.finish)
        if self._streams:
            lines = tuple(self._lines(choice, thought, last))
            return Answer(200, "application/x-ndjson", events=lines)
        more: dict[str, object] = {"thinking": "".join(thought)} if thought else {}
        if choice.calls:
            more["tool_calls"] = [self._call(call, i) for i, call in enumerate(choice.calls)]
        likely = _logprobs(choice.pieces) if choice.logprobs else {}
        return _json({**self._head(), **self._said("".join(choice.pieces), more), **likely, **last})

    def _thought(self) -> tuple[str, ...]:
        think = self._fields.get("think")
        if think is None or think is False:
            return ()
        if think is not True and think not in _LEVELS:
            raise Refused(
                400,
                f'invalid think value: {think!r} (must be "high", "medium", "low", true, or false)',
            )
        if "nothink" in self._model:
            raise Refused(400, f'"{self._model}" does not support thinking')
        return _THOUGHT

    def _form(self) -> object:
        match self._fields.get("format"):
            case None | "":
                return None
            case "json":
                return {"type": "json_object"}
            case dict() as schema:
                return {"type": "json_schema", "json_schema": {"schema": schema}}
            case other:
                raise Refused(
                    400, f'invalid format: {other!r}; expected "json" or a valid JSON Schema'
                )

    def _head(self) -> dict[str, object]:
        return {"model": self._model, "created_at": _CREATED}

    def _said(self, text: str, more: Fields | None = None) -> dict[str, object]:
        if self._chat:
            return {"message": {"role": "assistant", "content": text, **(more or {})}}
        return {"response": text, **(more or {})}

    def _call(self, call: talk.ToolCall, at: int) -> dict[str, object]:
        arguments: object = orjson.loads(call.arguments)
        function = {"index": at, "name": call.name, "arguments": arguments}
        if "noids" in self._model:
            return {"function": function}
        seed = f"{call.arguments}{len(self._messages)}{at}"
        return {"id": f"call_{crc32(seed.encode()):08x}", "function": function}

    def _last(self, said: talk.Said, thought: int, finish: str) -> dict[str, object]:
        out: dict[str, object] = {
            "done": True,
            "done_reason": "length" if finish == "length" else "stop",
            "total_duration": 400_000_000,
            "load_duration": 20_000_000,
        }
        if not self._faults.no_usage:
            counted = (said.prompt_tokens, said.completion_tokens + thought)
            out["prompt_eval_count"], out["eval_count"] = self._faults.usage or counted
        return {**out, "prompt_eval_duration": 80_000_000, "eval_duration": 300_000_000}

    def _lines(
        self, choice: talk.Choice, thought: tuple[str, ...], last: Fields
    ) -> Iterator[bytes]:
        for piece in thought:
            yield self._line(self._said("", {"thinking": piece}))
        for at, call in enumerate(choice.calls):
            yield self._line(self._said("", {"tool_calls": [self._call(call, at)]}))
        if not choice.calls:
            for group in talk.grouped(choice.pieces, self._faults.events):
                likely = _logprobs(group) if choice.logprobs else {}
                yield self._line({**self._said("".join(group)), **likely})
        yield _line({**self._head(), **self._said(""), **last})

    def _line(self, said: Fields) -> bytes:
        return _line({**self._head(), **said, "done": False})


def _logprobs(pieces: Sequence[str]) -> dict[str, object]:
    tokens = [{"token": one, "logprob": -0.125, "bytes": list(one.encode())} for one in pieces]
    return {"logprobs": tokens}


def _line(value: Fields) -> bytes:
    return orjson.dumps(value) + b"\n"


def _json(value: Fields) -> Answer:
    return Answer(200, "application/json; charset=utf-8", orjson.dumps(value))


# --- embeddings and models ------------------------------------------------------------------


def _embed(fields: Fields, model: str, faults: Faults, *, newer: bool) -> Answer:
    value = fields.get("input" if newer else "prompt")
    texts = [value] if isinstance(value, str) else value or []
    if not isinstance(texts, list) or not all(
        isinstance(t, str) for t in cast("list[object]", texts)
    ):
        raise Refused(400, "invalid input type")
    size = fields.get("dimensions") or _SIZE
    if not isinstance(size, int) or not newer:
        size = _SIZE
    words = cast("list[str]", texts)
    vectors = [_vector(text, size) for text in words]
    if not newer:
        return _json({"embedding": vectors[0] if vectors else []})
    out: dict[str, object] = {"model": model, "embeddings": vectors, "total_duration": 14_000_000}
    if not faults.no_usage:
        counted = sum(map(writer.count, words))
        out["prompt_eval_count"] = faults.usage[0] if faults.usage else counted
    return _json(out)


def _vector(text: str, size: int) -> list[float]:
    """Numbers that depend on the text alone; exact as 32-bit floats."""
    data = text.encode("utf-8", "surrogatepass")
    return [(crc32(data, at) % 2048 - 1024) / 1024 for at in range(size)]


def _details() -> dict[str, object]:
    return {
        "parent_model": "",
        "format": "gguf",
        "family": "mock",
        "families": ["mock"],
        "parameter_size": "8B",
        "quantization_level": "Q4_K_M",
    }


def _card(name: str) -> dict[str, object]:
    return {
        "name": name,
        "model": name,
        "modified_at": _CREATED,
        "size": 4_000_000_000,
        "digest": f"{crc32(name.encode()):08x}" * 8,
        "details": _details(),
    }


def _shown(model: str) -> dict[str, object]:
    return {
        "modelfile": f"FROM {model}",
        "parameters": "",
        "template": "{{ .Prompt }}",
        "details": _details(),
        "model_info": {"general.architecture": "mock", "mock.context_length": 8192},
        "capabilities": ["completion", "tools", "vision", "thinking"],
        "modified_at": _CREATED,
    }


SPEAKER = OllamaChat()
