"""`openai`, Responses. The history is the list of items, not what the provider keeps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import openai
from openai.types.responses import Response

from tests.e2e.harness import Gateway
from tests.e2e.matrix.clients.openai_sdk import ERRORS, sdk
from tests.e2e.matrix.talk import (
    COMMON,
    Ask,
    Called,
    Failed,
    Heads,
    Medium,
    Result,
    Said,
    Talk,
    raised,
)

_DELTAS = frozenset(
    {
        "response.output_text.delta",
        "response.refusal.delta",
        "response.function_call_arguments.delta",
        "response.reasoning_summary_text.delta",
        "response.reasoning_text.delta",
    }
)


class ResponsesClient:
    name: ClassVar[str] = "openai (responses)"
    dialect: ClassVar[str] = "openai_responses"
    finishes: ClassVar[Mapping[str, str]] = {
        "stop": "completed",
        "length": "incomplete/max_output_tokens",
        "tool": "completed",
        "refusal": "incomplete/content_filter",
    }
    can: ClassVar[frozenset[str]] = COMMON | {
        *("pictured result", "document", "system within"),
        *("citations", "logprobs"),
    }

    def __init__(self, gateway: Gateway) -> None:
        self.last = Heads()
        self.sdk = sdk(gateway, self.last)

    def talk(self, ask: Ask) -> ResponsesTalk:
        return ResponsesTalk(self.sdk, ask)

    def close(self) -> None:
        self.sdk.close()


class ResponsesTalk(Talk):
    def __init__(self, sdk: openai.OpenAI, ask: Ask) -> None:
        self.sdk = sdk
        self._items: list[Any] = []
        options: dict[str, Any] = {"model": ask.model}
        if ask.system:
            options["instructions"] = ask.system
        if ask.tools:
            options["tools"] = [
                {
                    "type": "function",
                    "name": tool.name,
                    "description": tool.about,
                    "parameters": tool.schema,
                    "strict": False,
                }
                for tool in ask.tools
            ]
        if ask.force:
            options["tool_choice"] = {"type": "function", "name": ask.force}
        if ask.schema is not None:
            form = {"type": "json_schema", "name": "answer", "schema": ask.schema, "strict": False}
            options["text"] = {"format": form}
        if ask.think:
            options["reasoning"] = {"effort": "low", "summary": "auto"}
            options["include"] = ["reasoning.encrypted_content"]
        if ask.logprobs:
            options["include"] = ["message.output_text.logprobs"]
        if ask.max_tokens is not None:
            options["max_output_tokens"] = ask.max_tokens
        self._options = options

    def user(self, text: str, medium: Medium | None = None) -> None:
        content: Any = text
        if medium is not None:
            content = [{"type": "input_text", "text": text}, _part(medium)]
        self._items.append({"role": "user", "content": content})

    def results(self, results: Sequence[Result]) -> None:
        for result in results:
            output: Any = result.text
            if result.picture is not None:
                output = [{"type": "input_text", "text": result.text}, _part(result.picture)]
            item = {"type": "function_call_output", "call_id": result.call.id, "output": output}
            self._items.append(item)

    def system(self, text: str) -> None:
        self._items.append({"role": "developer", "content": text})

    def cited(self, text: str, url: str) -> None:
        source = {"type": "url_citation", "url": url, "title": "", "start_index": 0}
        source["end_index"] = len(text)
        part = {"type": "output_text", "text": text, "annotations": [source]}
        message = {"type": "message", "role": "assistant", "status": "completed"}
        self._items.append({**message, "id": "msg_cited", "content": [part]})

    def move(self, model: str) -> None:
        self._options["model"] = model

    def ask(self, *, stream: bool) -> Said:
        with raised(ERRORS):
            reply, deltas = self._streamed() if stream else (self._whole(), 0)
        self._items += [item.to_dict() for item in reply.output]
        why = reply.incomplete_details and reply.incomplete_details.reason
        refusals = [
            part.refusal
            for item in reply.output
            if item.type == "message"
            for part in item.content
            if part.type == "refusal"
        ]
        return Said(
            text=reply.output_text,
            calls=tuple(
                Called(item.call_id, item.name, json.loads(item.arguments))
                for item in reply.output
                if item.type == "function_call"
            ),
            finish=f"{reply.status}/{why}" if why else str(reply.status),
            thinking="".join(_thinking(item) for item in reply.output),
            refusal="".join(refusals),
            usage=reply.usage and (reply.usage.input_tokens, reply.usage.output_tokens),
            deltas=deltas,
            probable=any(
                part.type == "output_text" and part.logprobs
                for item in reply.output
                if item.type == "message"
                for part in item.content
            ),
        )

    def _whole(self) -> Response:
        return self.sdk.responses.create(input=self._items, **self._options)

    def _streamed(self) -> tuple[Response, int]:
        deltas, text, final = 0, "", None
        for event in self.sdk.responses.create(input=self._items, stream=True, **self._options):
            deltas += event.type in _DELTAS
            match event.type:
                case "response.output_text.delta":
                    text += event.delta
                case "response.completed" | "response.incomplete":
                    final = event.response
                case "error":
                    raise Failed(event.type, 0, event.message)
                case "response.failed":
                    # The SDK hands it on as any event; its users look for it.
                    assert event.response.error is not None
                    raise Failed(event.type, 0, event.response.error.message)
                case _:
                    pass
        assert final is not None, "no terminal event"
        assert text == final.output_text
        return final, deltas


def _part(medium: Medium) -> dict[str, Any]:
    if medium.type.startswith("image/"):
        return {"type": "input_image", "image_url": medium.url, "detail": "auto"}
    return {"type": "input_file", "filename": "report.pdf", "file_data": medium.url}


def _thinking(item: Any) -> str:
    if item.type != "reasoning":
        return ""
    return "".join(part.text for part in (*item.summary, *(item.content or ())))
