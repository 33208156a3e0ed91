"""`cohere`, ClientV2.chat."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import cohere
import httpx
from cohere.core.api_error import ApiError

from tests.e2e.harness import Gateway
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

_Reply = tuple[dict[str, Any], str, Any, int, bool]
"""message, finish, usage, pieces, and whether tokens came with their probabilities"""
_FAILED = ("ERROR", "TIMEOUT")


class CohereClient:
    name: ClassVar[str] = "cohere"
    dialect: ClassVar[str] = "cohere_chat"
    finishes: ClassVar[Mapping[str, str]] = {
        "stop": "COMPLETE",
        "stop sequence": "STOP_SEQUENCE",
        "length": "MAX_TOKENS",
        "tool": "TOOL_CALL",
        "refusal": "COMPLETE",
    }
    can: ClassVar[frozenset[str]] = COMMON | {"system within", "citations", "stop", "logprobs"}

    def __init__(self, gateway: Gateway) -> None:
        self.last = Heads()
        self.http = httpx.Client(
            trust_env=False,
            verify=gateway.trust,
            timeout=10.0,
            event_hooks=self.last.hooks,
        )
        self.sdk = cohere.ClientV2(
            gateway.key,
            base_url=gateway.url,
            httpx_client=self.http,
            max_retries=0,
            log_warning_experimental_features=False,
        )

    def talk(self, ask: Ask) -> CohereTalk:
        return CohereTalk(self.sdk, ask)

    def close(self) -> None:
        self.http.close()


class CohereTalk(Talk):
    def __init__(self, sdk: cohere.ClientV2, ask: Ask) -> None:
        self.sdk = sdk
        self._messages: list[Any] = []
        if ask.system:
            self._messages.append({"role": "system", "content": ask.system})
        options: dict[str, Any] = {"model": ask.model}
        tools = [tool for tool in ask.tools if ask.force in ("", tool.name)]
        if tools:
            options["tools"] = [tool.function for tool in tools]
        if ask.force:
            # Its language can only force some tool: its users offer that one alone.
            options["tool_choice"] = "REQUIRED"
        if ask.schema is not None:
            options["response_format"] = {"type": "json_object", "json_schema": dict(ask.schema)}
        if ask.think:
            options["thinking"] = {"type": "enabled", "token_budget": 1024}
        if ask.max_tokens is not None:
            options["max_tokens"] = ask.max_tokens
        if ask.stop:
            options["stop_sequences"] = list(ask.stop)
        if ask.logprobs:
            options["logprobs"] = True
        self._options = options

    def user(self, text: str, medium: Medium | None = None) -> None:
        content: Any = text
        if medium is not None:
            content = [
                {"type": "text", "text": text},
                {"type": "image_url", "image_url": {"url": medium.url}},
            ]
        self._messages.append({"role": "user", "content": content})

    def results(self, results: Sequence[Result]) -> None:
        for result in results:
            message = {"role": "tool", "tool_call_id": result.call.id, "content": result.text}
            self._messages.append(message)

    def system(self, text: str) -> None:
        self._messages.append({"role": "system", "content": text})

    def cited(self, text: str, url: str) -> None:
        document = {"type": "document", "id": "doc:0", "document": {"url": url}}
        citation = {"start": 0, "end": len(text), "text": text, "sources": [document]}
        message = {"role": "assistant", "content": text, "citations": [citation]}
        self._messages.append(message)

    def move(self, model: str) -> None:
        self._options["model"] = model

    def ask(self, *, stream: bool) -> Said:
        with raised((ApiError,)):
            reply = self._streamed() if stream else self._whole()
        message, finish, usage, deltas, probable = reply
        if finish in _FAILED:
            raise Failed(finish, 0, "the SDK raises nothing for this")
        self._messages.append({"role": "assistant", **message})
        text = "".join(p.get("text", "") for p in message.get("content", ()))
        tokens = usage and usage.tokens
        return Said(
            text=text,
            calls=tuple(
                Called(
                    call["id"],
                    call["function"]["name"],
                    json.loads(call["function"]["arguments"]),
                )
                for call in message.get("tool_calls", ())
            ),
            finish=finish,
            thinking="".join(p.get("thinking", "") for p in message.get("content", ())),
            refusal=text,
            usage=tokens and (int(tokens.input_tokens or 0), int(tokens.output_tokens or 0)),
            deltas=deltas,
            probable=probable,
        )

    def _whole(self) -> _Reply:
        reply = self.sdk.chat(messages=self._messages, **self._options)
        message: dict[str, Any] = {}
        if reply.message.content:
            message["content"] = [part.dict() for part in reply.message.content]
        if reply.message.tool_calls:
            message["tool_calls"] = [call.dict() for call in reply.message.tool_calls]
        return message, str(reply.finish_reason), reply.usage, 0, bool(reply.logprobs)

    def _streamed(self) -> _Reply:
        parts: dict[int, dict[str, Any]] = {}
        calls: dict[int, dict[str, Any]] = {}
        finish, usage, deltas, probable = "", None, 0, False
        for event in self.sdk.chat_stream(messages=self._messages, **self._options):
            value: Any = event
            match value.type:
                case "content-start":
                    parts[value.index] = value.delta.message.content.dict()
                case "content-delta":
                    deltas += 1
                    probable |= bool(value.logprobs)
                    for name, text in value.delta.message.content.dict().items():
                        if name in ("text", "thinking") and text:
                            part = parts[value.index]
                            part[name] = (part.get(name) or "") + text
                case "tool-call-start":
                    calls[value.index] = value.delta.message.tool_calls.dict()
                case "tool-call-delta":
                    deltas += 1
                    text = value.delta.message.tool_calls.function.arguments
                    calls[value.index]["function"]["arguments"] += text
                case "message-end":
                    finish, usage = str(value.delta.finish_reason), value.delta.usage
                case _:
                    pass
        message: dict[str, Any] = {}
        if parts:
            message["content"] = list(parts.values())
        if calls:
            message["tool_calls"] = list(calls.values())
        return message, finish, usage, deltas, probable
