"""Runs cells of the matrix: one scenario, one client, one provider, whole or streamed.

Takes a gateway whose aliases `on-<provider>` lead to the mock in each language;
gives a `Cell`. What is neither an answer nor a refusal that names a field is
raised as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar, cast

import openai

from extproc.mock import MockProvider
from tests.e2e.harness import Gateway
from tests.e2e.matrix.cell import NO_WORD, WORKS, Cell
from tests.e2e.matrix.clients import ChatClient
from tests.e2e.matrix.scenarios import Run, Scenario, alias
from tests.e2e.matrix.settings import Setting
from tests.e2e.matrix.talk import Client, Failed

MODELS: Mapping[str, str] = {
    "openai_chat": "gpt-5-mini",
    "openai_responses": "gpt-5-mini",
    "anthropic_messages": "claude-sonnet-4-5",
    "gemini_generate": "gemini-3-flash-preview",
    "bedrock_converse": "anthropic.claude-sonnet-4-5-20250929-v1:0",
    "ollama_chat": "qwen3",
    "cohere_chat": "command-a-03-2025",
    "openai_completions": "gpt-3.5-turbo-instruct",
}
"""A model for each language of providers, in the order of the table's columns."""

SKILLED: Mapping[str, Mapping[str, str]] = {
    "thinking": {
        # OpenAI's own do not show in this language what they think.
        "openai_chat": "deepseek-reasoner",
        "cohere_chat": "command-a-reasoning-08-2025",
    },
    "seeing": {"cohere_chat": "command-a-vision-07-2025"},
    "embedding": {
        "openai_chat": "text-embedding-3-small",
        "gemini_generate": "gemini-embedding-001",
        "bedrock_converse": "amazon.titan-embed-text-v2:0",
        "ollama_chat": "nomic-embed-text",
        "cohere_chat": "embed-v4.0",
    },
    "ranking": {"cohere_chat": "rerank-v3.5"},
}
"""Models for what the usual one of a provider cannot do."""

_FIELD = re.compile(r"cannot take `([^`]+)`")


def any_model(provider: str) -> str:
    """How all names begin that go to this language's provider as they are."""
    return f"any-{provider.partition('_')[2]}-"


def blocks(mock: MockProvider) -> dict[str, Any]:
    """The gateway's configuration: a provider and an alias for each language."""
    providers = {
        dialect.replace("_", "-"): {
            "dialect": dialect,
            "endpoint": mock.base_url if dialect.startswith("openai") else mock.url,
            "api_key": "${ACME_KEY}",
            "models": [any_model(dialect) + "*"],
        }
        for dialect in MODELS
    }
    aliases = {
        alias(dialect, skill): [{"provider": dialect.replace("_", "-"), "model": model}]
        for skill, special in {"": {}, **SKILLED}.items()
        for dialect, model in {**MODELS, **special}.items()
    }
    return {"providers": providers, "models": aliases}


C = TypeVar("C", bound=Client)


class Matrix:
    """Every cell once; clients are made on first use and kept."""

    def __init__(self, gateway: Gateway, clients: tuple[type[Client], ...]) -> None:
        self.gateway = gateway
        self._made: dict[type[Client], Client] = {}
        self._cells: dict[tuple[str, str, str, bool], Cell] = {}
        self.clients = clients

    def client(self, kind: type[C]) -> C:
        """The one instance of this client."""
        if kind not in self._made:
            self._made[kind] = kind(self.gateway)
        return cast("C", self._made[kind])

    def cell(self, scenario: Scenario, kind: type[Client], provider: str, *, stream: bool) -> Cell:
        key = (scenario.name, kind.dialect, provider, stream)
        if key not in self._cells:
            self._cells[key] = self._run(scenario, kind, provider, stream=stream)
        return self._cells[key]

    def _run(self, scenario: Scenario, kind: type[Client], provider: str, *, stream: bool) -> Cell:
        if not scenario.needs <= kind.can:
            return NO_WORD
        mock = self.gateway.mock
        run = Run(self.client(kind), provider, mock, stream)
        try:
            scenario.play(run)
        except Failed as failed:
            field = _FIELD.search(failed.message)
            if failed.status != 400 or field is None:
                raise
            assert not mock.requests, "refused, and sent all the same"
            return Cell("refused", (field[1],))
        return Cell("lossy", tuple(run.dropped)) if run.dropped else WORKS

    def setting(self, setting: Setting, provider: str) -> Cell:
        """The cell of one setting, asked by the chat client."""
        key = (setting.name, ChatClient.dialect, provider, False)
        if key not in self._cells:
            self._cells[key] = self._set(setting, provider)
        return self._cells[key]

    def _set(self, setting: Setting, provider: str) -> Cell:
        client = self.client(ChatClient)
        plain = self._sent(provider, {})
        try:
            sent = self._sent(provider, setting.fields)
        except openai.BadRequestError as error:
            assert error.response.headers["x-sluice-error-origin"] == "gateway", error
            return Cell("refused", (str(error.param),))
        if dropped := client.last.dropped:
            return Cell("lossy", dropped)
        assert setting.silent or sent != plain, "nothing of it arrived, and nobody said so"
        return WORKS

    def _sent(self, provider: str, fields: Mapping[str, Any]) -> object:
        """What arrives at the provider when the chat client sets these fields."""
        self.gateway.mock.clear()
        messages: Any = [{"role": "user", "content": "hi"}]
        self.client(ChatClient).sdk.chat.completions.create(
            model=alias(provider), messages=messages, extra_body=dict(fields)
        )
        (request,) = self.gateway.mock.requests
        return request.json

    def close(self) -> None:
        for client in self._made.values():
            client.close()
