"""`ollama`, chat."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import ollama

from tests.e2e.harness import Gateway
from tests.e2e.matrix.talk import COMMON, Ask, Called, Heads, Medium, Result, Said, Talk, raised


class OllamaClient:
    name: ClassVar[str] = "ollama"
    dialect: ClassVar[str] = "ollama_chat"
    finishes: ClassVar[Mapping[str, str]] = {
        "stop": "stop",
        "length": "length",
        "tool": "stop",
        "refusal": "stop",
    }
    # Its language has neither a way to force a tool nor a word for a refusal.
    can: ClassVar[frozenset[str]] = (COMMON - {"force"}) | {"system within", "stop", "logprobs"}

    def __init__(self, gateway: Gateway) -> None:
        self.last = Heads()
        self.sdk = ollama.Client(
            gateway.url,
            headers=gateway.auth,
            trust_env=False,
            verify=gateway.trust,
            timeout=10.0,
            event_hooks=self.last.hooks,
        )

    def talk(self, ask: Ask) -> OllamaTalk:
        return OllamaTalk(self.sdk, ask)

    def close(self) -> None:
        self.sdk.close()


class OllamaTalk(Talk):
    def __init__(self, sdk: ollama.Client, ask: Ask) -> None:
        self.sdk = sdk
        self._messages: list[Any] = []
        if ask.system:
            self._messages.append({"role": "system", "content": ask.system})
        options: dict[str, Any] = {"model": ask.model}
        if ask.tools:
            options["tools"] = [tool.function for tool in ask.tools]
        if ask.schema is not None:
            options["format"] = dict(ask.schema)
        if ask.think:
            options["think"] = True
        if ask.max_tokens is not None:
            options["options"] = {"num_predict": ask.max_tokens}
        if ask.stop:
            options["options"] = {"stop": list(ask.stop)}
        if ask.logprobs:
            options["logprobs"] = True
        self._options = options

    def user(self, text: str, medium: Medium | None = None) -> None:
        images = [ollama.Image(value=medium.data)] if medium is not None else None
        self._messages.append(ollama.Message(role="user", content=text, images=images))

    def results(self, results: Sequence[Result]) -> None:
        for result in results:
            message = {"role": "tool", "tool_name": result.call.name, "content": result.text}
            self._messages.append(message)

    def system(self, text: str) -> None:
        self._messages.append({"role": "system", "content": text})

    def move(self, model: str) -> None:
        self._options["model"] = model

    def ask(self, *, stream: bool) -> Said:
        with raised((ollama.ResponseError,)):
            replies = list(self._streamed()) if stream else [self._whole()]
        last = replies[-1]
        assert last.done
        message = ollama.Message(
            role="assistant",
            content="".join(reply.message.content or "" for reply in replies),
            thinking="".join(reply.message.thinking or "" for reply in replies) or None,
            tool_calls=[call for reply in replies for call in reply.message.tool_calls or ()]
            or None,
        )
        self._messages.append(message)
        given, made = last.prompt_eval_count, last.eval_count
        return Said(
            text=message.content or "",
            calls=tuple(
                Called("", call.function.name, call.function.arguments)
                for call in message.tool_calls or ()
            ),
            finish=last.done_reason or "",
            thinking=message.thinking or "",
            refusal=message.content or "",
            usage=None if given is None or made is None else (given, made),
            deltas=stream
            and sum(
                bool(one.message.content or one.message.thinking or one.message.tool_calls)
                for one in replies
            ),
            probable=any(one.logprobs for one in replies),
        )

    def _whole(self) -> ollama.ChatResponse:
        return self.sdk.chat(messages=self._messages, **self._options)

    def _streamed(self) -> Iterator[ollama.ChatResponse]:
        return self.sdk.chat(messages=self._messages, stream=True, **self._options)
