"""OpenAI's Chat Completions and model list, as the provider's side of the wire.

Takes a request, gives a whole reply or all events of a stream, in the shapes of
the API reference (platform.openai.com/docs/api-reference/chat). Honours n, stop,
max_tokens, max_completion_tokens, tools, tool_choice, parallel_tool_calls,
response_format, reasoning_effort and stream_options; `choices.py` decides what is
said, `openai_rules.py` what is refused. Also embeddings and, in small, the rest of
the API. Checks no credential. The model `missing-model` does not exist.

Azure's paths (`/openai/deployments/NAME/...?api-version=V`) need their version.
Models whose names begin with `grok` answer as xAI does: its envelope of errors, its
count of reasoning beside the completion, and `grok-wrong-key` refuses our key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import cast
from urllib.parse import unquote

import orjson

from extproc.mock.answer import IDENT, Answer, Asked
from extproc.mock.faults import Faults
from extproc.mock.speakers import choices as talk
from extproc.mock.speakers import openai_embeddings
from extproc.mock.speakers.openai_other import other
from extproc.mock.speakers.openai_rules import Wrong, wrong

_MODELS = ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini", "o4-mini")
_ABSENT = "missing-model"
_SILENT = re.compile(r"o\d|gpt-")
"""models that think without showing it"""
_DEPLOYMENT = re.compile(r"/deployments/([^/]+)/")
_CREATED = 1_767_225_600
_ID = "chatcmpl-" + IDENT.decode()
_KINDS: dict[int, tuple[str, str | None]] = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("requests", "rate_limit_exceeded"),
    503: ("service_unavailable_error", None),
}


class OpenAIChat:
    """Speaker of `.../chat/completions`, `.../embeddings`, `.../models` and what else there is."""

    name = "openai_chat"

    def claims(self, path: str) -> bool:
        """By the path's end, so that any base path will do."""
        ends = ("/chat/completions", "/embeddings", "/models")
        return path.endswith(ends) or "/models/" in path

    def answer(self, asked: Asked) -> Answer:
        """The reply, or OpenAI's refusal."""
        path, _, query = asked.path.partition("?")
        if "/deployments/" in path and "api-version=" not in query:
            error = {"code": "404", "message": "Resource not found"}
            return Answer(404, "application/json", orjson.dumps({"error": error}))
        if path.endswith(("/chat/completions", "/embeddings")):
            if asked.method != "POST":
                return self._refuse(405, f"Not allowed to {asked.method} on {path}.")
            return self._ask(asked, path)
        if path.endswith("/models") or "/models/" in path:
            if asked.method != "GET":
                return self._refuse(405, f"Not allowed to {asked.method} on {path}.")
            return self._models(path.partition("/models")[2].strip("/"))
        return other(asked) or self._refuse(404, f"Invalid URL ({asked.method} {path})")

    def error(self, status: int, message: str) -> Answer:
        """OpenAI's envelope with the type and code it uses for this status."""
        kind, code = _KINDS.get(
            status, ("server_error", None) if status >= 500 else ("invalid_request_error", None)
        )
        return self._refuse(status, message, kind=kind, code=code)

    def error_event(self) -> bytes:
        """An error object in place of a chunk."""
        failure = {
            "message": "The server had an error while processing your request.",
            "type": "server_error",
            "param": None,
            "code": None,
        }
        return _event({"error": failure})

    def _refuse(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
    ) -> Answer:
        error = {"message": message, "type": kind, "param": param, "code": code}
        return Answer(status, "application/json", orjson.dumps({"error": error}))

    def _models(self, wanted: str) -> Answer:
        cards = [
            {"id": name, "object": "model", "created": _CREATED, "owned_by": "mock"}
            for name in _MODELS
        ]
        if not wanted:
            return _json({"object": "list", "data": cards})
        for card in cards:
            if card["id"] == wanted:
                return _json(card)
        return self._no_model(wanted)

    def _no_model(self, name: str) -> Answer:
        message = f"The model `{name}` does not exist or you do not have access to it."
        return self._refuse(404, message, code="model_not_found")

    def _ask(self, asked: Asked, path: str) -> Answer:
        """What names a model in a JSON body."""
        try:
            request: object = orjson.loads(asked.body)
        except orjson.JSONDecodeError as broken:
            return self._refuse(400, f"The body of the request is not valid JSON: {broken}.")
        if not isinstance(request, dict):
            return self._refuse(400, "The body of the request must be a JSON object.")
        fields = cast("dict[str, object]", request)
        model = fields.get("model")
        deployed = _DEPLOYMENT.search(path)
        if deployed is not None:
            model = unquote(deployed[1])
        if not isinstance(model, str) or not model:
            return self._refuse(400, "you must provide a model parameter")
        model = model.partition(";")[0]
        if model == _ABSENT:
            return self._no_model(model)
        if model.startswith("grok"):
            return self._as_xai(asked, model, fields)
        return self._speak(asked, model, fields)

    def _speak(self, asked: Asked, model: str, fields: dict[str, object]) -> Answer:
        if asked.path.partition("?")[0].endswith("/embeddings"):
            made = openai_embeddings.reply(fields, model, asked.faults)
            return self._wrong(made) if isinstance(made, Wrong) else _json(made)
        return self._complete(asked, model, fields)

    def _as_xai(self, asked: Asked, model: str, fields: dict[str, object]) -> Answer:
        """xAI speaks the same, but for its errors."""
        if model == "grok-wrong-key":
            text = (
                "Incorrect API key provided: xa***ey. You can obtain an API key from the console."
            )
            error = {"code": "Client specified an invalid argument", "error": text}
            return Answer(400, "application/json", orjson.dumps(error))
        answer = self._speak(asked, model, fields)
        if answer.status < 400:
            return answer
        said = cast("dict[str, dict[str, object]]", orjson.loads(answer.body))["error"]
        error = {"code": "Client specified an invalid argument", "error": said["message"]}
        return Answer(answer.status, "application/json", orjson.dumps(error))

    def _wrong(self, found: Wrong) -> Answer:
        return self._refuse(400, found.message, code=found.code, param=found.param)

    def _complete(self, asked: Asked, model: str, fields: dict[str, object]) -> Answer:
        messages = fields.get("messages")
        if messages is None:
            missing = "Missing required parameter: 'messages'."
            return self._refuse(400, missing, code="missing_required_parameter", param="messages")
        if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
            wrong_type = "Invalid type for 'messages': expected an array of objects."
            return self._refuse(400, wrong_type, code="invalid_type", param="messages")
        if not messages:
            empty = "Invalid 'messages': empty array. Expected an array with minimum length 1."
            return self._refuse(400, empty, code="empty_array", param="messages")
        spoken = cast("list[Mapping[str, object]]", messages)
        if (found := wrong(model, fields, spoken)) is not None:
            return self._wrong(found)
        said = talk.answer(fields, spoken, asked.faults)
        thoughts = talk.thoughts(fields)
        usage = None if asked.faults.no_usage else _usage(said, asked.faults, model, len(thoughts))
        if _SILENT.match(model):
            thoughts = ()
        if fields.get("stream") is True:
            options = fields.get("stream_options")
            counted = isinstance(options, dict) and options.get("include_usage") is True
            return Answer(
                200,
                "text/event-stream; charset=utf-8",
                events=tuple(
                    _events(model, said, usage, asked.faults, counted=counted, thoughts=thoughts)
                ),
            )
        return _json(_whole(model, said, usage, thoughts))


