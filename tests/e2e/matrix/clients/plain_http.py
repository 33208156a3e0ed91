"""The simple query language, which has no SDK: `/query` and `/stream` over plain HTTP."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

import httpx

from tests.e2e.harness import Gateway
from tests.e2e.matrix.talk import Ask, Failed, Heads, Medium, Said, Talk


class SimpleClient:
    name: ClassVar[str] = "simple query"
    dialect: ClassVar[str] = "simple_query"
    finishes: ClassVar[Mapping[str, str]] = {"stop": "", "length": ""}
    can: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, gateway: Gateway) -> None:
        self.last = Heads()
        self.http = gateway.http(gateway.key, event_hooks=self.last.hooks)

    def talk(self, ask: Ask) -> SimpleTalk:
        return SimpleTalk(self.http, ask)

    def close(self) -> None:
        self.http.close()


class SimpleTalk(Talk):
    def __init__(self, http: httpx.Client, ask: Ask) -> None:
        self.http = http
        self._fields: dict[str, Any] = {"model": ask.model, "prompt": ""}
        if ask.max_tokens is not None:
            self._fields["max_tokens"] = ask.max_tokens

    def user(self, text: str, medium: Medium | None = None) -> None:
        self._fields["prompt"] += text

    def ask(self, *, stream: bool) -> Said:
        reply = self.http.post("/stream" if stream else "/query", json=self._fields)
        if reply.status_code != 200:
            error = reply.json()["error"]
            raise Failed("HTTP", reply.status_code, error, reply.headers.get("retry-after", ""))
        if not stream:
            fields = reply.json()
            return Said(text=fields["response"])
        if '"error"' in reply.text:
            raise Failed("event", 0, reply.text.rpartition("data: ")[2])
        lines = [line[6:] for line in reply.text.splitlines() if line.startswith("data: ")]
        assert lines[-1] == "[DONE]"
        events = [json.loads(line) for line in lines[:-1]]
        assert events[-1]["finished"]
        chunks = [event["chunk"] for event in events if event["chunk"]]
        return Said(text="".join(chunks), deltas=len(chunks))
