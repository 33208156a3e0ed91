"""What streams promise: pieces as they come, an end that is true, and an account of what was cut off."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from tests.e2e import raw
from tests.e2e.everyone import CHAT_MODELS
from tests.e2e.harness import Gateway

CHAT = "/v1/chat/completions"


def ask(gateway: Gateway, model: str, text: str) -> Any:
    return gateway.openai().chat.completions.create(
        model=model, messages=[{"role": "user", "content": text}], stream=True
    )


@pytest.mark.parametrize("model", CHAT_MODELS.values())
def test_the_first_piece_comes_before_the_provider_has_ended(everyone: Gateway, model: str) -> None:
    """S0-3, S4-37, I1: translated or not, nothing is held back until the end."""
    with ask(everyone, model, "[[mock stall=forever@4 words=20]] Hello") as pieces:
        assert next(p for p in pieces if p.choices and p.choices[0].delta.content)
        (request,) = everyone.mock.requests
        assert request.ended == "open"


@pytest.mark.parametrize("model", CHAT_MODELS.values())
def test_a_hang_up_reaches_the_provider_within_a_second(everyone: Gateway, model: str) -> None:
    """S3-33: whoever speaks; the log calls it aborted."""
    with ask(everyone, model, "[[mock pace=20 words=2000]] Hello") as pieces:
        call = pieces.response.headers["x-sluice-call-id"]
        next(iter(pieces))
    everyone.mock.wait_for(lambda seen: seen[0].ended == "client_gone", 1.0)
    assert everyone.wait_exchange(call)["outcome"] == "aborted"


def test_a_hang_up_is_counted_once_as_far_as_it_is_known(everyone: Gateway) -> None:
    """trap 65, S3-33: Anthropic tells the prompt's tokens first, so they count."""
    before = everyone.metric("sluice_tokens_total", provider="anthropic", kind="input")
    text = "[[mock pace=20 words=2000 usage=120,3000]] Hello"
    with ask(everyone, CHAT_MODELS["anthropic"], text) as pieces:
        call = pieces.response.headers["x-sluice-call-id"]
        next(p for p in pieces if p.choices and p.choices[0].delta.content)
    line = everyone.wait_exchange(call)
    assert (line["outcome"], line["input_tokens"]) == ("aborted", 120)
    assert line["output_tokens"] < 3000
    assert sum(one.get("call") == call for one in everyone.log_lines()) == 1
    after = everyone.metric("sluice_tokens_total", provider="anthropic", kind="input")
    assert after - before == 120


@pytest.mark.parametrize("model", CHAT_MODELS.values())
def test_a_cut_stream_raises(everyone: Gateway, model: str) -> None:
    """S3-32: an error in the client's language, and never a clean end."""
    pieces = ask(everyone, model, "[[mock end=6 words=20]] Hello")
    with pytest.raises(openai.APIError, match="ended early"):
        list(pieces)


@pytest.mark.parametrize("stream", [False, True])
def test_no_header_of_the_old_body_outlives_it(everyone: Gateway, stream: bool) -> None:
    """trap 11: translated, the length is that of the new body, and its tags are gone."""
    fault = "header=etag:old header=content-md5:old header=accept-ranges:bytes"
    fields = {
        "model": CHAT_MODELS["anthropic"],
        "messages": [{"role": "user", "content": f"[[mock {fault}]] Hello"}],
        "stream": stream,
    }
    answer = raw.exchange(everyone.port, raw.request("POST", CHAT, json.dumps(fields).encode()))
    assert answer.status == 200
    assert not {"etag", "content-md5", "accept-ranges", "content-encoding"} & answer.headers.keys()
    if stream:
        assert "content-length" not in answer.headers
        assert answer.body.endswith(b"data: [DONE]\n\n")
    else:
        assert int(answer.headers["content-length"]) == len(answer.body)
        assert answer.json["choices"]


def test_a_provider_is_asked_for_plain_bytes(everyone: Gateway) -> None:
    """trap 10"""
    for model in CHAT_MODELS.values():
        list(ask(everyone, model, "Hello"))
    assert {one.headers["accept-encoding"] for one in everyone.mock.requests} == {"identity"}


def test_streams_are_measured(everyone: Gateway) -> None:
    """S3-34: the time to the first event, and what is open now."""
    name = "sluice_time_to_first_event_seconds_count"
    before = everyone.metric(name, provider="gemini")
    list(ask(everyone, CHAT_MODELS["gemini"], "Hello"))
    assert everyone.metric(name, provider="gemini") == before + 1
    assert everyone.metric("sluice_in_flight") == 0
