"""Recorded legacy completions, read where they lie: laws hold, and the SDK's own types agree.

`SLUICE_TRANSCRIPTS` names the folder; without it the tests look beside the checkout.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from openai._streaming import SSEDecoder
from openai.types import Completion

from extproc.dialects.openai_completions import DIALECT
from extproc.model.reply import Failed, Finished, Started

from . import kit_completions as kit
from .reading import assert_well_formed, drain, endings, joined, text, usage

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("SLUICE_TRANSCRIPTS", ROOT.parent / "shared" / "transcripts"))
NAMES = ("other.jsonl", "errors.jsonl")

pytestmark = pytest.mark.skipif(
    not (FOLDER / NAMES[0]).exists(),
    reason=f"{FOLDER / NAMES[0]} is not there; set SLUICE_TRANSCRIPTS to the transcripts' folder",
)


def exchanges(name: str) -> list[dict[str, Any]]:
    path = FOLDER / name
    if not path.exists():
        return []
    with path.open(encoding="utf-8") as found:
        return [one for line in found if (one := json.loads(line))["api"] == "openai-completions"]


ALL = [one for name in NAMES for one in exchanges(name)]


def by_id(exchange: dict[str, Any]) -> str:
    return exchange["id"]


@pytest.mark.parametrize("exchange", ALL, ids=by_id)
def test_the_request_comes_back(exchange: dict[str, Any]) -> None:
    request = exchange["request"]
    chat = kit.parse(request)
    if chat.stream:
        request = {**request, "stream_options": {"include_usage": True}}
    assert kit.rebuilt(chat) == request
    assert json.loads(DIALECT.render_request(chat, kit.target(chat.model)).body) == request


def sdk_replies(exchange: dict[str, Any]) -> list[Completion]:
    """As the SDK does it: without validation, since providers do not keep to the schema."""
    body = exchange["response"].encode()
    if not exchange["stream"]:
        return [Completion.construct(**json.loads(body))]
    found = SSEDecoder().iter_bytes(iter([body]))
    data = [event.json() for event in found if not event.data.startswith("[DONE]")]
    return [Completion.construct(**datum) for datum in data]


@pytest.mark.parametrize("exchange", ALL, ids=by_id)
def test_the_reply_says_what_the_sdk_reads(exchange: dict[str, Any]) -> None:
    body = exchange["response"].encode()
    headers = exchange["response_headers"]
    events, raw = drain(kit.decoder(headers), [body])
    for step in (1, 61, 997):
        pieces = [body[i : i + step] for i in range(0, len(body), step)]
        again, passed = drain(kit.decoder(headers), pieces)
        assert repr(joined(again)) == repr(joined(events))
        assert passed == raw
    assert_well_formed(events)

    replies = sdk_replies(exchange)
    said = [c for reply in replies for c in getattr(reply, "choices", None) or []]
    assert text(events) == "".join(choice.text for choice in said)
    reasons = [reason for c in said if (reason := getattr(c, "finish_reason", None))]
    if not said:
        # One provider streams chunks in a form of its own: to the SDK they are empty, to us no reply.
        assert isinstance(events[-1], Failed)
        return
    assert isinstance(events[-1], Finished)
    assert raw == body
    started = events[0]
    assert isinstance(started, Started)
    assert started.model == replies[0].model
    assert endings(events)[0].raw == (reasons[-1] if reasons else None)
    told = [reply.usage for reply in replies if getattr(reply, "usage", None)]
    found = usage(events)
    if not told:
        assert found is None
    else:
        assert found is not None and told[-1] is not None
        assert (found.prompt, found.output) == (told[-1].prompt_tokens, told[-1].completion_tokens)
