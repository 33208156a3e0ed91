"""OpenAI's Responses, as the provider's side of the wire.

Takes a request, gives a whole `response` or all events of a stream, in the
shapes of the API reference. Honours instructions, tools, tool_choice,
parallel_tool_calls, text.format, max_output_tokens, reasoning (effort, summary)
and include; `choices.py` decides what is said, `responses_rules.py` what is
refused. Counts tokens. Stores nothing, but has an answer for any stored
response whose name does not say `missing`. Checks no credential.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import orjson

from extproc.mock.answer import IDENT, Answer, Asked
from extproc.mock.faults import Faults
from extproc.mock.speakers import choices as talk
from extproc.mock.speakers.openai_chat import OpenAIChat
from extproc.mock.speakers.openai_rules import Fields
from extproc.mock.speakers.responses_rules import ENCRYPTED, SEAL, as_chat, wrong

_ABSENT = "missing-model"
_CREATED = 1_767_225_600
_IDENT = IDENT.decode()
_ID = "resp_" + _IDENT
_ECHOED: dict[str, object] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}


class OpenAIResponses:
    """Speaker of `.../responses` and what is below it."""

    name = "openai_responses"

    def __init__(self) -> None:
        self._chat = OpenAIChat()

    def claims(self, path: str) -> bool:
        return path.endswith("/responses") or "/responses/" in path

    def answer(self, asked: Asked) -> Answer:
        path, _, query = asked.path.partition("?")
        below = path.partition("/responses")[2].strip("/")
        if path.endswith("/openai/responses") and "api-version=" not in query:
            return Answer(
                404, "application/json", b'{"error":{"code":"404","message":"Resource not found"}}'
            )
        if below not in ("", "input_tokens", "compact"):
            return self._stored(asked, below)
        if asked.method != "POST":
            return _refuse(405, f"Not allowed to {asked.method} on {path}.")
        try:
            request: object = orjson.loads(asked.body)
        except orjson.JSONDecodeError as broken:
            return _refuse(400, f"The body of the request is not valid JSON: {broken}.")
        if not isinstance(request, dict):
            return _refuse(400, "The body of the request must be a JSON object.")
        return self._ask(asked, cast("dict[str, object]", request), below)

    def error(self, status: int, message: str) -> Answer:
        return self._chat.error(status, message)

    def error_event(self) -> bytes:
        """The flat event, as OpenAI has it."""
        failure = {
            "type": "error",
            "code": "server_error",
            "message": "The server had an error while processing your request.",
            "param": None,
            "sequence_number": 0,
        }
        return b"event: error\ndata: " + orjson.dumps(failure) + b"\n\n"

    def _ask(self, asked: Asked, fields: dict[str, object], below: str) -> Answer:
        model = str(fields.get("model") or "").partition(";")[0]
        if model == _ABSENT:
            message = f"The requested model '{model}' does not exist."
            return _refuse(400, message, code="model_not_found", param="model")
        found = wrong(fields)
        if found is not None and below != "compact":
            return _refuse(400, found.message, code=found.code, param=found.param)
        settings, messages = as_chat(fields)
        said = talk.answer(settings, messages, asked.faults)
        if below == "input_tokens":
            counted = {"object": "response.input_tokens", "input_tokens": said.prompt_tokens}
            return Answer(200, "application/json", orjson.dumps(counted))
        reply = _Reply(model, fields, said, talk.thoughts(settings), asked.faults)
        if fields.get("stream") is True:
            kind = "text/event-stream; charset=utf-8"
            return Answer(200, kind, events=tuple(reply.events()))
        return Answer(200, "application/json", orjson.dumps(reply.whole()))

    def _stored(self, asked: Asked, below: str) -> Answer:
        name, _, what = below.partition("/")
        if "missing" in name:
            return _refuse(404, f"Response with id '{name}' not found.")
        if asked.method == "DELETE":
            gone = {"id": name, "object": "response", "deleted": True}
            return Answer(200, "application/json", orjson.dumps(gone))
        if what == "input_items":
            return Answer(200, "application/json", b'{"object":"list","data":[],"has_more":false}')
        said = talk.Said((talk.Choice(("Stored",), (), "stop", logprobs=False),), 1, 1)
        reply = _Reply("gpt-4.1", {}, said, (), asked.faults).whole()
        reply |= {"id": name, "status": "cancelled" if what == "cancel" else "completed"}
        return Answer(200, "application/json", orjson.dumps(reply))


def _refuse(
    status: int, message: str, *, code: str | None = None, param: str | None = None
) -> Answer:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return Answer(status, "application/json", orjson.dumps({"error": error}))


@dataclass(frozen=True, slots=True)
class _Reply:
    """One reply, as a body or as events."""

    model: str
    fields: Fields
    said: talk.Said
    thoughts: Sequence[str]
    faults: Faults

    @property
    def choice(self) -> talk.Choice:
        return self.said.choices[0]

    def whole(self) -> dict[str, object]:
        items = [item for item, _ in self._items()]
        cut = self.choice.finish == "length"
        return self._response("incomplete" if cut else "completed", items)

    def _response(self, status: str, items: list[dict[str, object]]) -> dict[str, object]:
        told = {name: self.fields[name] for name in _ECHOED if self.fields.get(name) is not None}
        cut = status == "incomplete"
        return {
            "id": _ID,
            "object": "response",
            "created_at": _CREATED,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "model": self.model,
            "output": items,
            "usage": None if status == "in_progress" else self._usage(),
            **_ECHOED,
            **told,
        }

    def _usage(self) -> dict[str, object] | None:
        if self.faults.no_usage:
            return None
        thought = len(self.thoughts)
        counted = (self.said.prompt_tokens, self.said.completion_tokens + thought)
        given, made = self.faults.usage or counted
        return {
            "input_tokens": given,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": made,
            "output_tokens_details": {"reasoning_tokens": thought},
            "total_tokens": given + made,
        }

    # --- items, each with the events that tell what is in it

    def _items(self) -> Iterator[tuple[dict[str, object], list[dict[str, object]]]]:
        if self.thoughts:
            yield self._reasoning()
        if not self.choice.calls:
            yield self._message()
        for at, call in enumerate(self.choice.calls):
            yield self._call(at, call)

    def _reasoning(self) -> tuple[dict[str, object], list[dict[str, object]]]:
        asked, include = self.fields.get("reasoning"), self.fields.get("include")
        shown = isinstance(asked, dict) and cast("Fields", asked).get("summary") is not None
        item: dict[str, object] = {"id": f"rs_{_IDENT}", "type": "reasoning", "summary": []}
        if isinstance(include, list) and ENCRYPTED in include:
            item["encrypted_content"] = f"{SEAL}{_IDENT}sealed"
        if not shown:
            return item, []
        text, where = "".join(self.thoughts), {"summary_index": 0}
        part = {"type": "summary_text", "text": text}
        item["summary"] = [part]
        prefix = "response.reasoning_summary"
        deltas = [
            {"type": f"{prefix}_text.delta", **where, "delta": piece} for piece in self.thoughts
        ]
        return item, [
            {"type": f"{prefix}_part.added", **where, "part": {"type": "summary_text", "text": ""}},
            *deltas,
            {"type": f"{prefix}_text.done", **where, "text": text},
            {"type": f"{prefix}_part.done", **where, "part": part},
        ]

    def _message(self) -> tuple[dict[str, object], list[dict[str, object]]]:
        choice = self.choice
        word = "refusal" if choice.refused else "output_text"
        field = "refusal" if choice.refused else "text"

        def part(text: str, probable: object) -> dict[str, object]:
            more = {} if choice.refused else {"annotations": [], "logprobs": probable}
            return {"type": word, field: text, **more}

        text = "".join(choice.pieces)
        probable = _logprobs(choice.pieces) if choice.logprobs else []
        where: dict[str, object] = {"content_index": 0}
        events: list[dict[str, object]] = [
            {"type": "response.content_part.added", **where, "part": part("", [])}
        ]
        for group in talk.grouped(choice.pieces, self.faults.events):
            delta: dict[str, object] = {"type": f"response.{word}.delta", **where}
            delta["delta"] = "".join(group)
            if not choice.refused:
                delta["logprobs"] = _logprobs(group) if choice.logprobs else []
            events.append(delta)
        done: dict[str, object] = {"type": f"response.{word}.done", **where, field: text}
        if not choice.refused:
            done["logprobs"] = probable
        events += [
            done,
            {"type": "response.content_part.done", **where, "part": part(text, probable)},
        ]
        item: dict[str, object] = {
            "id": f"msg_{_IDENT}",
            "type": "message",
            "status": "incomplete" if choice.finish == "length" else "completed",
            "role": "assistant",
            "content": [part(text, probable)],
        }
        return item, events

    def _call(
        self, at: int, call: talk.ToolCall
    ) -> tuple[dict[str, object], list[dict[str, object]]]:
        custom = call.kind == "custom"
        kind = "custom_tool_call" if custom else "function_call"
        prefix = "response.custom_tool_call_input" if custom else "response.function_call_arguments"
        item: dict[str, object] = {
            "id": f"fc_{_IDENT}{at:02d}",
            "type": kind,
            "status": "completed",
            "call_id": f"call_mock{at:04d}",
            "name": call.name,
            call.field: call.arguments,
        }
        pieces = talk.slices(call.arguments, self.faults.events)
        deltas: list[dict[str, object]] = [
            {"type": f"{prefix}.delta", "delta": piece} for piece in pieces
        ]
        return item, [*deltas, {"type": f"{prefix}.done", call.field: call.arguments}]

    # --- the stream

    def events(self) -> Iterator[bytes]:
        number = 0

        def event(value: dict[str, object]) -> bytes:
            nonlocal number
            data = orjson.dumps({**value, "sequence_number": number})
            number += 1
            return b"event: " + str(value["type"]).encode() + b"\ndata: " + data + b"\n\n"

        running = self._response("in_progress", [])
        yield event({"type": "response.created", "response": running})
        yield event({"type": "response.in_progress", "response": running})
        items: list[dict[str, object]] = []
        for index, (item, events) in enumerate(self._items()):
            place = {"output_index": index}
            yield event({"type": "response.output_item.added", **place, "item": _begun(item)})
            for value in events:
                yield event({**value, **place, "item_id": item["id"]})
            yield event({"type": "response.output_item.done", **place, "item": item})
            items.append(item)
        cut = self.choice.finish == "length"
        status = "incomplete" if cut else "completed"
        yield event({"type": f"response.{status}", "response": self._response(status, items)})


def _begun(item: dict[str, object]) -> dict[str, object]:
    """The item before anything of it was said."""
    empty: dict[str, object] = {"content": [], "summary": [], "arguments": "", "input": ""}
    begun = {name: empty.get(name, value) for name, value in item.items()}
    if "status" in begun:
        begun["status"] = "in_progress"
    if "encrypted_content" in begun:
        begun["encrypted_content"] = SEAL
    return begun


def _logprobs(pieces: Sequence[str]) -> list[dict[str, object]]:
    return [
        {"token": piece, "logprob": -0.125, "bytes": list(piece.encode()), "top_logprobs": []}
        for piece in pieces
    ]


SPEAKER = OpenAIResponses()
