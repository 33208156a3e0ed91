"""Runs cells of the matrix: one scenario, one client, one provider, whole or streamed.

Takes a gateway whose aliases lead to the mock in each language; gives a `Cell`. What
is neither an answer nor a refusal that names a field is raised as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar, cast

import openai

from tests.e2e.harness import Gateway
from tests.e2e.matrix.cell import DECLINED, NO_WORD, WORKS, Cell
from tests.e2e.matrix.clients import ChatClient
from tests.e2e.matrix.providers import PROVIDERS, alias
from tests.e2e.matrix.run import Run, Scenario, asked
from tests.e2e.matrix.settings import Setting
from tests.e2e.matrix.talk import Client, Failed

STRICT = {"x-sluice-strict": "1"}
_REFUSED = re.compile(r"cannot take `([^`]+)`|cannot carry (.+?), and x-sluice-strict")

_SAYS_NO = (400, 422)

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

    def strictly(self, scenario: Scenario, kind: type[Client], provider: str) -> Cell:
        """The cell of who forbids any loss."""
        with telling(self.client(kind), STRICT):
            return self._run(scenario, kind, provider, stream=False)

    def _run(self, scenario: Scenario, kind: type[Client], provider: str, *, stream: bool) -> Cell:
        if not scenario.needs <= kind.can:
            return NO_WORD
        mock = self.gateway.mock
        run = Run(self.client(kind), PROVIDERS[provider], mock, stream)
        try:
            scenario.play(run)
        except Failed as failed:
            if failed.status not in _SAYS_NO:
                raise
            if run.client.last.headers["x-sluice-error-origin"] == "provider":
                return replace(DECLINED, said=failed.message)
            found = _REFUSED.search(failed.message)
            if found is None:
                raise
            assert not asked(mock.requests), "refused, and sent all the same"
            names = (found[1] or found[2]).split(", ")
            return Cell("refused", tuple(names))
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


@contextmanager
def telling(client: Client, headers: Mapping[str, str]) -> Iterator[None]:
    """Adds these headers to every request of the client's."""
    client.last.more = dict(headers)
    try:
        yield
    finally:
        client.last.more = {}
