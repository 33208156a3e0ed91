"""`openai`, chat completions."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import openai
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.e2e.harness import Gateway
from tests.e2e.matrix.talk import ALL, Ask, Called, Last, Said, raised

ERRORS = (openai.APIError,)


def sdk(gateway: Gateway, last: Last) -> openai.OpenAI:
    """The SDK, telling `last` of every reply's head."""
    http = openai.DefaultHttpxClient(
        trust_env=False, verify=gateway.trust, event_hooks={"response": [last.note]}
    )
    return gateway.openai(http_client=http)


class ChatClient:
    name: ClassVar[str] = "openai (chat)"
    dialect: ClassVar[str] = "openai_chat"
    finishes: ClassVar[Mapping[str, str]] = {
        "stop": "stop",
        "length": "length",
        "tool": "tool_calls",
        "refusal": "content_filter",
    }
    can: ClassVar[frozenset[str]] = ALL

    def __init__(self, gateway: Gateway) -> None:
        self.last = Last()
        self.sdk = sdk(gateway, self.last)

    def talk(self, ask: Ask) -> ChatTalk:
        return ChatTalk(self.sdk, ask)

    def close(self) -> None:
        self.sdk.close()


class ChatTalk:
    def __init__(self, sdk: openai.OpenAI, ask: Ask) -> None:
        self.sdk = sdk
        self._messages: list[Any] = []
        if ask.system:
            self._messages.append({"role": "system", "content": ask.system})
        options: dict[str, Any] = {"model": ask.model}
        if ask.tools:
            options["tools"] = [
                {
                    "type": "function",
                    "function": {
                        "name": tool.name,
                        "description": tool.about,
                        "parameters": tool.schema,
                    },
                }
                for tool in ask.tools
            ]
        if ask.force:
            options["tool_choice"] = {"type": "function", "function": {"name": ask.force}}
        if ask.schema is not None:
            form = {"name": "answer", "schema": ask.schema}
            options["response_format"] = {"type": "json_schema", "json_schema": form}
        if ask.think:
            options["reasoning_effort"] = "low"
        if ask.max_tokens is not None:
            options["max_completion_tokens"] = ask.max_tokens
        self._options = options

    def user(self, text: str, image: bytes | None = None) -> None:
        content: Any = text
        if image is not None:
            url = "data:image/png;base64," + base64.b64encode(image).decode()
            content = [
                {"type": "text", "text": text},
                {"type": "image_url", "image_url": {"url": url}},
            ]
        self._messages.append({"role": "user", "content": content})

    def results(self, results: Sequence[tuple[Called, str]]) -> None:
        for call, text in results:
            self._messages.append({"role": "tool", "tool_call_id": call.id, "content": text})

    def ask(self, *, stream: bool) -> Said:
        with raised(ERRORS):
            reply, deltas = self._streamed() if stream else (self._whole(), 0)
        (choice,) = reply.choices
        self._messages.append(choice.message.to_dict())
        return Said(
            text=choice.message.content or "",
            calls=tuple(
                Called(call.id, call.function.name, json.loads(call.function.arguments))
                for call in choice.message.tool_calls or ()
                if call.type == "function"
            ),
            finish=choice.finish_reason,
            thinking=getattr(choice.message, "reasoning_content", None) or "",
            refusal=choice.message.refusal or "",
            usage=reply.usage and (reply.usage.prompt_tokens, reply.usage.completion_tokens),
            deltas=deltas,
        )

    def _whole(self) -> ChatCompletion:
        return self.sdk.chat.completions.create(messages=self._messages, **self._options)

    def _streamed(self) -> tuple[ChatCompletion, int]:
        chunks: Iterable[ChatCompletionChunk] = self.sdk.chat.completions.create(
            messages=self._messages,
            stream=True,
            stream_options={"include_usage": True},
            **self._options,
        )
        state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
        deltas = 0
        for chunk in chunks:
            state.handle_chunk(chunk)
            deltas += any(_says(choice.delta) for choice in chunk.choices)
        return state.current_completion_snapshot, deltas


def _says(delta: Any) -> bool:
    arguments = any(call.function and call.function.arguments for call in delta.tool_calls or ())
    return bool(
        delta.content or delta.refusal or getattr(delta, "reasoning_content", "") or arguments
    )
