"""Recorded exchanges with Cohere: laws hold, and the SDK's own parser agrees."""

from __future__ import annotations

import json
from typing import Any

import pytest

from extproc.dialects.cohere_chat import DIALECT
from extproc.model.embed import Embed, Opaque, Rerank
from extproc.model.reply import Ranked, Started, Vector
from tests import transcripts

from . import kit_cohere as kit
from .reading import (
    assert_cuts_agree,
    assert_well_formed,
    calls,
    drain,
    endings,
    failure,
    text,
    thinking,
    usage,
)

pytestmark = transcripts.needed
GOOD = [one for one in transcripts.exchanges("other.jsonl") if str(one["api"]).startswith("cohere")]
BAD = [one for one in transcripts.exchanges("errors.jsonl") if str(one["api"]).startswith("cohere")]
CHATS = [one for one in GOOD if one["api"] == "cohere-chat"]
EMBEDS = [one for one in GOOD if one["api"] == "cohere-embed"]
RERANKS = [one for one in GOOD if one["api"] == "cohere-rerank"]


def test_none_is_left_out() -> None:
    assert len(CHATS) + len(EMBEDS) + len(RERANKS) == len(GOOD) > 0


@pytest.mark.parametrize("exchange", [*GOOD, *BAD], ids=transcripts.by_id)
def test_the_request_comes_back(exchange: dict[str, Any]) -> None:
    asked, path = exchange["request"], exchange["path"]
    request = kit.ask(asked, path)
    assert request.stream == exchange["stream"]
    untouched = DIALECT.render_request(request, kit.target(request.model))
    assert (untouched.path, untouched.body) == (path, request.raw)
    if not isinstance(request, Opaque):
        assert kit.rebuilt(request) == asked


@pytest.mark.parametrize("exchange", CHATS, ids=transcripts.by_id)
def test_the_reply_says_what_the_sdk_reads(exchange: dict[str, Any]) -> None:
    body, headers = transcripts.body_of(exchange), exchange["response_headers"]
    events, raw = drain(kit.decoder(headers), [body])
    assert raw == body
    assert_well_formed(events)
    assert_cuts_agree(lambda: kit.decoder(headers), body, (1, 61, 997))

    said = kit.Sdk(body, headers).chat(exchange["stream"])
    assert isinstance(events[0], Started)
    assert events[0].id == said["id"]
    assert text(events) == said["text"]
    assert thinking(events) == said["thinking"]
    assert calls(events) == said["calls"]
    assert endings(events)[0].raw == said["finish"]
    found = usage(events)
    assert found is not None
    tokens = said["usage"].tokens
    assert (found.prompt, found.output) == (tokens.input_tokens, tokens.output_tokens)
    assert found.cache_read == (said["usage"].cached_tokens or 0)

    again = kit.Sdk(kit.encode(events, exchange["stream"]), headers).chat(exchange["stream"])
    assert {**again, "id": said["id"]} == said


@pytest.mark.parametrize("exchange", EMBEDS, ids=transcripts.by_id)
def test_vectors_are_what_the_sdk_reads(exchange: dict[str, Any]) -> None:
    body = transcripts.body_of(exchange)
    request = kit.ask(exchange["request"], exchange["path"])
    assert isinstance(request, Embed)
    events, raw = drain(kit.decoder(kit.JSON, operation="embed"), [body[:999], body[999:]])
    assert raw == body
    said = kit.Sdk(body, kit.JSON).client.embed(model="m", input_type="search_query", texts=["x"])
    vectors = [list(event.values) for event in events if isinstance(event, Vector)]
    assert vectors == said.embeddings.float_
    found = usage(events)
    assert found is not None and said.meta is not None and said.meta.billed_units is not None
    assert found.prompt == said.meta.billed_units.input_tokens

    encoder = DIALECT.encoder(request, kit.CONTEXT)
    again = b"".join(encoder.feed(event) for event in events)
    sdk = kit.Sdk(again, kit.JSON).client
    back = sdk.embed(model="m", input_type="search_query", texts=["x"])
    assert back.embeddings.float_ == vectors


@pytest.mark.parametrize("exchange", RERANKS, ids=transcripts.by_id)
def test_a_ranking_is_what_the_sdk_reads(exchange: dict[str, Any]) -> None:
    body = transcripts.body_of(exchange)
    request = kit.ask(exchange["request"], exchange["path"])
    assert isinstance(request, Rerank)
    events, raw = drain(kit.decoder(kit.JSON, operation="rerank"), [body])
    assert raw == body
    said = kit.Sdk(body, kit.JSON).client.rerank(model="m", query="q", documents=["x"])
    found = [(event.index, event.score) for event in events if isinstance(event, Ranked)]
    assert found == [(one.index, one.relevance_score) for one in said.results]

    encoder = DIALECT.encoder(request, kit.CONTEXT)
    again = b"".join(encoder.feed(event) for event in events)
    back = kit.Sdk(again, kit.JSON).client.rerank(model="m", query="q", documents=["x"])
    assert [(one.index, one.relevance_score) for one in back.results] == found
    assert back.meta == said.meta


@pytest.mark.parametrize("exchange", BAD, ids=transcripts.by_id)
def test_an_error_keeps_its_status_and_words(exchange: dict[str, Any]) -> None:
    body = transcripts.body_of(exchange)
    operation = kit.OPERATIONS[exchange["path"]]
    error = failure(kit.decode(body, kit.JSON, exchange["status"], operation))
    assert error.status == exchange["status"]
    assert error.message == json.loads(body)["message"]
