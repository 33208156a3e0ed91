"""Gemini's replies as they are read: whole, as events and as an array; every cut and every bound."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.codec.sse import MAX_EVENT
from extproc.dialects.gemini_generate.array import ArraySplitter
from extproc.dialects.gemini_generate.words import read_usage, write_usage
from extproc.model.chat import NOTHING, Extra
from extproc.model.errors import Overloaded, UpstreamBad
from extproc.model.reply import (
    ChoiceEnded,
    Event,
    Failed,
    Finished,
    MediaDelta,
    Note,
    NoteKind,
    PartKind,
    PartStarted,
    Reason,
    TextDelta,
    Usage,
)

from . import kit_gemini as kit
from .reading import (
    assert_cuts_agree,
    assert_truncation_fails,
    assert_well_formed,
    calls,
    drain,
    endings,
    failure,
    joined,
    text,
    thinking,
    usage,
)

BAD = {"malformed.json", "from_docs_error_list.json"}
GOOD_STREAMS = [n for n in kit.fixtures("*.sse") if "error" not in n] + kit.fixtures("*.array.json")
GOOD_BODIES = [
    name
    for name in kit.fixtures("*.json")
    if not name.startswith("request") and "array" not in name and name not in BAD
]


def read(name: str) -> list[Event]:
    stream = name in GOOD_STREAMS or name.endswith(".sse")
    headers = kit.SSE if name.endswith(".sse") else kit.JSON
    path = kit.STREAM if stream else kit.GENERATE
    events = kit.decode(kit.fixture(name), headers, path=path)
    assert_well_formed(events)
    return events


def signatures(events: list[Event]) -> list[object]:
    return [e.value for e in events if isinstance(e, Note) and e.kind is NoteKind.SIGNATURE]


# --- laws


@pytest.mark.parametrize("name", kit.fixtures("*.sse") + kit.fixtures("*.array.json"))
def test_any_split_gives_the_same_events(name: str) -> None:
    """trap 2, trap 4: CRLF and characters cut in two; the array's brackets as well."""
    body = kit.fixture(name)
    headers = kit.SSE if name.endswith(".sse") else kit.JSON
    whole, raw = drain(kit.decoder(headers), [body])
    for step in (1, 2, 3, 7, 64):
        pieces = [body[at : at + step] for at in range(0, len(body), step)]
        events, passed = drain(kit.decoder(headers), pieces)
        assert repr(joined(events)) == repr(joined(whole))
        assert passed == raw
    if isinstance(whole[-1], Finished):
        assert raw == body


@pytest.mark.parametrize("name", GOOD_STREAMS)
def test_a_truncated_stream_never_ends_well(name: str) -> None:
    body = kit.fixture(name)
    headers = kit.SSE if name.endswith(".sse") else kit.JSON
    assert_truncation_fails(lambda: kit.decoder(headers), body)
    assert_cuts_agree(lambda: kit.decoder(headers), body, [11])


@pytest.mark.parametrize("ending", [b"\n\n", b"\r\n\r\n", b""])
def test_a_proxy_s_done_ends_nothing_and_reaches_nobody(ending: bytes) -> None:
    body = kit.fixture("text.sse")
    events, passed = drain(kit.decoder(kit.SSE), [body + b"data: [DONE]" + ending])
    assert (events, passed) == drain(kit.decoder(kit.SSE), [body])
    assert isinstance(events[-1], Finished)
    cut = body[: body.rindex(b"data:")] + b"data: [DONE]" + ending
    assert "early" in failure(kit.decode(cut, kit.SSE)).message


def test_an_array_without_its_end_is_no_reply() -> None:
    body = kit.fixture("text.array.json")[:-1]
    assert "early" in failure(kit.decode(body, kit.JSON)).message


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=4))
def test_no_input_raises(noise: bytes, points: list[int]) -> None:
    points.sort()
    for start in (b"", b"data: ", b"[", kit.fixture("text.sse")[:200]):
        body = start + noise
        pieces = [body[a:b] for a, b in zip([0, *points], [*points, None], strict=True)]
        for path in (kit.STREAM, kit.GENERATE, kit.GENERATE.replace("generateC", "embedC")):
            events, _ = drain(kit.decoder({}, path=path), pieces)
            assert isinstance(events[-1], Finished | Failed)


# --- what is read