def _json(value: object) -> Answer:
    return Answer(200, "application/json", orjson.dumps(value))


def _event(value: object) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def _usage(said: talk.Said, faults: Faults, model: str, thought: int) -> dict[str, object]:
    """`thought` tokens of reasoning; xAI counts them beside the completion, OpenAI in it."""
    beside = model.startswith("grok")
    made = said.completion_tokens + (0 if beside else thought)
    given, made = faults.usage or (said.prompt_tokens, made)
    return {
        "prompt_tokens": given,
        "completion_tokens": made,
        "total_tokens": given + made + (thought if beside else 0),
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": thought,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _whole(
    model: str, said: talk.Said, usage: dict[str, object] | None, thoughts: Sequence[str]
) -> dict[str, object]:
    reply: dict[str, object] = {
        "id": _ID,
        "object": "chat.completion",
        "created": _CREATED,
        "model": model,
        "choices": [_choice(i, choice, thoughts) for i, choice in enumerate(said.choices)],
        "usage": usage,
        "service_tier": "default",
        "system_fingerprint": "fp_mock",
    }
    if usage is None:
        del reply["usage"]
    return reply


def _choice(index: int, choice: talk.Choice, thoughts: Sequence[str]) -> dict[str, object]:
    message: dict[str, object] = {
        "role": "assistant",
        "content": None if choice.calls or choice.refused else "".join(choice.pieces),
        "refusal": "".join(choice.pieces) if choice.refused else None,
        "annotations": [],
    }
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
    if choice.calls:
        message["tool_calls"] = [_call(call, index, at) for at, call in enumerate(choice.calls)]
    return {
        "index": index,
        "message": message,
        "logprobs": _logprobs(choice.pieces) if choice.logprobs else None,
        "finish_reason": choice.finish,
    }


