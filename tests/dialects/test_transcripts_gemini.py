"""Recorded exchanges with Google: laws hold, and the SDK reads what we read.

`SLUICE_TRANSCRIPTS` names the folder; without it the tests look beside the checkout.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from extproc.model.chat import Chat, ListModels
from extproc.model.dialect import ModelCard, RequestHead
from extproc.model.embed import Count, Embed
from extproc.model.reply import Counted, Event, Failed, Finished, Reason, Vector

from . import kit_gemini as kit
from .reading import assert_well_formed, calls, drain, endings, joined, text, thinking, usage

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("SLUICE_TRANSCRIPTS", ROOT.parent / "shared" / "transcripts"))
FILE = FOLDER / "gemini.jsonl"

pytestmark = pytest.mark.skipif(
    not FILE.exists(),
    reason=f"{FILE} is not there; set SLUICE_TRANSCRIPTS to the transcripts' folder",
)


def exchanges(name: str, *apis: str) -> Iterator[dict[str, Any]]:
    path = FOLDER / name
    if path.exists():
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                exchange = json.loads(line)
                if exchange["api"] in apis:
                    yield exchange


ALL = list(exchanges("gemini.jsonl", "gemini"))
ERRORS = list(exchanges("errors.jsonl", "gemini"))
COUNTS = list(exchanges("other.jsonl", "gemini-count-tokens"))
VECTORS = list(exchanges("other.jsonl", "gemini-embed"))
LISTS = [one for one in exchanges("other.jsonl", "models") if one["provider"] == "google"]
BROKEN = "UNEXPECTED_TOOL_CALL"

NUMBERS = {
    "finishReason": {1: "STOP", 2: "MAX_TOKENS"},
    "modality": {1: "TEXT", 2: "IMAGE"},
    "trafficType": {1: "ON_DEMAND"},
}
"""Vertex's enums as numbers, which Google's protobuf clients read and this SDK cannot"""


def for_the_sdk(exchange: dict[str, Any]) -> bytes:
    """The reply; where it has numbers for words, with the words."""
    if "enum-encoding" not in exchange["path"]:
        return exchange["response"].encode()
    return json.dumps(_named(json.loads(exchange["response"]))).encode()


def _named(value: Any) -> Any:
    if isinstance(value, list):
        return [_named(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: NUMBERS[name][item] if name in NUMBERS else _named(item)
        for name, item in value.items()
    }


def by_id(exchange: dict[str, Any]) -> str:
    return exchange["id"]


def ask(exchange: dict[str, Any]) -> Any:
    return kit.ask(exchange["request"], exchange["path"])


def target_of(exchange: dict[str, Any], model: str) -> Any:
    return kit.vertex(model) if "/projects/" in exchange["path"] else kit.target(model)


@pytest.mark.parametrize("exchange", ALL + ERRORS, ids=by_id)
def test_the_request_comes_back(exchange: dict[str, Any]) -> None:
    chat = ask(exchange)
    assert isinstance(chat, Chat)
    assert chat.stream is exchange["stream"]
    to = target_of(exchange, chat.model)
    assert kit.plain(kit.rebuilt(chat, to)) == kit.plain(exchange["request"])
    untouched = kit.DIALECT.render_request(chat, to)
    assert untouched.body is chat.raw
    sent = untouched.path.replace("acme-1", "P").replace("europe-west4", "L")
    asked = exchange["path"].partition("?%24alt")[0]
    if "/projects/" in asked:
        before, after = asked.split("/publishers/")
        asked = f"/{before.split('/')[1]}/projects/P/locations/L/publishers/{after}"
    # Who wants an array gets it, made of events.
    assert untouched.reshaped is (chat.stream and not asked.endswith("?alt=sse"))
    assert sent == (f"{asked}?alt=sse" if untouched.reshaped else asked)


@pytest.mark.parametrize("exchange", ERRORS, ids=by_id)
def test_errors_are_understood(exchange: dict[str, Any]) -> None:
    body = exchange["response"].encode()
    events = kit.decode(body, exchange["response_headers"], exchange["status"])
    assert isinstance(events[-1], Failed)
    said = json.loads(body)["error"]
    assert events[-1].error.status == exchange["status"] == said["code"]
    assert events[-1].error.message == said["message"]
    assert events[-1].error.code == said["status"]


def decoded(exchange: dict[str, Any]) -> list[Event]:
    """The events, the same for several cuts; whatever did not fail passes byte by byte."""
    body = exchange["response"].encode()
    headers, path = exchange["response_headers"], exchange["path"]
    whole, raw = drain(kit.decoder(headers, path=path), [body])
    for step in (997, 61, 4096):
        pieces = [body[i : i + step] for i in range(0, len(body), step)]
        events, passed = drain(kit.decoder(headers, path=path), pieces)
        assert repr(joined(events)) == repr(joined(whole))
        assert passed == raw
    if isinstance(whole[-1], Finished):
        assert raw == body
    return whole


@pytest.mark.parametrize("exchange", ALL, ids=by_id)
def test_the_reply_says_what_the_sdk_reads(exchange: dict[str, Any]) -> None:
    events = decoded(exchange)
    assert_well_formed(events)
    chunks = kit.sdk_any(for_the_sdk(exchange))
    view = kit.sdk_view(chunks)
    used = usage(events)
    expected_usage = kit.sdk_usage(chunks)
    assert (None if used is None else (used.prompt, used.output, used.total)) == expected_usage
    if isinstance(events[-1], Failed):
        # The model called a tool that it did not have: nobody can use that reply.
        assert view[0]["finish"] == BROKEN
        assert BROKEN in events[-1].error.message
        return
    for index, said in view.items():
        assert text(events, index) == said["text"]
        assert thinking(events, index) == said["thoughts"]
        found = [(name, json.loads(arguments)) for _, name, arguments in calls(events, index)]
        assert found == said["calls"]
        ended = endings(events)[index]
        assert ended.raw == said["finish"]
        expected = {"STOP": Reason.STOP, "MAX_TOKENS": Reason.LENGTH}[str(ended.raw)]
        assert ended.reason is (Reason.TOOL if found and expected is Reason.STOP else expected)
    if not view:
        assert endings(events)[0].reason is Reason.FILTER
        assert chunks[0].prompt_feedback is not None


@pytest.mark.parametrize("exchange", ALL, ids=by_id)
@pytest.mark.parametrize("path", [kit.GENERATE, kit.STREAM, kit.ARRAY])
def test_what_is_written_again_says_the_same(exchange: dict[str, Any], path: str) -> None:
    events = decoded(exchange)
    if isinstance(events[-1], Failed):
        return
    first = kit.sdk_any(for_the_sdk(exchange))
    again = kit.sdk_any(kit.encode(events, path))
    for index, said in kit.sdk_view(first).items():
        assert kit.sdk_view(again)[index] == said
    assert signatures(again) == signatures(first)
    assert kit.sdk_usage(again) == kit.sdk_usage(first)


def signatures(chunks: list[Any]) -> list[bytes]:
    candidates = [c for chunk in chunks for c in chunk.candidates or []]
    contents = [c.content for c in candidates if c.content is not None]
    parts = [part for content in contents for part in content.parts or []]
    return [part.thought_signature for part in parts if part.thought_signature]


@pytest.mark.parametrize("exchange", COUNTS, ids=by_id)
def test_counting(exchange: dict[str, Any]) -> None:
    count = ask(exchange)
    assert isinstance(count, Count)
    to = target_of(exchange, count.model)
    sent = kit.DIALECT.render_request(count, to)
    assert sent.body is count.raw
    rebuilt = kit.DIALECT.render_request(Count(_bare(count.chat)), to)
    assert kit.plain(json.loads(rebuilt.body)) == kit.plain(exchange["request"])
    events = kit.decode(exchange["response"].encode(), kit.JSON, path=sent.path)
    client = kit.sdk(exchange["response"].encode())
    total = client.models.count_tokens(model="m", contents="x").total_tokens
    assert [event for event in events if isinstance(event, Counted)] == [Counted(total or 0)]


@pytest.mark.parametrize("exchange", VECTORS, ids=by_id)
def test_embeddings(exchange: dict[str, Any]) -> None:
    embed = ask(exchange)
    assert isinstance(embed, Embed)
    to = target_of(exchange, embed.model)
    sent = kit.DIALECT.render_request(embed, to)
    assert sent.body is embed.raw
    rebuilt = kit.DIALECT.render_request(_bare(embed), to)
    assert json.loads(rebuilt.body) == exchange["request"]
    body = exchange["response"].encode()
    events, passed = drain(kit.decoder(kit.JSON, path=sent.path), [body])
    assert passed == body
    if "embedding" in json.loads(body):
        # The SDK asks the Gemini API for many, and reads the reply to many.
        body = json.dumps({"embeddings": [json.loads(body)["embedding"]]}).encode()
    reply = kit.sdk(body).models.embed_content(model="m", contents="x")
    expected = [tuple(one.values or ()) for one in reply.embeddings or []]
    assert [event.values for event in events if isinstance(event, Vector)] == expected


def _bare(request: Any) -> Any:
    return replace(request, raw=b"")


@pytest.mark.parametrize("exchange", LISTS, ids=by_id)
def test_model_lists_have_googles_shape(exchange: dict[str, Any]) -> None:
    path = exchange["path"].partition("?")[0]
    head = RequestHead("GET", path, "", {}, "models")
    request = kit.DIALECT.parse_request(head, b"")
    assert isinstance(request, ListModels)
    recorded = json.loads(exchange["response"])["models"]
    cards = [ModelCard(one["name"].removeprefix("models/"), "google") for one in recorded]
    reply = kit.DIALECT.render_models(cards, request, "gw-1")
    ours = [model.name for model in kit.sdk(reply.body).models.list(config={"query_base": True})]
    theirs = kit.sdk(exchange["response"].encode()).models.list(config={"query_base": True})
    assert ours == [model.name for model in theirs.page]


def test_all_of_them_were_read() -> None:
    assert (len(ALL), len(ERRORS), len(COUNTS), len(VECTORS), len(LISTS)) == (213, 6, 4, 5, 1)
