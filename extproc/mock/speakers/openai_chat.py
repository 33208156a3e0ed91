"""OpenAI's Chat Completions and model list, as the provider's side of the wire.

Takes a request, gives a whole reply or all events of a stream, in the shapes of
the API reference (platform.openai.com/docs/api-reference/chat). Honours n, stop,
max_tokens, max_completion_tokens, tools, tool_choice, parallel_tool_calls,
response_format, reasoning_effort and stream_options; `choices.py` decides what is
said, `openai_rules.py` what is refused. Also embeddings, rankings as vLLM has them and,
in small, the rest of the API. Checks no credential. The model `missing-model` does not exist.

Azure's paths (`/openai/deployments/NAME/...?api-version=V`) need their version.
xAI, Mistral, DeepSeek and vLLM are known by their models' names, and answer as
`openai_houses.py` says; `grok-wrong-key` refuses our key.
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
from extproc.mock.speakers import openai_embeddings, openai_rerank
from extproc.mock.speakers.cohere_chat import SPEAKER as COHERE
from extproc.mock.speakers.openai_houses import (
    House,
    envelope,
    house_of,
    known,
    refused,
    thinking_part,
)
from extproc.mock.speakers.openai_other import other
from extproc.mock.speakers.openai_rules import Wrong, wrong

_MODELS = ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini", "o4-mini")
_POSTS = ("/chat/completions", "/embeddings", "/rerank")
_ABSENT = "missing-model"
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
        return path.endswith((*_POSTS, "/models")) or "/models/" in path

    def answer(self, asked: Asked) -> Answer:
        """The reply, or OpenAI's refusal."""
        path, _, query = asked.path.partition("?")
        if "/deployments/" in path and "api-version=" not in query:
            error = {"code": "404", "message": "Resource not found"}
            return Answer(404, "application/json", orjson.dumps({"error": error}))
        if path.endswith(_POSTS):
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
        if path.endswith("/rerank") and model.startswith("rerank-"):
            return COHERE.answer(asked)
        house = house_of(model)
        if model == "grok-wrong-key":
            text = (
                "Incorrect API key provided: xa***ey. You can obtain an API key from the console."
            )
            return self._housed(house, self._refuse(400, text))
        return self._housed(house, self._speak(asked, model, fields, house))

    def _speak(self, asked: Asked, model: str, fields: dict[str, object], house: House) -> Answer:
        path = asked.path.partition("?")[0]
        if path.endswith("/embeddings") and openai_embeddings.refuses(model):
            return self._refuse(403, "You are not allowed to generate embeddings from this model")
        if path.endswith(("/embeddings", "/rerank")):
            speaks = openai_embeddings if path.endswith("/embeddings") else openai_rerank
            made = speaks.reply(fields, model, asked.faults)
            return self._wrong(made) if isinstance(made, Wrong) else _json(made)
        return self._complete(asked, model, known(house, fields), house)

    def _housed(self, house: House, answer: Answer) -> Answer:
        """A refusal in the house's own envelope."""
        if answer.status < 400:
            return answer
        said = cast("dict[str, dict[str, object]]", orjson.loads(answer.body))["error"]
        status, error = envelope(house, said)
        return Answer(status or answer.status, "application/json", orjson.dumps(error))

    def _wrong(self, found: Wrong) -> Answer:
        return self._refuse(400, found.message, code=found.code, param=found.param)

    def _complete(
        self, asked: Asked, model: str, fields: dict[str, object], house: House
    ) -> Answer:
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
        found = refused(house, model, fields, spoken)
        found = found or wrong(model, fields, spoken, house.longest_id)
        if found is not None:
            return self._wrong(found)
        said = talk.answer(fields, spoken, asked.faults)
        always = house.always is not None and house.always.match(model)
        thoughts = talk.thoughts({"reasoning_effort": "high"} if always else fields)
        usage = _usage(said, asked.faults, len(thoughts), beside=house.beside)
        if house.silent is not None and house.silent.match(model):
            thoughts = ()
        reply = _Reply(model, said, None if asked.faults.no_usage else usage, thoughts, house)
        if fields.get("stream") is not True:
            return _json(reply.whole())
        options = fields.get("stream_options")
        counted = isinstance(options, dict) and options.get("include_usage") is True
        kind = "text/event-stream; charset=utf-8"
        return Answer(200, kind, events=tuple(reply.events(asked.faults, counted=counted)))


def _json(value: object) -> Answer:
    return Answer(200, "application/json", orjson.dumps(value))


def _event(value: object) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def _usage(said: talk.Said, faults: Faults, thought: int, *, beside: bool) -> dict[str, object]:
    """`thought` tokens of reasoning, `beside` the completion or in it."""
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