@pytest.mark.parametrize("name", GOOD_STREAMS + GOOD_BODIES)
def test_the_sdk_reads_the_same(name: str) -> None:
    events = read(name)
    if name == "numbers.json":
        assert (text(events), endings(events)[0].raw) == ("Numbers.", "STOP")
        return
    chunks = kit.sdk_any(kit.fixture(name))
    for index, said in kit.sdk_view(chunks).items():
        assert text(events, index) == said["text"]
        assert thinking(events, index) == said["thoughts"]
        found = [(tool, json.loads(args)) for _, tool, args in calls(events, index)]
        assert found == said["calls"]
        assert endings(events)[index].raw == said["finish"]
    used = usage(events)
    counted = None if used is None else (used.prompt, used.output, used.total)
    assert counted == kit.sdk_usage(chunks)


def test_calls_without_ids_get_one_each() -> None:
    """trap 45 (replies), trap 18: ids are minted once, and differ; long numbers stay exact."""
    events = read("calls_without_ids.sse")
    (first, _, _), (second, _, arguments) = calls(events)
    assert first.startswith("call_")
    assert first != second
    assert json.loads(arguments)["big"] == 123456789012345678901234567890
    assert calls(read("calls_without_ids.sse")) == calls(events)
    assert endings(events)[0].reason is Reason.TOOL


def test_a_finish_reason_alone_ends() -> None:
    """trap 46: no content, no parts."""
    events = read("finish_alone.sse")
    assert text(events) == "Odra"
    assert endings(events)[0].reason is Reason.STOP
    assert endings(read("filtered.sse"))[0].reason is Reason.FILTER


@pytest.mark.parametrize("name", ["blocked.json", "blocked.sse"])
def test_a_blocked_prompt_is_a_filtered_answer(name: str) -> None:
    """trap 47: no candidates, status 200; billed for the prompt."""
    events = read(name)
    ended = endings(events)[0]
    assert ended.reason is Reason.FILTER
    used = usage(events)
    assert used is not None
    assert used.prompt == 11
    again = json.loads(kit.encode(events, kit.GENERATE))
    assert again["promptFeedback"]["blockReason"] == ended.raw
    assert "candidates" not in again
    foreign = [replace(e, extra=NOTHING) if isinstance(e, ChoiceEnded) else e for e in events]
    (candidate,) = json.loads(kit.encode(foreign, kit.GENERATE))["candidates"]
    assert candidate["finishReason"] == "SAFETY"


def test_a_signature_on_an_empty_text_is_kept() -> None:
    """trap 48: it is a note, and no text."""
    events = read("signed_text.sse")
    assert signatures(events) == ["c2lnbmVkLXRleHQ="]
    assert [e.text for e in events if isinstance(e, TextDelta)] == ["Two and two", " is four."]
    again = kit.sdk_whole(kit.encode(events, kit.GENERATE))
    assert again.candidates is not None
    content = again.candidates[0].content
    assert content is not None
    assert [(p.text, p.thought_signature) for p in content.parts or []] == [
        ("Two and two is four.", None),
        ("", b"signed-text"),
    ]


def test_a_calls_signature_stands_before_it() -> None:
    events = read("thinking_then_call.sse")
    kinds = [event.kind for event in events if isinstance(event, PartStarted)]
    assert kinds == [PartKind.THINKING, PartKind.THINKING, PartKind.TOOL]
    again = json.loads(kit.encode(events, kit.GENERATE))
    thought, call = again["candidates"][0]["content"]["parts"]
    assert thought == {"text": "I need the tide.", "thought": True}
    assert call["thoughtSignature"] == "c2lnbmVkLWNhbGw="


def test_errors_inside_a_good_reply() -> None:
    """trap 49: a list, bare lines without `data:`, a datum. trap 61: what was said stays."""
    for name in ("from_docs_error_bare.sse", "from_docs_error_datum.sse"):
        events = read(name)
        error = failure(events)
        assert isinstance(error, Overloaded)
        assert "overloaded" in error.message
        assert text(events) == "Ostr"
        assert usage(events) is not None
    listed = kit.fixture("from_docs_error_list.json")
    for path in (kit.STREAM, kit.ARRAY, kit.GENERATE):
        error = failure(kit.decode(listed, kit.JSON, path=path))
        assert error.status == 429
        assert error.retry_after == 46


def test_the_bytes_of_an_error_do_not_pass() -> None:
    events, passed = drain(kit.decoder(), [kit.fixture("from_docs_error_bare.sse")])
    assert isinstance(events[-1], Failed)
    assert b"overloaded" not in passed