def _call_id(choice: int, at: int) -> str:
    # The reply's id at its start is what is replaced; this one only has to differ.
    return f"call_mock{choice:02d}{at:02d}"


def _call(call: talk.ToolCall, choice: int, at: int) -> dict[str, object]:
    body = {"name": call.name, call.field: call.arguments}
    return {"id": _call_id(choice, at), "type": call.kind, call.kind: body}


def _logprobs(pieces: Sequence[str]) -> dict[str, object]:
    tokens = [
        {"token": piece, "logprob": -0.125, "bytes": list(piece.encode()), "top_logprobs": []}
        for piece in pieces
    ]
    return {"content": tokens, "refusal": None}


def _events(
    model: str,
    said: talk.Said,
    usage: dict[str, object] | None,
    faults: Faults,
    *,
    counted: bool,
    thoughts: Sequence[str],
) -> Iterator[bytes]:
    frame: dict[str, object] = {
        "id": _ID,
        "object": "chat.completion.chunk",
        "created": _CREATED,
        "model": model,
        "service_tier": "default",
        "system_fingerprint": "fp_mock",
    }
    # Only a caller who asks for usage gets the field, as null, in every chunk before.
    tail: dict[str, object] = {"usage": None} if counted else {}

    def chunk(index: int, delta: object, finish: str | None, logprobs: object = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return _event({**frame, "choices": [choice], **tail})

    for index, choice in enumerate(said.choices):
        start = {"role": "assistant", "content": None if choice.calls else "", "refusal": None}
        yield chunk(index, start, None)
        for thought in thoughts:
            yield chunk(index, {"reasoning_content": thought}, None)
        for at, call in enumerate(choice.calls):
            opened = _call(talk.ToolCall(call.name, "", call.kind), index, at)
            yield chunk(index, {"tool_calls": [{"index": at, **opened}]}, None)
            for piece in talk.slices(call.arguments, faults.events):
                part = {"index": at, call.kind: {call.field: piece}}
                yield chunk(index, {"tool_calls": [part]}, None)
        if not choice.calls:
            for group in talk.grouped(choice.pieces, faults.events):
                probable = _logprobs(group) if choice.logprobs else None
                word = "refusal" if choice.refused else "content"
                yield chunk(index, {word: "".join(group)}, None, probable)
        yield chunk(index, {}, choice.finish)
    if counted and usage is not None:
        yield _event({**frame, "choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


SPEAKER = OpenAIChat()
