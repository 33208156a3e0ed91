"""OpenAI's legacy completions, as the provider's side of the wire.

Takes a request, gives a whole reply or all events of a stream, in the shapes of
the API reference. Honours several prompts, n, best_of, stop, max_tokens (16 when
it is not given), echo, logprobs and stream_options; `choices.py` decides what is
said. Chat models are refused here, and `missing-model` does not exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import orjson

from extproc.mock import writer
from extproc.mock.answer import IDENT, Answer, Asked
from extproc.mock.faults import Faults
from extproc.mock.speakers import choices as talk
from extproc.mock.speakers.openai_chat import OpenAIChat

_PATH = "/completions"
_ABSENT = "missing-model"
_CHAT_ONLY = re.compile(r"gpt-[4-9]|o\d|gpt-3\.5-turbo(?!-instruct)")
_CREATED = 1_767_225_600
_USUAL_LENGTH = 16
_MOST_LOGPROBS = 5
_MOST_STOPS = 4
_CHAT = OpenAIChat()


class _Refused(Exception):
    def __init__(
        self, message: str, param: str | None = None, code: str | None = None, status: int = 400
    ) -> None:
        super().__init__(message)
        self.status = status
        error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
        self.body = orjson.dumps({"error": error})


@dataclass(frozen=True, slots=True)
class _Choice:
    """One continuation; `pieces` join to its text."""

    pieces: tuple[str, ...]
    finish: str
    logprobs: bool


class OpenAICompletions:
    """Speaker of `.../completions` that are not chat's."""

    name = "openai_completions"

    def claims(self, path: str) -> bool:
        return path.endswith(_PATH) and not path.endswith("/chat" + _PATH)

    def answer(self, asked: Asked) -> Answer:
        """The reply, or OpenAI's refusal."""
        try:
            return _complete(asked)
        except _Refused as refused:
            return Answer(refused.status, "application/json", refused.body)

    def error(self, status: int, message: str) -> Answer:
        return _CHAT.error(status, message)

    def error_event(self) -> bytes:
        return _CHAT.error_event()


def _complete(asked: Asked) -> Answer:
    if asked.method != "POST":
        raise _Refused(f"Not allowed to {asked.method} on {_PATH}.", status=405)
    try:
        request: object = orjson.loads(asked.body)
    except orjson.JSONDecodeError as wrong:
        raise _Refused(f"The body of the request is not valid JSON: {wrong}.") from None
    if not isinstance(request, dict):
        raise _Refused("The body of the request must be a JSON object.")
    fields = cast("dict[str, object]", request)
    model = _model(fields, asked.path)
    prompts = _prompts(fields.get("prompt"))
    _check(fields)
    choices, given, made = _choices(fields, prompts, asked.faults)
    usage = None
    if not asked.faults.no_usage:
        given, made = asked.faults.usage or (given, made)
        usage = {
            "prompt_tokens": given,
            "completion_tokens": made,
            "total_tokens": given + made,
        }
    head: dict[str, object] = {
        "id": "cmpl-" + IDENT.decode(),
        "object": "text_completion",
        "created": _CREATED,
        "model": model,
    }
    if fields.get("stream") is True:
        options = fields.get("stream_options")
        counted = isinstance(options, dict) and options.get("include_usage") is True
        events = tuple(_events(head, choices, usage, asked.faults, counted=counted))
        return Answer(200, "text/event-stream; charset=utf-8", events=events)
    said = [
        _choice(index, "".join(one.pieces), one.finish, one.pieces if one.logprobs else None)
        for index, one in enumerate(choices)
    ]
    whole = {**head, "choices": said, **({"usage": usage} if usage else {})}
    return Answer(200, "application/json", orjson.dumps(whole))


def _model(fields: Mapping[str, object], path: str) -> str:
    model = fields.get("model")
    if "/deployments/" in path:
        model = path.partition("/deployments/")[2].partition("/")[0]
    if not isinstance(model, str) or not model:
        raise _Refused("you must provide a model parameter")
    model = model.partition(";")[0]
    if model == _ABSENT:
        message = f"The model `{model}` does not exist or you do not have access to it."
        raise _Refused(message, code="model_not_found", status=404)
    if _CHAT_ONLY.match(model):
        message = (
            "This is a chat model and not supported in the v1/completions endpoint."
            " Did you mean to use v1/chat/completions?"
        )
        raise _Refused(message, "model", status=404)
    return model


