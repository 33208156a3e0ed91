"""A reply that the provider gives in another form than the client wants: piece by piece all the same."""

from __future__ import annotations

import json
from typing import Any

from extproc.flow.messages import Mode
from extproc.model.call import Outcome
from tests.flow.test_exchange import continued
from tests.kit import Dialogue, provider, settings

STREAM = "/v1beta/models/gemini-2.5-flash:streamGenerateContent"
ASK = json.dumps({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}).encode()


def chunk(text: str, **more: Any) -> bytes:
    candidate = {"content": {"parts": [{"text": text}], "role": "model"}, **more}
    return b"data: " + json.dumps({"candidates": [candidate]}).encode() + b"\r\n\r\n"


async def begun(path: str) -> Dialogue:
    """A stream that a provider of Gemini's language has begun, as events."""
    dialogue = Dialogue(
        settings(providers={"acme": provider(dialect="gemini_generate", models=("gemini-*",))})
    )
    await dialogue.head(path)
    asked = dict(continued(await dialogue.body(ASK)).set)
    assert asked[":path"].endswith(":streamGenerateContent?alt=sse")
    return dialogue


async def test_an_array_comes_element_by_element() -> None:
    """Without `alt=sse` a client of Gemini reads one array, which must not wait for its end."""
    dialogue = await begun(STREAM)
    head = continued(await dialogue.reply_head(content_type="text/event-stream"))
    assert head.mode is Mode.PIECES
    assert dict(head.set)["content-type"].startswith("application/json")
    events = (chunk("Hel"), chunk("lo"), chunk("!", finishReason="STOP"), b"")
    replies = [continued(await dialogue.reply_body(e, end=not e)) for e in events]
    pieces = [reply.body or b"" for reply in replies]
    assert b"Hel" in pieces[0] and b"lo" in pieces[1]
    elements = json.loads(b"".join(pieces))
    parts = [part for e in elements for c in e["candidates"] for part in c["content"]["parts"]]
    assert "".join(part["text"] for part in parts) == "Hello!"
    assert elements[-1]["candidates"][0]["finishReason"] == "STOP"
    assert (await dialogue.exchange.close()).outcome is Outcome.OK


async def test_an_array_that_breaks_off_is_still_an_array() -> None:
    dialogue = await begun(STREAM)
    await dialogue.reply_head(content_type="text/event-stream")
    first = continued(await dialogue.reply_body(chunk("Hel"), end=False)).body or b""
    last = continued(await dialogue.reply_body(b"")).body or b""
    assert b"Hel" in first and "error" in json.loads(first + last)[-1]


async def test_events_pass_as_they_came() -> None:
    dialogue = await begun(STREAM + "?alt=sse")
    await dialogue.reply_head(content_type="text/event-stream")
    assert continued(await dialogue.reply_body(chunk("Hel"), end=False)).body is None
