"""Recorded exchanges with Bedrock, read where they lie: laws hold, and botocore agrees."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from extproc.codec.aws_eventstream import EventStreamDecoder
from extproc.dialects.bedrock_converse import DIALECT
from extproc.model.chat import Chat
from extproc.model.dialect import ReplyHead
from extproc.model.embed import Count, Embed, Opaque, Request
from extproc.model.reply import Counted, Event, Finished, Note, PartKind, PartStarted, Vector
from tests.dialects import kit_bedrock as kit
from tests.dialects import reading
from tests.transcripts import body_of, by_id, exchanges, needed

pytestmark = needed

ALL = list(exchanges("bedrock-converse.jsonl"))
ERRORS = [one for one in exchanges("errors.jsonl") if one["api"].startswith("bedrock-")]
OTHER = [one for one in exchanges("other.jsonl") if one["api"].startswith("bedrock-")]
EMBEDDERS = ("titan-embed", "cohere.embed")


def path_of(exchange: dict[str, Any]) -> str:
    """Without what stood before it at a gateway of others."""
    path = exchange["path"]
    return path[path.index("/model/") :]


def asked(exchange: dict[str, Any]) -> Request:
    return kit.request(exchange["request"], path_of(exchange))


def test_there_are_as_many_as_there_should_be() -> None:
    assert len(ALL) == 113
    assert sum(exchange["stream"] for exchange in ALL) == 19
    assert (len(ERRORS), len(OTHER)) == (10, 10)


@pytest.mark.parametrize("exchange", ALL + ERRORS + OTHER, ids=by_id)
def test_the_request_comes_back(exchange: dict[str, Any]) -> None:
    request = asked(exchange)
    about = kit.target(request.model or "")
    untouched = DIALECT.render_request(request, about)
    assert json.loads(untouched.body) == exchange["request"]
    assert untouched.stream == exchange["stream"]
    # Some SDKs leave `:` as it is.
    assert untouched.path == path_of(exchange).replace(":", "%3A")
    match request:
        case Chat() | Embed():
            rendered = DIALECT.render_request(replace(request, raw=b""), about)
            assert json.loads(rendered.body) == exchange["request"]
        case Count():
            chat = replace(request.chat, raw=b"")
            rendered = DIALECT.render_request(Count(chat), about)
            assert json.loads(rendered.body) == exchange["request"]
        case _:
            assert isinstance(request, Opaque)
            assert exchange["api"] != "bedrock-converse"


@pytest.mark.parametrize("exchange", ERRORS, ids=by_id)
def test_errors_are_understood(exchange: dict[str, Any]) -> None:
    rendered = DIALECT.render_request(asked(exchange), kit.target())
    decoder = DIALECT.decoder(ReplyHead(exchange["status"], exchange["response_headers"]), rendered)
    error = reading.failure(reading.drain(decoder, [body_of(exchange)])[0])
    assert error.status == exchange["status"]
    assert error.message == json.loads(body_of(exchange))["message"]


def decoded(exchange: dict[str, Any]) -> list[Event]:
    """The events, the same for several cuts; every byte passes."""
    body = body_of(exchange)
    rendered = DIALECT.render_request(asked(exchange), kit.target())
    head = ReplyHead(exchange["status"], exchange["response_headers"])
    whole, raw = reading.drain(DIALECT.decoder(head, rendered), [body])
    assert raw == body
    for step in (1, 61, 997):
        pieces = [body[i : i + step] for i in range(0, len(body), step)]
        events, passed = reading.drain(DIALECT.decoder(head, rendered), pieces)
        assert events == whole
        assert passed == raw
    assert isinstance(whole[-1], Finished)
    return whole


def sdk_view(exchange: dict[str, Any]) -> dict[str, Any]:
    """What botocore reads, its pieces joined."""
    body = body_of(exchange)
    if not exchange["stream"]:
        reply = kit.sdk_whole(body)
        content = reply["output"]["message"]["content"]
        calls = [block["toolUse"] for block in content if "toolUse" in block]
        thoughts = [b["reasoningContent"] for b in content if "reasoningContent" in b]
        said = [thought.get("reasoningText", {}) for thought in thoughts]
        return {
            "text": "".join(block.get("text", "") for block in content),
            "thinking": "".join(one.get("text", "") for one in said),
            "signatures": [one["signature"] for one in said if "signature" in one],
            "redacted": [t["redactedContent"] for t in thoughts if "redactedContent" in t],
            "calls": [(c["toolUseId"], c["name"], c["input"]) for c in calls],
            "stop": reply["stopReason"],
            "usage": reply["usage"],
        }
    view: dict[str, Any] = {
        "text": "",
        "thinking": "",
        "signatures": [],
        "redacted": [],
        "calls": [],
    }
    inputs: dict[int, str] = {}
    open_calls: dict[int, Any] = {}
    for event in kit.sdk_stream(body):
        for name, value in event.items():
            match name:
                case "contentBlockStart" if "toolUse" in value["start"]:
                    use = value["start"]["toolUse"]
                    # A call that the provider answers itself is nobody's call.
                    if use.get("type") != "server_tool_use":
                        open_calls[value["contentBlockIndex"]] = use
                        inputs[value["contentBlockIndex"]] = ""
                case "contentBlockDelta":
                    delta = value["delta"]
                    view["text"] += delta.get("text", "")
                    view["thinking"] += delta.get("reasoningContent", {}).get("text", "")
                    if value["contentBlockIndex"] in inputs:
                        inputs[value["contentBlockIndex"]] += delta["toolUse"]["input"]
                case "messageStop":
                    view["stop"] = value["stopReason"]
                case "metadata":
                    view["usage"] = value["usage"]
                case _:
                    pass
    for index, use in open_calls.items():
        given = json.loads(inputs[index] or "{}")
        view["calls"].append((use["toolUseId"], use["name"], given))
    return view


@pytest.mark.parametrize("exchange", ALL, ids=by_id)
def test_the_reply_says_what_the_sdk_reads(exchange: dict[str, Any]) -> None:
    events = decoded(exchange)
    reading.assert_well_formed(events)
    view = sdk_view(exchange)
    assert reading.text(events) == view["text"]
    assert reading.thinking(events) == view["thinking"]
    notes = [event for event in events if isinstance(event, Note)]
    signatures = [note.value for note in notes if note.kind == "signature"]
    redacted = [base64.b64decode(str(n.value)) for n in notes if n.kind == "redacted"]
    assert (signatures, redacted) == (view["signatures"], view["redacted"])
    found = [(i, name, json.loads(text)) for i, name, text in reading.calls(events)]
    assert found == view["calls"]
    assert reading.endings(events)[0].raw == view["stop"]
    usage = reading.usage(events)
    assert usage is not None
    told = view["usage"]
    assert usage.fresh == told["inputTokens"]
    assert usage.output == told["outputTokens"]
    assert usage.total == told["totalTokens"]
    assert usage.cache_read == told.get("cacheReadInputTokens", 0)
    assert usage.cache_write == told.get("cacheWriteInputTokens", 0)
    # Measured here: the provider's total holds what the cache gave and took.
    assert usage.total == usage.prompt + usage.output


@pytest.mark.parametrize("exchange", ALL, ids=by_id)
def test_the_reply_can_be_said_again(exchange: dict[str, Any]) -> None:
    events = decoded(exchange)
    again = kit.encode(events, stream=exchange["stream"])
    if exchange["stream"]:
        # No padding and no empty deltas, and nothing else is missing.
        before = without_empty([unpadded(one) for one in frames(body_of(exchange))])
        assert [unpadded(one) for one in frames(again)] == before
    else:
        value = json.loads(body_of(exchange))
        value["usage"].setdefault("cacheReadInputTokens", 0)
        value["usage"].setdefault("cacheWriteInputTokens", 0)
        content = value["output"]["message"]["content"]
        value["output"]["message"]["content"] = [b for b in content if b.get("text") != ""]
        assert json.loads(again) == value


def frames(body: bytes) -> list[dict[str, Any]]:
    found = EventStreamDecoder().feed(body)
    return [{str(one.headers[":event-type"]): json.loads(one.payload)} for one in found]


def without_empty(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without deltas of nothing and blocks that have only such; the others counted anew."""
    nothing = ({"text": ""}, {"toolUse": {"input": ""}})
    said = [e for e in events if e.get("contentBlockDelta", {}).get("delta") not in nothing]
    places: dict[int, int] = {}
    kept: list[dict[str, Any]] = []
    for event in said:
        name, value = next(iter(event.items()))
        index = value.get("contentBlockIndex")
        if index is not None:
            if name == "contentBlockStop" and index not in places:
                continue
            value["contentBlockIndex"] = places.setdefault(index, len(places))
        kept.append(event)
    return kept


