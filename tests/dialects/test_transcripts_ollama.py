"""Recorded exchanges with Ollama, read where they lie: laws hold, and the SDK's own types agree.

`SLUICE_TRANSCRIPTS` names the folder; without it the tests look beside the checkout.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import ollama
import pytest

from extproc.dialects.ollama_chat import DIALECT
from extproc.model.chat import ListModels

from . import kit_ollama as kit
from .reading import assert_well_formed, calls, drain, endings, text, thinking, usage

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("SLUICE_TRANSCRIPTS", ROOT.parent / "shared" / "transcripts"))
NAMES = ("ollama.jsonl", "errors.jsonl", "other.jsonl")

pytestmark = pytest.mark.skipif(
    not (FOLDER / NAMES[0]).exists(),
    reason=f"{FOLDER / NAMES[0]} is not there; set SLUICE_TRANSCRIPTS to the transcripts' folder",
)


def exchanges(name: str) -> list[dict[str, Any]]:
    path = FOLDER / name
    if not path.exists():
        return []
    with path.open(encoding="utf-8") as found:
        return [one for line in found if (one := json.loads(line))["api"] == "ollama"]


ALL = [one for name in NAMES for one in exchanges(name)]


def by_id(exchange: dict[str, Any]) -> str:
    return exchange["id"]


def operation(exchange: dict[str, Any]) -> str:
    return exchange["path"].rpartition("/")[2]


@pytest.mark.parametrize("exchange", ALL, ids=by_id)
def test_the_request_comes_back(exchange: dict[str, Any]) -> None:
    request = exchange["request"]
    chat = kit.ask(request, operation(exchange))
    assert not isinstance(chat, ListModels)
    assert chat.stream == exchange["stream"]
    assert kit.rebuilt(chat) == request
    untouched = DIALECT.render_request(chat, kit.target(chat.model))
    assert untouched.body is chat.raw
    assert untouched.path == exchange["path"]


@pytest.mark.parametrize("exchange", ALL, ids=by_id)
def test_the_reply_says_what_the_sdk_reads(exchange: dict[str, Any]) -> None:
    body = exchange["response"].encode()
    headers, stream = exchange["response_headers"], exchange["stream"]

    def new() -> Any:
        return kit.decoder(headers, 200, stream, exchange["path"])

    events, raw = drain(new(), [body])
    assert raw == body
    assert_well_formed(events)
    for step in (1, 61, 997):
        pieces = [body[i : i + step] for i in range(0, len(body), step)]
        assert drain(new(), pieces) == (events, body)

    said: dict[str, Any] = {"text": "", "thinking": "", "calls": []}
    replies = [sdk(exchange["path"], line) for line in body.splitlines()]
    for reply in replies:
        if isinstance(reply, ollama.GenerateResponse):
            said["text"] += reply.response or ""
            said["thinking"] += reply.thinking or ""
            continue
        said["text"] += reply.message.content or ""
        said["thinking"] += reply.message.thinking or ""
        for call in reply.message.tool_calls or []:
            said["calls"].append((call.function.name, call.function.arguments))
    assert text(events) == said["text"]
    assert thinking(events) == said["thinking"]
    assert [(name, json.loads(a)) for _, name, a in calls(events)] == said["calls"]
    last = replies[-1]
    assert last.done
    assert endings(events)[0].raw == last.done_reason
    found = usage(events)
    if last.prompt_eval_count is None:
        assert found is None
    else:
        assert found is not None
        assert (found.prompt, found.output) == (last.prompt_eval_count, last.eval_count)


def sdk(path: str, line: bytes) -> ollama.ChatResponse | ollama.GenerateResponse:
    if path == "/api/generate":
        return ollama.GenerateResponse(**json.loads(line))
    return ollama.ChatResponse(**json.loads(line))
