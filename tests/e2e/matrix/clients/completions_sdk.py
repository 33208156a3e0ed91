"""`openai`, legacy completions: one prompt, one continuation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import openai

from tests.e2e.harness import Gateway
from tests.e2e.matrix.clients.openai_sdk import ERRORS, sdk
from tests.e2e.matrix.talk import Ask, Heads, Medium, Said, Talk, raised

_ENOUGH = 256


class CompletionsClient:
    name: ClassVar[str] = "openai (completions)"
    dialect: ClassVar[str] = "openai_completions"
    finishes: ClassVar[Mapping[str, str]] = {"stop": "stop", "length": "length"}
    can: ClassVar[frozenset[str]] = frozenset({"usage", "stop", "answers", "logprobs"})

    def __init__(self, gateway: Gateway) -> None:
        self.last = Heads()
        self.sdk = sdk(gateway, self.last)

    def talk(self, ask: Ask) -> CompletionsTalk:
        return CompletionsTalk(self.sdk, ask)

    def close(self) -> None:
        self.sdk.close()


class CompletionsTalk(Talk):
    def __init__(self, sdk: openai.OpenAI, ask: Ask) -> None:
        self.sdk = sdk
        self._prompt = ""
        self._options: dict[str, Any] = {
            "model": ask.model,
            "max_tokens": ask.max_tokens or _ENOUGH,
        }
        if ask.stop:
            self._options["stop"] = list(ask.stop)
        if ask.answers > 1:
            self._options["n"] = ask.answers
        if ask.logprobs:
            self._options["logprobs"] = 0

    def user(self, text: str, medium: Medium | None = None) -> None:
        self._prompt += text

    def ask(self, *, stream: bool) -> Said:
        with raised(ERRORS):
            if not stream:
                reply = self.sdk.completions.create(prompt=self._prompt, **self._options)
                choice = reply.choices[0]
                said = _said(choice.text, choice.finish_reason, reply.usage, 0)
                probable = bool(choice.logprobs and choice.logprobs.tokens)
                return replace(said, answers=len(reply.choices), probable=probable)
            text, finish, usage, deltas = "", "", None, 0
            indexes, probable = {0}, False
            for chunk in self.sdk.completions.create(
                prompt=self._prompt,
                stream=True,
                stream_options={"include_usage": True},
                **self._options,
            ):
                usage = chunk.usage or usage
                for choice in chunk.choices:
                    indexes.add(choice.index)
                    probable |= bool(choice.logprobs and choice.logprobs.tokens)
                    if choice.index:
                        continue
                    text += choice.text
                    deltas += bool(choice.text)
                    finish = choice.finish_reason or finish
            said = _said(text, finish, usage, deltas)
            return replace(said, answers=len(indexes), probable=probable)


def _said(text: str, finish: str, usage: Any, deltas: int) -> Said:
    counts = usage and (usage.prompt_tokens, usage.completion_tokens)
    return Said(text=text, finish=finish, usage=counts, deltas=deltas)