def _logprobs(pieces: Sequence[str]) -> dict[str, object]:
    tokens = [
        {"token": piece, "logprob": -0.125, "bytes": list(piece.encode()), "top_logprobs": []}
        for piece in pieces
    ]
    return {"content": tokens, "refusal": None}


class _Reply:
    """One reply, in both forms. `thoughts` are those that are shown."""

    def __init__(
        self,
        model: str,
        said: talk.Said,
        usage: dict[str, object] | None,
        thoughts: Sequence[str],
        house: House,
    ) -> None:
        self._model = model
        self._said = said
        self._usage = usage
        self._thoughts = thoughts
        self._house = house

    def whole(self) -> dict[str, object]:
        choices = [self._choice(i, choice) for i, choice in enumerate(self._said.choices)]
        counted = {} if self._usage is None else {"usage": self._usage}
        return {**self._frame("chat.completion"), "choices": choices, **counted}

    def events(self, faults: Faults, *, counted: bool) -> Iterator[bytes]:
        frame = self._frame("chat.completion.chunk")
        # Only a caller who asks for usage gets the field, as null, in every chunk before.
        tail: dict[str, object] = {"usage": None} if counted else {}
        at_end = {} if self._usage is None else {"usage": self._usage}
        last = {**tail, **at_end} if self._house.tells_usage else tail

        def chunk(index: int, delta: object, finish: str | None, logprobs: object = None) -> bytes:
            choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
            return _event({**frame, "choices": [choice], **(last if finish else tail)})

        for index, choice in enumerate(self._said.choices):
            start = {"role": "assistant", "content": None if choice.calls else "", "refusal": None}
            yield chunk(index, self._own(start), None)
            for thought in self._thoughts:
                yield chunk(index, self._thought(thought), None)
            for at, call in enumerate(choice.calls):
                opened = self._call(talk.ToolCall(call.name, "", call.kind), index, at)
                yield chunk(index, {"tool_calls": [{"index": at, **opened}]}, None)
                for piece in talk.slices(call.arguments, faults.events):
                    part = {"index": at, call.kind: {call.field: piece}}
                    yield chunk(index, {"tool_calls": [part]}, None)
            if not choice.calls:
                for group in talk.grouped(choice.pieces, faults.events):
                    probable = _logprobs(group) if choice.logprobs else None
                    word = "refusal" if self._refused(choice) else "content"
                    yield chunk(index, {word: "".join(group)}, None, probable)
            yield chunk(index, {}, choice.finish)
        if counted and at_end:
            yield _event({**frame, "choices": [], **at_end})
        yield b"data: [DONE]\n\n"

    def _frame(self, kind: str) -> dict[str, object]:
        return {
            "id": _ID,
            "object": kind,
            "created": _CREATED,
            "model": self._model,
            "service_tier": "default",
            "system_fingerprint": "fp_mock",
        }

    def _refused(self, choice: talk.Choice) -> bool:
        """Whether it is said apart from the content."""
        return choice.refused and self._house.refuses_apart

    def _own(self, message: dict[str, object]) -> dict[str, object]:
        """The members that messages of this house have."""
        names = self._house.in_messages
        return {name: value for name, value in message.items() if names is None or name in names}

    def _thought(self, text: str) -> dict[str, object]:
        if self._house.thought == "content":
            return {"content": [thinking_part(text)]}
        return {self._house.thought: text}

    def _choice(self, index: int, choice: talk.Choice) -> dict[str, object]:
        text, refused = "".join(choice.pieces), self._refused(choice)
        message: dict[str, object] = {
            "role": "assistant",
            "content": None if choice.calls or refused else text,
            "refusal": text if refused else None,
            "annotations": [],
        }
        message = self._own(message)
        if self._thoughts:
            thought = self._thought("".join(self._thoughts))
            match thought, message["content"]:
                case {"content": list(parts)}, str(text):
                    message["content"] = [*parts, {"type": "text", "text": text}]
                case _:
                    message |= thought
        if choice.calls:
            calls = enumerate(choice.calls)
            message["tool_calls"] = [self._call(call, index, at) for at, call in calls]
        return {
            "index": index,
            "message": message,
            "logprobs": _logprobs(choice.pieces) if choice.logprobs else None,
            "finish_reason": choice.finish,
        }

    def _call(self, call: talk.ToolCall, choice: int, at: int) -> dict[str, object]:
        # The reply's id at its start is what is replaced; this one only has to differ.
        ident = self._house.made.format(choice, at)
        body = {"name": call.name, call.field: call.arguments}
        return {"id": ident, "type": call.kind, call.kind: body}


SPEAKER = OpenAIChat()
