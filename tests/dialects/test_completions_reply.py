"""Legacy completions replies: chunks in, chunks out, and the real SDK reads what we write."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types import Completion

from extproc.dialects.openai_completions import DIALECT
from extproc.dialects.openai_completions.encoder import carries
from extproc.dialects.openai_completions.words import NAME
from extproc.model.call import CallId
from extproc.model.chat import Extra, ListModels
from extproc.model.dialect import ModelCard, ReplyContext, ReplyHead
from extproc.model.embed import Embed
from extproc.model.errors import NotFound, Overloaded, RateLimited, Unsupported, UpstreamBad
from extproc.model.reply import (
    ChoiceEnded,
    Event,
    Failed,
    Finished,
    Note,
    NoteKind,
    PartEnded,
    PartKind,
    PartStarted,
    Reason,
    Started,
    TextDelta,
    Usage,
    Used,
)

from . import kit_completions as kit
from .reading import (
    assert_cuts_agree,
    assert_truncation_fails,
    assert_well_formed,
    drain,
    endings,
    failure,
    joined,
    text,
    usage,
)
from .strategies import replies

STREAMS = kit.fixtures("*.sse")
GOOD = [name for name in STREAMS if not name.startswith("error")]


@pytest.mark.parametrize("name", GOOD)
def test_however_the_stream_is_cut(name: str) -> None:
    body = kit.fixture(name)
    assert_cuts_agree(kit.decoder, body, [1, 2, 7, 61, 300])
    assert_cuts_agree(kit.decoder, b"\xef\xbb\xbf" + body.replace(b"\n", b"\r\n"), [1, 5])
    assert_well_formed(kit.decode(body))
    assert drain(kit.decoder(), [body])[1] == body


def test_a_stream_cut_short_fails() -> None:
    """Text that was not ended by a reason or by [DONE] is no reply; a missing [DONE] is tolerated."""
    body = kit.fixture("text.sse")
    assert_truncation_fails(kit.decoder, body)
    without_done = body.replace(b"data: [DONE]\n\n", b"")
    assert isinstance(kit.decode(without_done)[-1], Finished)
    assert "ended early" in failure(kit.decode(b"data: [DONE]\n\n")).message


def test_a_stream_in_full() -> None:
    events = kit.decode(kit.fixture("text.sse"))
    assert events[0] == Started("cmpl-A1", "davinci-002", 1772359200)
    assert text(events) == " rivers rün 🌊"
    assert endings(events)[0].reason is Reason.STOP
    assert usage(events) == Usage(fresh=5, output=3, total=8)


def test_several_choices() -> None:
    events = kit.decode(kit.fixture("two_choices.sse"))
    assert (text(events, 0), text(events, 1)) == ("b", "ac")
    ended = endings(events)
    assert (ended[0].reason, ended[1].reason) == (Reason.STOP, Reason.LENGTH)
    assert ended[0].extra == Extra(NAME, {"stop_reason": 7})


def test_trap_24_the_usage_chunk_is_withheld() -> None:
    body = kit.fixture("text.sse")
    events, raw = drain(kit.decoder(withhold=True), [body])
    assert usage(events) is not None
    frames = body.split(b"\n\n")
    assert raw == b"\n\n".join([*frames[:3], *frames[4:]])


def test_an_error_after_text() -> None:
    body = kit.fixture("error_after_text.sse")
    events, raw = drain(kit.decoder(), [body])
    assert failure(events).message == "The server had an error"
    assert raw == body.split(b"\n\n")[0] + b"\n\n"


def test_example_a_of_usage() -> None:
    events = kit.decode(kit.fixture("whole.json"), kit.JSON)
    found = usage(events)
    assert found == Usage(fresh=200, cache_read=800, output=300, reasoning=120, total=1300)
    assert (text(events, 0), text(events, 1)) == ("one", "two")


def test_a_whole_reply_of_a_provider_that_says_little() -> None:
    body = b'{"choices":[{"text":"x","log_probs":null}],"model":"m"}'
    events = kit.decode(body, kit.JSON)
    assert text(events) == "x"
    assert endings(events)[0].reason is Reason.STOP


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"<html>", b"[]", b'{"choices":3}', b'{"error":{"message":"no"}}', b"data: 7\n\n"],
)
def test_what_is_no_reply_fails(body: bytes) -> None:
    for headers in (kit.JSON, kit.SSE, {}):
        assert isinstance(failure(kit.decode(body, headers)), UpstreamBad)


@pytest.mark.parametrize("status", [400, 429, 500])
def test_a_providers_error(status: int) -> None:
    body = b'{"error":{"message":"told","type":"t","param":null,"code":null}}'
    error = failure(kit.decode(body, {**kit.JSON, "retry-after": "2"}, status))
    assert (error.message, error.status, error.retry_after) == ("told", status, 2)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(STREAMS).map(kit.fixture), st.data())
def test_no_bytes_raise(body: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(body)))
    damaged = body[:at] + data.draw(st.binary(max_size=4)) + body[at + 1 :]
    assert isinstance(kit.decode(damaged)[-1], Finished | Failed)


# --- what we write --------------------------------------------------------------------------


def told(events: Sequence[Event]) -> list[Any]:
    return [e.error.message if isinstance(e, Failed) else e for e in joined(events)]


@settings(max_examples=150, deadline=None)
@given(replies(NAME, choices=3))
def test_law_what_was_written_is_read_again(events: list[Event]) -> None:
    started = events[0]
    assert isinstance(started, Started)
    said = [Started("cmpl-" + started.id, started.model, started.created or 0), *events[1:]]
    expected = carries(said)
    assert told(kit.decode(kit.encode(said))) == told(expected)
    if isinstance(expected[-1], Finished):
        whole = kit.decode(kit.encode(said, stream=False), kit.JSON)
        for choice in endings(expected):
            assert text(whole, choice) == text(expected, choice)
        assert (endings(whole), usage(whole)) == (endings(expected), usage(expected))


def test_chunks_by_the_letter() -> None:
    events: list[Event] = [
        Started("A1", "mine", 5),
        PartStarted(PartKind.TEXT),
        TextDelta("Hé"),
        PartEnded(),
        ChoiceEnded(Reason.TOOL, raw="tool_use"),
        Used(Usage(fresh=3, output=2)),
        Finished(),
    ]
    start = (
        'data: {"id":"cmpl-A1","object":"text_completion","created":5,"model":"mine","choices":['
    )
    assert kit.encode(events, include_usage=False).decode() == (
        f'{start}{{"text":"Hé","index":0,"logprobs":null,"finish_reason":null}}]}}\n\n'
        f'{start}{{"text":"","index":0,"logprobs":null,"finish_reason":"stop"}}]}}\n\n'
        "data: [DONE]\n\n"
    )
    chunks = kit.encode(events).decode().split("\n\n")
    assert '"usage":null' in chunks[0]
    assert json.loads(chunks[2].removeprefix("data: "))["usage"]["total_tokens"] == 5
    assert kit.encode([Failed(Overloaded("full"))]).startswith(b'data: {"error":{"message":"full"')


def test_logprobs_of_chat_are_told_in_the_older_form() -> None:
    def note(token: str, number: float) -> Note:
        top = [{"token": token, "logprob": number}, {"token": "?", "logprob": -9}]
        item = {"token": token, "logprob": number, "bytes": [], "top_logprobs": top}
        return Note(NoteKind.LOGPROBS, {"content": [item], "refusal": None}, dialect="openai_chat")

    events: list[Event] = [
        Started("A1", "m"),
        PartStarted(PartKind.TEXT),
        TextDelta("Yes"),
        note("Yes", -0.5),
        TextDelta("!"),
        note("!", -0.25),
        PartEnded(),
        ChoiceEnded(Reason.STOP),
        Finished(),
    ]
    said = json.loads(kit.encode(events, stream=False))["choices"][0]["logprobs"]
    assert said == {
        "tokens": ["Yes", "!"],
        "token_logprobs": [-0.5, -0.25],
        "top_logprobs": [{"Yes": -0.5, "?": -9}, {"!": -0.25, "?": -9}],
        "text_offset": [0, 3],
    }
    home = kit.decode(kit.fixture("logprobs.sse"))
    assert json.loads(kit.encode(home, stream=False))["choices"][0]["logprobs"]["text_offset"] == [
        4,
        7,
    ]


# --- the SDK reads it -----------------------------------------------------------------------


def client(status: int, headers: dict[str, str], body: bytes) -> openai.OpenAI:
    def answer(request: httpx2.Request) -> httpx2.Response:
        sent = json.loads(request.content)
        again = kit.rebuilt(kit.parse(request.content))
        assert again == (
            sent if not sent.get("stream") else {**sent, "stream_options": {"include_usage": True}}
        )
        return httpx2.Response(status, headers=headers, content=body)

    http = openai.DefaultHttpxClient(transport=httpx2.MockTransport(answer))
    return openai.OpenAI(api_key="k", base_url="http://gateway/v1", max_retries=0, http_client=http)


@pytest.mark.parametrize("name", GOOD)
def test_the_sdk_reads_our_streams(name: str) -> None:
    events = kit.decode(kit.fixture(name))
    with client(200, kit.SSE, kit.encode(events)) as sdk:
        chunks = list(sdk.completions.create(model="m", prompt="x", stream=True))
    said = "".join(c.text for chunk in chunks for c in chunk.choices if c.index == 0)
    assert said == text(events)
    assert all(chunk.object == "text_completion" for chunk in chunks)
    with client(200, kit.JSON, kit.encode(events, stream=False)) as sdk:
        whole = sdk.completions.create(model="m", prompt="x", echo=False)
    assert Completion.model_validate(whole.model_dump()).choices[0].text == text(events)


def test_the_sdk_raises_what_we_say() -> None:
    wire = DIALECT.render_error(RateLimited("slow", retry_after=1), "gw-1")
    limited = client(wire.status, dict(wire.headers), wire.body)
    with limited as sdk, pytest.raises(openai.RateLimitError, match="slow"):
        sdk.completions.create(model="m", prompt="x")
    broken = kit.encode([Started("A1", "m"), Failed(Overloaded("full"))])
    with client(200, kit.SSE, broken) as sdk, pytest.raises(openai.APIError, match="full"):
        list(sdk.completions.create(model="m", prompt="x", stream=True))


def test_the_rest_of_the_dialect() -> None:
    limits = DIALECT.read_limits(ReplyHead(200, {"x-ratelimit-remaining-requests": "5"}))
    assert DIALECT.write_limits(limits) == {"x-ratelimit-remaining-requests": "5"}
    with pytest.raises(NotFound):
        DIALECT.render_models([ModelCard("a", "b")], ListModels(NAME, "c"), "gw-1")
    with pytest.raises(Unsupported):
        DIALECT.encoder(Embed(NAME, "m", ("x",)), ReplyContext(CallId("gw-1"), "m", 0))


def test_a_reply_of_no_choices_is_none() -> None:
    body = b'{"object": "text_completion", "choices": [], "usage": {"prompt_tokens": 8}}'
    assert isinstance(failure(kit.decode(body, {"content-type": "application/json"})), UpstreamBad)
