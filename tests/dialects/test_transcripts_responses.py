"""Recorded exchanges with Responses providers, read where they lie: laws hold, and the SDK agrees.

`SLUICE_TRANSCRIPTS` names the folder; without it the tests look beside the checkout.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai._streaming import SSEDecoder
from openai.types.responses import Response

from extproc.dialects.openai_responses import DIALECT
from extproc.dialects.openai_responses.placing import carries
from extproc.model.dialect import ReplyHead
from extproc.model.embed import Count, Opaque
from extproc.model.reply import Counted, Event, Failed, Finished, Reason
from tests.dialects import kit_responses as kit
from tests.dialects import reading

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ.get("SLUICE_TRANSCRIPTS", ROOT.parent / "shared" / "transcripts"))
FILE = FOLDER / "openai-responses.jsonl"

pytestmark = pytest.mark.skipif(
    not FILE.exists(),
    reason=f"{FILE} is not there; set SLUICE_TRANSCRIPTS to the transcripts' folder",
)


def exchanges(name: str, api: str) -> Iterator[dict[str, Any]]:
    path = FOLDER / name
    if path.exists():
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                exchange = json.loads(line)
                if exchange["api"] == api:
                    yield exchange


ALL = list(exchanges("openai-responses.jsonl", "openai-responses"))
ERRORS = list(exchanges("errors.jsonl", "openai-responses"))
COUNTS = list(exchanges("other.jsonl", "responses-input-tokens"))
COMPACT = list(exchanges("other.jsonl", "responses-compact"))


def by_id(exchange: dict[str, Any]) -> str:
    return exchange["id"]


@pytest.mark.parametrize("exchange", ALL + ERRORS, ids=by_id)
def test_the_request_comes_back(exchange: dict[str, Any]) -> None:
    request = exchange["request"]
    chat = kit.parse(request)
    assert kit.rebuilt(chat) == request
    untouched = DIALECT.render_request(chat, kit.target(chat.model))
    assert untouched.body is chat.raw


@pytest.mark.parametrize("exchange", ERRORS, ids=by_id)
def test_errors_are_understood(exchange: dict[str, Any]) -> None:
    body = exchange["response"].encode()
    events = kit.decode(body, exchange["response_headers"], exchange["status"])
    error = reading.failure(events)
    assert error.status == exchange["status"]
    said = json.loads(body)["error"]
    assert (error.message, error.code) == (said["message"], said["code"])


@pytest.mark.parametrize("exchange", COUNTS, ids=by_id)
def test_a_count_is_asked_and_read(exchange: dict[str, Any]) -> None:
    body = json.dumps(exchange["request"]).encode()
    request = DIALECT.parse_request(kit.head("count", exchange["path"]), body)
    assert isinstance(request, Count)
    rendered = DIALECT.render_request(request, kit.target(request.model))
    assert (rendered.path, rendered.body) == ("/responses/input_tokens", body)
    decoder = DIALECT.decoder(ReplyHead(200, exchange["response_headers"]), rendered)
    events, _ = reading.drain(decoder, [exchange["response"].encode()])
    assert Counted(json.loads(exchange["response"])["input_tokens"]) in events


@pytest.mark.parametrize("exchange", COMPACT, ids=by_id)
def test_what_is_stored_passes_as_it_came(exchange: dict[str, Any]) -> None:
    body = json.dumps(exchange["request"]).encode()
    head = kit.head("opaque", exchange["path"], content_type="application/json")
    request = DIALECT.parse_request(head, body)
    assert isinstance(request, Opaque)
    rendered = DIALECT.render_request(request, kit.target(request.model))
    assert (rendered.path, rendered.body) == ("/responses/compact", body)
    reply = exchange["response"].encode()
    decoder = DIALECT.decoder(ReplyHead(200, exchange["response_headers"]), rendered)
    events, passed = reading.drain(decoder, [reply])
    assert passed == reply
    used = json.loads(reply)["usage"]
    usage = reading.usage(events)
    assert usage is not None
    assert (usage.prompt, usage.output) == (used["input_tokens"], used["output_tokens"])


def decoded(exchange: dict[str, Any]) -> list[Event]:
    """The events, the same for several cuts; all bytes pass."""
    body = exchange["response"].encode()
    headers = exchange["response_headers"]
    whole, raw = reading.drain(kit.decoder(headers), [body])
    for step in (997, 61, 4096):
        pieces = [body[i : i + step] for i in range(0, len(body), step)]
        events, passed = reading.drain(kit.decoder(headers), pieces)
        assert events == whole
        assert passed == raw
    assert raw == body
    reading.assert_well_formed(whole)
    return whole


def sdk_response(exchange: dict[str, Any]) -> Any:
    """What the SDK's parser gives of these bytes: the response, or that of the stream's end."""
    body = exchange["response"]
    if not exchange["stream"]:
        return Response.construct(**json.loads(body))
    found = [event.json() for event in SSEDecoder().iter_bytes(iter([body.encode()]))]
    (last,) = [datum["response"] for datum in found if datum["type"] == "response.completed"]
    return Response.construct(**last)


def sdk_calls(response: Any) -> list[tuple[str, str, str]]:
    return [
        (item.call_id, item.name, item.arguments)
        for item in response.output
        if item.type == "function_call"
    ]


@pytest.mark.parametrize("exchange", ALL, ids=by_id)
def test_the_reply_says_what_the_sdk_reads(exchange: dict[str, Any]) -> None:
    events = decoded(exchange)
    assert isinstance(events[-1], Finished)
    response = sdk_response(exchange)
    assert reading.text(events) == response.output_text
    assert reading.calls(events) == sdk_calls(response)
    ending = reading.endings(events)[0]
    assert ending.raw == response.status
    if response.status == "completed":
        assert ending.reason is (Reason.TOOL if sdk_calls(response) else Reason.STOP)
    used, usage = response.usage, reading.usage(events)
    if used is None:
        assert usage is None
    else:
        assert usage is not None
        assert (usage.prompt, usage.output) == (used.input_tokens, used.output_tokens)
        assert usage.reasoning == used.output_tokens_details.reasoning_tokens
        assert usage.cache_read == used.input_tokens_details.cached_tokens
        assert usage.total == used.total_tokens


@pytest.mark.parametrize("exchange", ALL, ids=by_id)
def test_the_reply_survives_being_written_again(exchange: dict[str, Any]) -> None:
    """At home nothing gets lost: the items are the same, whole and streamed."""
    body = exchange["response"].encode()
    events = kit.decode(body, exchange["response_headers"])
    again = json.loads(kit.encode(events, stream=False))
    if exchange["stream"]:
        data = [e.json() for e in SSEDecoder().iter_bytes(iter([body]))]
        wanted = next(d["response"] for d in data if d["type"] == "response.completed")
        # The end has each item again, with reasoning encrypted anew.
        done = {d["output_index"]: d["item"] for d in data if d["type"].endswith("item.done")}
        output = [done.get(i, item) for i, item in enumerate(wanted["output"])]
        wanted = {**wanted, "output": output}
    else:
        wanted = json.loads(body)
    assert plain(again["output"]) == plain(wanted["output"])
    for name in wanted.keys() - {"output", "usage"}:
        assert again[name] == wanted[name], name
    streamed = kit.decode(kit.encode(events))
    assert reading.joined(streamed[1:]) == reading.joined(carries(events)[1:])


def plain(items: list[Any]) -> Any:
    """Items without what says nothing: empty lists and nulls, and a status that is usual."""
    out: list[Any] = []
    for item in items:
        fields = {k: plain_value(v) for k, v in item.items() if v not in (None, [], "completed")}
        out.append(fields)
    return out


def plain_value(value: Any) -> Any:
    if isinstance(value, list):
        return [
            {k: v for k, v in part.items() if v not in (None, [])}
            if isinstance(part, dict)
            else part
            for part in value
        ]
    return value


def test_none_of_them_fails() -> None:
    for exchange in ALL:
        events = kit.decode(exchange["response"].encode(), exchange["response_headers"])
        assert not isinstance(events[-1], Failed)
