"""`cohere`, ClientV2.chat."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import cohere
import httpx
from cohere.core.api_error import ApiError

from tests.e2e.harness import Gateway
from tests.e2e.matrix.talk import ALL, Ask, Called, Failed, Last, Said, raised

_FAILED = ("ERROR", "TIMEOUT")


class CohereClient:
    name: ClassVar[str] = "cohere"
    dialect: ClassVar[str] = "cohere_chat"
    finishes: ClassVar[Mapping[str, str]] = {
        "stop": "COMPLETE",
        "length": "MAX_TOKENS",
        "tool": "TOOL_CALL",
        "refusal": "COMPLETE",
    }
    can: ClassVar[frozenset[str]] = ALL

    def __init__(self, gateway: Gateway) -> None:
        self.last = Last()
        self.http = httpx.Client(
            trust_env=False,
            verify=gateway.trust,
            timeout=10.0,
            event_hooks={"response": [self.last.note]},
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


class CohereTalk:
    def __init__(self, sdk: cohere.ClientV2, ask: Ask) -> None:
        self.sdk = sdk
        self._messages: list[Any] = []
        if ask.system:
            self._messages.append({"role": "system", "content": ask.system})
        options: dict[str, Any] = {"model": ask.model}
        tools = [tool for tool in ask.tools if ask.force in ("", tool.name)]
        if tools:
            options["tools"] = [
                {
                    "type": "function",
                    "function": {
                        "name": tool.name,
                        "description": tool.about,
                        "parameters": tool.schema,
                    },
                }
                for tool in tools
            ]
        if ask.force:
            # Its language can only force some tool: its users offer that one alone.
            options["tool_choice"] = "REQUIRED"
        if ask.schema is not None:
            options["response_format"] = {"type": "json_object", "json_schema": dict(ask.schema)}
        if ask.think:
            options["thinking"] = {"type": "enabled", "token_budget": 1024}
        if ask.max_tokens is not None:
            options["max_tokens"] = ask.max_tokens
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
        with raised((ApiError,)):
            message, finish, usage, deltas = self._streamed() if stream else self._whole()
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
        )

    def _whole(self) -> tuple[dict[str, Any], str, Any, int]:
        reply = self.sdk.chat(messages=self._messages, **self._options)
        message: dict[str, Any] = {}
        if reply.message.content:
            message["content"] = [part.dict() for part in reply.message.content]
        if reply.message.tool_calls:
            message["tool_calls"] = [call.dict() for call in reply.message.tool_calls]
        return message, str(reply.finish_reason), reply.usage, 0

    def _streamed(self) -> tuple[dict[str, Any], str, Any, int]:
        parts: dict[int, dict[str, Any]] = {}
        calls: dict[int, dict[str, Any]] = {}
        finish, usage, deltas = "", None, 0
        for event in self.sdk.chat_stream(messages=self._messages, **self._options):
            value: Any = event
            match value.type:
                case "content-start":
                    parts[value.index] = value.delta.message.content.dict()
                case "content-delta":
                    deltas += 1
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
        return message, finish, usage, deltas