def _prompts(value: object) -> list[str]:
    match value:
        case str():
            return [value]
        case [str(), *_] as texts if all(isinstance(text, str) for text in texts):
            return cast("list[str]", texts)
        case [int(), *_] as ids if all(isinstance(one, int) for one in ids):
            return [_spelled(cast("list[int]", ids))]
        case [[int(), *_], *_] as lists:
            return [_spelled(ids) for ids in cast("list[list[int]]", lists)]
        case _:
            raise _Refused("Invalid type for 'prompt'.", "prompt", "invalid_type")


def _spelled(ids: Sequence[int]) -> str:
    return " ".join(f"#{number}" for number in ids)


def _check(fields: Mapping[str, object]) -> None:
    for name in ("messages", "tools", "response_format", "max_completion_tokens", "top_logprobs"):
        if name in fields:
            raise _Refused(f"Unrecognized request argument supplied: {name}", name)
    logprobs = fields.get("logprobs")
    if logprobs is not None and (isinstance(logprobs, bool) or not isinstance(logprobs, int)):
        raise _Refused("Invalid type for 'logprobs': expected an integer.", "logprobs")
    if isinstance(logprobs, int) and logprobs > _MOST_LOGPROBS:
        raise _Refused("This model does not support more than 5 logprobs.", "logprobs")
    stop = fields.get("stop")
    if isinstance(stop, list) and len(cast("list[object]", stop)) > _MOST_STOPS:
        raise _Refused("Invalid 'stop': array too long.", "stop", "array_above_max_length")
    number, best = fields.get("n") or 1, fields.get("best_of") or fields.get("n") or 1
    if isinstance(number, int) and isinstance(best, int):
        if best < number:
            raise _Refused("best_of must be greater than or equal to n.", "best_of")
        if best > number and fields.get("stream") is True:
            raise _Refused("Stream and best_of cannot be used together.", "best_of")


def _choices(
    fields: Mapping[str, object], prompts: Sequence[str], faults: Faults
) -> tuple[list[_Choice], int, int]:
    """All continuations of all prompts, with tokens counted by words."""
    asked = {
        "n": fields.get("n"),
        "stop": fields.get("stop"),
        "max_tokens": fields.get("max_tokens") or faults.words or _USUAL_LENGTH,
    }
    found: list[_Choice] = []
    given = made = 0
    for prompt in prompts:
        said = talk.answer(asked, [{"role": "user", "content": prompt}], faults)
        echo = (writer.clean(prompt),) if fields.get("echo") is True else ()
        logprobs = fields.get("logprobs") is not None
        found += [_Choice((*echo, *c.pieces), c.finish, logprobs) for c in said.choices]
        given += writer.count(prompt)
        made += said.completion_tokens
    return found, given, made


def _choice(
    index: int, text: str, finish: str | None, tokens: Sequence[str] | None, offset: int = 0
) -> dict[str, object]:
    logprobs = None
    if tokens is not None:
        starts = [offset + sum(map(len, tokens[:at])) for at in range(len(tokens))]
        logprobs = {
            "tokens": tokens,
            "token_logprobs": [-0.125] * len(tokens),
            "top_logprobs": [{token: -0.125} for token in tokens],
            "text_offset": starts,
        }
    return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish}


def _events(
    head: Mapping[str, object],
    choices: Sequence[_Choice],
    usage: Mapping[str, int] | None,
    faults: Faults,
    *,
    counted: bool,
) -> Iterator[bytes]:
    tail: dict[str, object] = {"usage": None} if counted else {}
    for index, one in enumerate(choices):
        offset = 0
        for group in talk.grouped(one.pieces, faults.events):
            text = "".join(group)
            tokens = group if one.logprobs else None
            said = _choice(index, text, None, tokens, offset)
            offset += len(text)
            yield _event({**head, "choices": [said], **tail})
        yield _event({**head, "choices": [_choice(index, "", one.finish, None)], **tail})
    if counted and usage is not None:
        yield _event({**head, "choices": [], "usage": usage})
    yield b"data: [DONE]\n\n"


def _event(value: object) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


SPEAKER = OpenAICompletions()