def test_what_the_model_wrote_badly_is_a_failure() -> None:
    events = kit.decode(kit.fixture("malformed.json"), kit.JSON, path=kit.GENERATE)
    error = failure(events)
    assert isinstance(error, UpstreamBad)
    assert "get_tide" in error.message
    assert usage(events) is not None


def test_usage_by_the_worked_examples() -> None:
    """Example A as it is read; example B as it is written."""
    used = usage(read("example_a.json"))
    assert used is not None
    assert (used.fresh, used.cache_read, used.output, used.reasoning) == (200, 800, 300, 120)
    assert write_usage(used)["candidatesTokenCount"] == 180
    written = write_usage(Usage(fresh=100, cache_write=500, cache_write_1h=500, output=40))
    assert written == {
        "promptTokenCount": 600,
        "candidatesTokenCount": 40,
        "totalTokenCount": 640,
    }


def test_what_tools_of_the_provider_read_is_prompt() -> None:
    used = usage(read("grounded.sse"))
    assert used is not None
    assert (used.fresh, used.output) == (59, 2)
    assert write_usage(used)["promptTokenCount"] == 9
    assert write_usage(used)["toolUsePromptTokenCount"] == 50


def test_no_counts_are_no_usage() -> None:
    assert read_usage({"trafficType": "ON_DEMAND"}) is None
    spoken = {
        "promptTokenCount": 5,
        "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 3}],
    }
    used = read_usage(spoken)
    assert used is not None
    assert used.audio_in == 3
    assert read_usage({"promptTokenCount": "odd", "totalTokenCount": -1}) == Usage(
        total=0, extra=Extra("gemini_generate", {})
    )


def test_what_only_google_says_comes_home() -> None:
    for name, word in (("grounded.sse", "groundingMetadata"), ("logprobs.json", "logprobsResult")):
        original = kit.fixture(name)
        for path in (kit.STREAM, kit.GENERATE):
            assert word.encode() in kit.encode(read(name), path)
        assert word.encode() in original
    code = json.loads(kit.encode(read("code.sse"), kit.GENERATE))
    kinds = [next(iter(part)) for part in code["candidates"][0]["content"]["parts"]]
    assert kinds == ["executableCode", "codeExecutionResult", "text"]


def test_pictures_are_parts_of_their_own() -> None:
    events = read("picture.json")
    found = [e.data for e in events if isinstance(e, MediaDelta)]
    assert found == ["iVBORw0KGgo=", "iVBORw0KGg=="]
    assert sum(isinstance(e, PartStarted) for e in events) == 3


def test_candidates_are_choices() -> None:
    events = read("two_candidates.sse")
    assert (text(events, 0), text(events, 1)) == ("Left hand", "Right side")


def test_the_form_is_sniffed() -> None:
    """trap 15: an array or one object where events were asked for; trap 5: after a BOM."""
    bom = b"\xef\xbb\xbf"
    for name in ("text.sse", "text.array.json", "text.json"):
        for headers in (kit.SSE, kit.JSON, {}):
            for start in (b"", bom):
                events = kit.decode(start + kit.fixture(name), headers)
                assert isinstance(events[-1], Finished), (name, headers)


def test_html_is_a_bad_gateway() -> None:
    """trap 14."""
    error = failure(kit.decode(b"<html>hello</html>", {"content-type": "text/html"}))
    assert isinstance(error, UpstreamBad)


def test_names_that_had_to_change_come_back() -> None:
    decoder = kit.decoder(renamed={"get_tide": "get.tide!"})
    events, _ = drain(decoder, [kit.fixture("calls_without_ids.sse")])
    assert [name for _, name, _ in calls(events)] == ["get.tide!", "get.tide!"]


# --- bounds


def test_the_array_splitter_is_bounded_and_linear() -> None:
    splitter = ArraySplitter(max_event=1000)
    assert splitter.feed(b'[{"a":"' + b"x" * 2000) == []
    assert splitter.too_long
    splitter = ArraySplitter()
    steps = 0
    for byte in b'[{"a":"' + b"\\\\" * 5000 + b'"}':
        steps += len(splitter.feed(bytes([byte])))
    assert steps == 1
    assert splitter.pending == 0
    assert MAX_EVENT > 1000


def test_too_many_parts_fail() -> None:
    part = {"executableCode": {"code": "1"}}
    body = json.dumps(
        {"candidates": [{"content": {"parts": [part] * 3000}, "finishReason": "STOP"}]}
    )
    assert "too many" in failure(kit.decode(body.encode(), kit.JSON, path=kit.GENERATE)).message
