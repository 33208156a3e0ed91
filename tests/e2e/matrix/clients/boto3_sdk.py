"""`boto3`, bedrock-runtime, Converse; with a bearer token, as AWS's API keys are sent."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

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
    Tool,
)

_TOKEN = "AWS_BEARER_TOKEN_BEDROCK"


def sdk(gateway: Gateway) -> Any:
    """A client of the gateway. boto3 takes the token from the environment, at the first request."""
    os.environ[_TOKEN] = gateway.key or ""
    return Session().client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=gateway.url,
        verify=str(gateway.ca) if gateway.ca else None,
        config=Config(
            retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=10, proxies={}
        ),
    )


class BedrockClient:
    name: ClassVar[str] = "boto3 (converse)"
    dialect: ClassVar[str] = "bedrock_converse"
    finishes: ClassVar[Mapping[str, str]] = {
        "stop": "end_turn",
        "stop sequence": "stop_sequence",
        "length": "max_tokens",
        "tool": "tool_use",
        "refusal": "content_filtered",
    }
    can: ClassVar[frozenset[str]] = COMMON | {
        *("pictured result", "failed result", "document", "audio"),
        *("system within", "citations", "stop"),
    }

    def __init__(self, gateway: Gateway) -> None:
        self.last = Heads()
        self.sdk = sdk(gateway)
        self.sdk.meta.events.register("before-send", self.last.send)

    def talk(self, ask: Ask) -> BedrockTalk:
        return BedrockTalk(self.sdk, self.last, ask)

    def close(self) -> None:
        self.sdk.close()
        os.environ.pop(_TOKEN, None)


class BedrockTalk(Talk):
    def __init__(self, sdk: Any, last: Heads, ask: Ask) -> None:
        self.sdk = sdk
        self._last = last
        self._messages: list[Any] = []
        options: dict[str, Any] = {"modelId": ask.model}
        if ask.system:
            options["system"] = [{"text": ask.system}]
        if ask.tools:
            config: dict[str, Any] = {"tools": [_spec(tool) for tool in ask.tools]}
            if ask.force:
                config["toolChoice"] = {"tool": {"name": ask.force}}
            options["toolConfig"] = config
        if ask.schema is not None:
            form = {"jsonSchema": {"schema": json.dumps(ask.schema), "name": "answer"}}
            options["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": form}}
        if ask.think:
            thinking = {"type": "enabled", "budget_tokens": 1024}
            options["additionalModelRequestFields"] = {"thinking": thinking}
        limits: dict[str, Any] = {}
        if ask.max_tokens is not None:
            limits["maxTokens"] = ask.max_tokens
        if ask.stop:
            limits["stopSequences"] = list(ask.stop)
        if limits:
            options["inferenceConfig"] = limits
        self._options = options

    def user(self, text: str, medium: Medium | None = None) -> None:
        content: list[Any] = [{"text": text}]
        if medium is not None:
            content.append(_block(medium))
        self._messages.append({"role": "user", "content": content})

    def results(self, results: Sequence[Result]) -> None:
        content: list[Any] = []
        for one in results:
            blocks: list[Any] = [{"text": one.text}]
            if one.picture is not None:
                blocks.append(_block(one.picture))
            result = {"toolUseId": one.call.id, "content": blocks}
            content.append({"toolResult": {**result, "status": "error"} if one.failed else result})
        self._messages.append({"role": "user", "content": content})

    def system(self, text: str) -> None:
        self._messages.append({"role": "system", "content": [{"text": text}]})

    def cited(self, text: str, url: str) -> None:
        citation = {"title": "The tower", "location": {"web": {"url": url}}}
        cited = {"content": [{"text": text}], "citations": [citation]}
        self._messages.append({"role": "assistant", "content": [{"citationsContent": cited}]})

    def move(self, model: str) -> None:
        self._options["modelId"] = model

    def ask(self, *, stream: bool) -> Said:
        try:
            reply, deltas = self._streamed() if stream else (self._whole(), 0)
        except (ClientError, EventStreamError) as error:
            meta: Any = error.response.get("ResponseMetadata", {})
            self._last.headers = meta.get("HTTPHeaders", {})
            raise Failed(
                error.response.get("Error", {}).get("Code", ""),
                meta.get("HTTPStatusCode", 0),
                str(error),
                self._last.headers.get("retry-after", ""),
            ) from error
        content = reply["content"]
        if content:
            self._messages.append({"role": "assistant", "content": content})
        text = "".join(block.get("text", "") for block in content)
        thoughts = (
            block["reasoningContent"].get("reasoningText", {}).get("text", "")
            for block in content
            if "reasoningContent" in block
        )
        usage = reply.get("usage")
        return Said(
            text=text,
            calls=tuple(
                Called(use["toolUseId"], use["name"], use["input"])
                for use in (block["toolUse"] for block in content if "toolUse" in block)
            ),
            finish=reply["finish"],
            thinking="".join(thoughts),
            refusal=text if reply["finish"] == "content_filtered" else "",
            usage=usage
            and (
                usage["inputTokens"]
                + usage.get("cacheReadInputTokens", 0)
                + usage.get("cacheWriteInputTokens", 0),
                usage["outputTokens"],
            ),
            deltas=deltas,
        )

    def _whole(self) -> dict[str, Any]:
        reply = self.sdk.converse(messages=self._messages, **self._options)
        self._last.headers = reply["ResponseMetadata"]["HTTPHeaders"]
        assert reply["metrics"]["latencyMs"] >= 0
        return {
            "content": reply["output"]["message"]["content"],
            "finish": reply["stopReason"],
            "usage": reply["usage"],
        }

    def _streamed(self) -> tuple[dict[str, Any], int]:
        reply = self.sdk.converse_stream(messages=self._messages, **self._options)
        self._last.headers = reply["ResponseMetadata"]["HTTPHeaders"]
        joined = _Joined()
        for event in reply["stream"]:
            joined.feed(event)
        return {
            "content": joined.content(),
            "finish": joined.finish,
            "usage": joined.usage,
        }, joined.deltas


def _spec(tool: Tool) -> dict[str, Any]:
    schema = {"json": tool.schema}
    return {"toolSpec": {"name": tool.name, "description": tool.about, "inputSchema": schema}}


def _block(medium: Medium) -> dict[str, Any]:
    kind, short = medium.type.split("/")
    source = {"bytes": medium.data}
    if kind == "application":
        return {"document": {"name": "Report", "format": short, "source": source}}
    return {kind: {"format": short, "source": source}}


class _Joined:
    """Blocks of a stream put together, which boto3 leaves to its users."""

    def __init__(self) -> None:
        self.deltas = 0
        self.finish = ""
        self.usage: Any = None
        self._blocks: dict[int, dict[str, Any]] = {}

    def feed(self, event: dict[str, Any]) -> None:
        ((kind, value),) = event.items()
        match kind:
            case "contentBlockStart":
                self._blocks[value["contentBlockIndex"]] = {
                    "toolUse": {**value["start"]["toolUse"], "input": ""}
                }
            case "contentBlockDelta":
                self.deltas += 1
                self._delta(self._blocks.setdefault(value["contentBlockIndex"], {}), value["delta"])
            case "messageStop":
                self.finish = value["stopReason"]
            case "metadata":
                self.usage = value["usage"]
            case _:
                pass

    def _delta(self, block: dict[str, Any], delta: dict[str, Any]) -> None:
        match delta:
            case {"text": text}:
                block["text"] = block.get("text", "") + text
            case {"toolUse": {"input": text}}:
                block["toolUse"]["input"] += text
            case {"reasoningContent": {"redactedContent": data}}:
                block["reasoningContent"] = {"redactedContent": data}
            case {"reasoningContent": thought}:
                held = block.setdefault("reasoningContent", {"reasoningText": {"text": ""}})
                for name, text in thought.items():
                    inner = held["reasoningText"]
                    inner[name] = inner.get(name, "") + text
            case _:
                raise AssertionError(f"an unknown delta: {delta}")

    def content(self) -> list[dict[str, Any]]:
        for block in self._blocks.values():
            if use := block.get("toolUse"):
                use["input"] = json.loads(use["input"] or "{}")
        return [self._blocks[index] for index in sorted(self._blocks)]
