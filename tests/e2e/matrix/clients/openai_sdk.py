"""`openai`, chat completions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import openai
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.e2e.harness import Gateway
from tests.e2e.matrix.talk import COMMON, Ask, Called, Heads, Medium, Result, Said, Talk, raised

ERRORS = (openai.APIError,)


def sdk(gateway: Gateway, last: Heads) -> openai.OpenAI:
    """The SDK, telling `last` of every reply's head."""
    http = openai.DefaultHttpxClient(trust_env=False, verify=gateway.trust, event_hooks=last.hooks)
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
    can: ClassVar[frozenset[str]] = COMMON | {
        *("document", "audio", "system within"),
        *("stop", "answers", "logprobs"),
    }

    def __init__(self, gateway: Gateway) -> None:
        self.last = Heads()
        self.sdk = sdk(gateway, self.last)

    def talk(self, ask: Ask) -> ChatTalk:
        return ChatTalk(self.sdk, ask)

    def close(self) -> None:
        self.sdk.close()


class ChatTalk(Talk):
    def __init__(self, sdk: openai.OpenAI, ask: Ask) -> None:
        self.sdk = sdk
        self._messages: list[Any] = []
        if ask.system:
            self._messages.append({"role": "system", "content": ask.system})
        options: dict[str, Any] = {"model": ask.model}
        if ask.tools:
            options["tools"] = [tool.function for tool in ask.tools]
        if ask.force:
            options["tool_choice"] = {"type": "function", "function": {"name": ask.force}}
        if ask.schema is not None:
            form = {"name": "answer", "schema": ask.schema}
            options["response_format"] = {"type": "json_schema", "json_schema": form}
        if ask.think:
            options["reasoning_effort"] = "low"
        if ask.max_tokens is not None:
            options["max_completion_tokens"] = ask.max_tokens
        if ask.stop:
            options["stop"] = list(ask.stop)
        if ask.answers > 1:
            options["n"] = ask.answers
        if ask.logprobs:
            options["logprobs"] = True
        self._options = options

    def user(self, text: str, medium: Medium | None = None) -> None:
        content: Any = text
        if medium is not None:
            content = [{"type": "text", "text": text}, _part(medium)]
        self._messages.append({"role": "user", "content": content})

    def results(self, results: Sequence[Result]) -> None:
        for result in results:
            message = {"role": "tool", "tool_call_id": result.call.id, "content": result.text}
            self._messages.append(message)

    def system(self, text: str) -> None:
        self._messages.append({"role": "system", "content": text})

    def move(self, model: str) -> None:
        self._options["model"] = model

    def ask(self, *, stream: bool) -> Said:
        with raised(ERRORS):
            reply, deltas = self._streamed() if stream else (self._whole(), 0)
        choice = reply.choices[0]
        self._messages.append(choice.message.to_dict())
        return Said(
            text=_text(choice.message.content),
            calls=tuple(
                Called(call.id, call.function.name, json.loads(call.function.arguments))
                for call in choice.message.tool_calls or ()
                if call.type == "function"
            ),
            finish=choice.finish_reason,
            thinking=_thought(choice.message),
            refusal=choice.message.refusal or "",
            usage=reply.usage and (reply.usage.prompt_tokens, reply.usage.completion_tokens),
            deltas=deltas,
            answers=len(reply.choices),
            probable=bool(choice.logprobs and choice.logprobs.content),
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


def _part(medium: Medium) -> dict[str, Any]:
    if medium.type.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": medium.url}}
    if medium.type.startswith("audio/"):
        audio = {"data": medium.base64, "format": medium.type.partition("/")[2]}
        return {"type": "input_audio", "input_audio": audio}
    return {"type": "file", "file": {"filename": "report.pdf", "file_data": medium.url}}


def _thought(message: Any) -> str:
    """What it thought; OpenAI has no word for it, and the others have two, or a kind of part."""
    found = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None)
    if found or not isinstance(message.content, list):
        return found or ""
    parts: list[Any] = message.content
    return "".join(one["text"] for part in parts for one in part.get("thinking", ()))


def _text(content: Any) -> str:
    if not isinstance(content, list):
        return content or ""
    parts: list[Any] = content
    return "".join(part.get("text", "") for part in parts)


def _says(delta: Any) -> bool:
    arguments = any(call.function and call.function.arguments for call in delta.tool_calls or ())
    return bool(delta.content or delta.refusal or _thought(delta) or arguments)
