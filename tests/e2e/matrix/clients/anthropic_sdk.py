"""`anthropic`, Messages; streams by the SDK's own accumulator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import anthropic
from anthropic.types import Message

from tests.e2e.harness import Gateway
from tests.e2e.matrix.talk import COMMON, Ask, Called, Heads, Medium, Result, Said, Talk, raised

_ENOUGH = 4096
_BUDGET = 1024


class AnthropicClient:
    name: ClassVar[str] = "anthropic"
    dialect: ClassVar[str] = "anthropic_messages"
    finishes: ClassVar[Mapping[str, str]] = {
        "stop": "end_turn",
        "stop sequence": "stop_sequence",
        "length": "max_tokens",
        "tool": "tool_use",
        "refusal": "refusal",
    }
    can: ClassVar[frozenset[str]] = COMMON | {
        *("pictured result", "failed result", "document"),
        *("system within", "citations", "stop"),
    }

    def __init__(self, gateway: Gateway) -> None:
        self.last = Heads()
        self.sdk = anthropic.Anthropic(
            base_url=gateway.url,
            api_key=gateway.key,
            max_retries=0,
            timeout=10.0,
            http_client=anthropic.DefaultHttpxClient(
                trust_env=False,
                verify=gateway.trust,
                event_hooks=self.last.hooks,
            ),
        )

    def talk(self, ask: Ask) -> AnthropicTalk:
        return AnthropicTalk(self.sdk, ask)

    def close(self) -> None:
        self.sdk.close()


class AnthropicTalk(Talk):
    def __init__(self, sdk: anthropic.Anthropic, ask: Ask) -> None:
        self.sdk = sdk
        self._messages: list[Any] = []
        options: dict[str, Any] = {"model": ask.model, "max_tokens": ask.max_tokens or _ENOUGH}
        if ask.system:
            options["system"] = ask.system
        if ask.tools:
            options["tools"] = [
                {"name": tool.name, "description": tool.about, "input_schema": tool.schema}
                for tool in ask.tools
            ]
        if ask.force:
            options["tool_choice"] = {"type": "tool", "name": ask.force}
        if ask.schema is not None:
            options["output_config"] = {"format": {"type": "json_schema", "schema": ask.schema}}
        if ask.think:
            options["thinking"] = {"type": "enabled", "budget_tokens": _BUDGET}
        if ask.stop:
            options["stop_sequences"] = list(ask.stop)
        self._options = options

    def user(self, text: str, medium: Medium | None = None) -> None:
        content: Any = text
        if medium is not None:
            content = [_block(medium), {"type": "text", "text": text}]
        self._messages.append({"role": "user", "content": content})

    def results(self, results: Sequence[Result]) -> None:
        blocks: list[Any] = []
        for result in results:
            content: Any = result.text
            if result.picture is not None:
                content = [{"type": "text", "text": result.text}, _block(result.picture)]
            block = {"type": "tool_result", "tool_use_id": result.call.id, "content": content}
            blocks.append({**block, "is_error": True} if result.failed else block)
        self._messages.append({"role": "user", "content": blocks})

    def system(self, text: str) -> None:
        self._messages.append({"role": "system", "content": text})

    def cited(self, text: str, url: str) -> None:
        source = {"type": "web_search_result_location", "url": url, "title": "The tower"}
        citation = {**source, "cited_text": "1889", "encrypted_index": "bW9jaw=="}
        block = {"type": "text", "text": text, "citations": [citation]}
        self._messages.append({"role": "assistant", "content": [block]})

    def move(self, model: str) -> None:
        self._options["model"] = model

    def ask(self, *, stream: bool) -> Said:
        with raised((anthropic.APIError,)):
            reply, deltas = self._streamed() if stream else (self._whole(), 0)
        # Without what only a reply has, as the SDK's users send it back.
        blocks = [block.to_dict() for block in reply.content]
        if blocks:
            self._messages.append({"role": "assistant", "content": blocks})
        text = "".join(block.text for block in reply.content if block.type == "text")
        return Said(
            text=text,
            calls=tuple(
                Called(block.id, block.name, dict(block.input))
                for block in reply.content
                if block.type == "tool_use"
            ),
            finish=str(reply.stop_reason),
            thinking="".join(b.thinking for b in reply.content if b.type == "thinking"),
            refusal=text if reply.stop_reason == "refusal" else "",
            usage=(
                reply.usage.input_tokens
                + (reply.usage.cache_read_input_tokens or 0)
                + (reply.usage.cache_creation_input_tokens or 0),
                reply.usage.output_tokens,
            ),
            deltas=deltas,
        )

    def _whole(self) -> Message:
        return self.sdk.messages.create(messages=self._messages, **self._options)

    def _streamed(self) -> tuple[Message, int]:
        deltas = 0
        with self.sdk.messages.stream(messages=self._messages, **self._options) as stream:
            for event in stream:
                deltas += event.type in ("text", "input_json", "thinking")
            return stream.get_final_message(), deltas


def _block(medium: Medium) -> dict[str, Any]:
    kind = "image" if medium.type.startswith("image/") else "document"
    source = {"type": "base64", "media_type": medium.type, "data": medium.base64}
    return {"type": kind, "source": source}