def unpadded(event: dict[str, Any]) -> dict[str, Any]:
    for value in event.values():
        value.pop("p", None)
        if "usage" in value:
            value["usage"].setdefault("cacheReadInputTokens", 0)
            value["usage"].setdefault("cacheWriteInputTokens", 0)
    return event


@pytest.mark.parametrize("exchange", OTHER, ids=by_id)
def test_other_replies(exchange: dict[str, Any]) -> None:
    request = asked(exchange)
    events = decoded(exchange)
    usage = reading.usage(events)
    match request:
        case Count():
            tokens = json.loads(body_of(exchange))["inputTokens"]
            assert events[1] == Counted(tokens)
            encoder = DIALECT.encoder(request, kit.CONTEXT)
            assert json.loads(b"".join(map(encoder.feed, events))) == {"inputTokens": tokens}
        case Embed():
            assert any(word in request.model for word in EMBEDDERS)
            vectors = [list(event.values) for event in events if isinstance(event, Vector)]
            reply = json.loads(body_of(exchange))
            said = reply.get("embeddings", reply)
            assert vectors == said.get("float", [said.get("embedding")])
            counted = exchange["response_headers"]["x-amzn-bedrock-input-token-count"]
            assert usage is not None and usage.fresh == int(counted)
        case _:
            assert isinstance(request, Opaque)
            # Where a guardrail stepped in, Bedrock counted nothing.
            stopped = exchange["stream"] and exchange["request"].get("inputText", "").startswith(
                "How"
            )
            names = [type(event).__name__ for event in events]
            assert names == (
                ["Started", "Finished"] if stopped else ["Started", "Used", "Finished"]
            )
            assert usage is None or usage.prompt > 0


def test_server_tools_are_not_the_clients() -> None:
    """A call that the provider answers itself is a part that only this dialect knows."""
    found = [e for e in ALL if e["stream"] and b"server_tool_use" in body_of(e)]
    assert found
    for exchange in found:
        kinds = [event.kind for event in decoded(exchange) if isinstance(event, PartStarted)]
        assert PartKind.OPAQUE in kinds
