"""An alias in a reply that passes: the client reads the name that it sent, and every other byte as it was."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from extproc import discover
from extproc.codec.sse import SseSplitter
from tests.flow.test_exchange import continued
from tests.kit import Dialogue

FIXTURES = Path(__file__).parent / "fixtures"
STREAMS = [*FIXTURES.glob("*/*.sse"), *FIXTURES.glob("*/*.ndjson")]
DIALECTS = discover.registry().dialects
ALIAS = "my älias"
PLACES = (("model",), ("message", "model"), ("response", "model"), ("modelVersion",))


def events(stream: bytes, kind: str) -> list[dict[str, Any]]:
    if kind == ".sse":
        splitter = SseSplitter()
        data = [frame.data or b"" for frame in (*splitter.feed(stream), *splitter.close())]
    else:
        data = stream.splitlines()
    return [json.loads(text) for text in data if text.startswith(b"{")]


def named(event: dict[str, Any]) -> set[str]:
    found: set[str] = set()
    for path in PLACES:
        at: Any = event
        for key in path:
            at = at.get(key) if isinstance(at, dict) else None
        if isinstance(at, str):
            found.add(at)
    return found


@pytest.mark.parametrize(
    "path", sorted(STREAMS), ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_every_event_has_the_clients_name_and_no_other_change(path: Path) -> None:
    naming = DIALECTS[path.parent.name].naming(ALIAS)
    before = path.read_bytes()
    theirs = set[str]().union(*(named(event) for event in events(before, path.suffix)))
    if naming is None:
        assert not theirs
        return
    after = naming.piece(before)
    ours = set[str]().union(*(named(event) for event in events(after, path.suffix)))
    assert ours == ({ALIAS} if theirs else set())
    alternatives = "|".join(re.escape(name) for name in theirs)
    place = rf'("(?:model|modelVersion)"\s*:\s*)"(?:{alternatives})"'
    assert after == re.sub(place.encode(), rf'\1"{ALIAS}"'.encode(), before)


def test_what_a_tool_is_called_with_stays() -> None:
    naming = DIALECTS["anthropic_messages"].naming(ALIAS)
    assert naming is not None
    call = b'{"type":"tool_use","id":"t","name":"ask","input":{"model":"claude-x"}}'
    whole = b'{"id":"m","content":[' + call + b'],"model":"claude-x"}'
    assert (
        naming.whole(whole) == b'{"id":"m","content":[' + call + f'],"model":"{ALIAS}"}}'.encode()
    )
    said = b'data: {"type":"content_block_start","content_block":' + call + b"}\n\n"
    assert naming.piece(said) == said


def test_bytes_that_name_no_model_are_the_very_same() -> None:
    naming = DIALECTS["openai_chat"].naming(ALIAS)
    assert naming is not None
    piece = rb'data: {"choices":[{"delta":{"content":"\"model\":\"x\""}}]}' + b"\n\n"
    assert naming.piece(piece) is piece
    assert naming.whole(piece) is piece


def asking(model: str, *, stream: bool) -> bytes:
    messages = [{"role": "user", "content": "hi"}]
    return json.dumps({"model": model, "messages": messages, "stream": stream}).encode()


REPLY = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"gpt-4o-mini-2024-07-18","choices":'
    b'[{"index":0,"message":{"role":"assistant","content":"\\u00e9"},"finish_reason":"stop"}]}'
)
DATED = b"gpt-4o-mini-2024-07-18"


@pytest.mark.parametrize("asked", ["fast", "acme/gpt-4o-mini"])
async def test_a_whole_reply(asked: str) -> None:
    dialogue = Dialogue()
    await dialogue.head()
    continued(await dialogue.body(asking(asked, stream=False)))
    continued(await dialogue.reply_head(headers={"content-length": str(len(REPLY))}))
    last = continued(await dialogue.reply_body(REPLY))
    assert last.body is not None
    assert last.body == REPLY.replace(DATED, asked.encode())
    assert dict(last.set)["content-length"] == str(len(last.body))
    assert dict(last.set)["x-sluice-model"] == "gpt-4o-mini", "here the real one is told"
    assert dialogue.exchange.record.bytes_out == len(last.body)


async def test_a_model_that_was_asked_for_by_its_own_name() -> None:
    dialogue = Dialogue()
    await dialogue.head()
    continued(await dialogue.body(asking("gpt-4o-mini", stream=False)))
    continued(await dialogue.reply_head())
    assert continued(await dialogue.reply_body(REPLY)).body is None


async def test_a_stream_cut_anywhere() -> None:
    dialogue = Dialogue()
    await dialogue.head()
    continued(await dialogue.body(asking("fast", stream=True)))
    continued(await dialogue.reply_head(content_type="text/event-stream"))
    event = (
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"gpt-4o-mini-2024-07-18",'
        b'"choices":[{"index":0,"delta":{"content":"x"}}]}\n\n'
    )
    cut = len(event) // 2
    first = continued(await dialogue.reply_body(event + event[:cut], end=False)).body
    rest = continued(await dialogue.reply_body(event[cut:], end=False)).body
    assert (first or b"") + (rest or b"") == 2 * event.replace(DATED, b"fast")


async def test_a_providers_own_error_passes_as_it_came() -> None:
    dialogue = Dialogue()
    await dialogue.head()
    continued(await dialogue.body(asking("fast", stream=False)))
    continued(await dialogue.reply_head(400))
    error = b'{"error":{"message":"no","type":"invalid_request_error","param":"model","code":null}}'
    assert continued(await dialogue.reply_body(error)).body is None


def test_a_name_that_is_half_a_character() -> None:
    naming = DIALECTS["openai_chat"].naming("a/\ud800")
    assert naming is not None
    assert naming.whole(b'{"model":"x"}') == '{"model":"a/\ufffd"}'.encode()
