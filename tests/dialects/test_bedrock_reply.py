"""Converse replies: frames and bodies in, frames and bodies out, and AWS's own SDK reads what we write."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, replace
from typing import Any

import pytest
from botocore.exceptions import EventStreamError
from hypothesis import given
from hypothesis import strategies as st

from extproc.codec import aws_eventstream
from extproc.dialects import _parts
from extproc.dialects.bedrock_converse import DIALECT
from extproc.dialects.bedrock_converse.parts import carries
from extproc.dialects.bedrock_converse.words import NAME
from extproc.model.call import CallId
from extproc.model.chat import Extra
from extproc.model.dialect import ReplyContext, ReplyDecoder
from extproc.model.errors import (
    GatewayError,
    InvalidRequest,
    Overloaded,
    RateLimited,
    Timeout,
    UpstreamBad,
)
from extproc.model.reply import (
    ChoiceEnded,
    Event,
    Failed,
    Finished,
    MediaDelta,
    Note,
    NoteKind,
    PartEnded,
    PartKind,
    PartStarted,
    Reason,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolDelta,
    Usage,
    Used,
)
from tests.dialects import kit_bedrock as kit
from tests.dialects.reading import (
    assert_cuts_agree,
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
from tests.dialects.strategies import KINDS, replies

STREAMS = kit.streams()
GOOD = [name for name in STREAMS if not name.startswith("error")]
PAIRS = [name for name in GOOD if (kit.FIXTURES / name.replace(".events", ".json")).exists()]


def read(name: str, **rendered: Any) -> list[Event]:
    if name.endswith(".json"):
        return kit.decode(kit.fixture(name), kit.JSON, **rendered)
    return kit.decode(kit.stream(name), **rendered)


def new() -> ReplyDecoder:
    return kit.decoder()


# --- what is read


@pytest.mark.parametrize("name", GOOD)
def test_good_streams_are_well_formed_and_pass_untouched(name: str) -> None:
    data = kit.stream(name)
    events, raw = drain(new(), [data])
    assert_well_formed(events)
    assert raw == data


@pytest.mark.parametrize("name", STREAMS)
def test_any_split_gives_the_same(name: str) -> None:
    """trap 13"""
    assert_cuts_agree(new, kit.stream(name), [1, 2, 3, 5, 7, 11, 13, 64, 127])


@pytest.mark.parametrize("name", GOOD)
def test_a_stream_that_is_cut_off_fails(name: str) -> None:
    """trap 13: only behind the stop, at a frame's edge, may a stream end"""
    data = kit.stream(name)
    edges = [0]
    kinds: list[str] = []
    for one in aws_eventstream.EventStreamDecoder().feed(data):
        edges.append(edges[-1] + len(one.raw))
        kinds.append(str(one.headers[":event-type"]))
    may_end = edges[kinds.index("messageStop") + 1 :]
    for end in range(len(data)):
        events = kit.decode(data[:end])
        assert isinstance(events[-1], Finished if end in may_end else Failed), end


@pytest.mark.parametrize("name", PAIRS)
def test_whole_and_streamed_say_the_same(name: str) -> None:
    """trap 51: a tool's input is pieces of text there and an object here"""
    whole = read(name.replace(".events", ".json"))
    streamed = read(name)
    assert_well_formed(whole)
    if name != "server_tool.events":  # its input stays in the pieces in which it came
        assert [compact(event) for event in joined(whole)] == [
            compact(event) for event in joined(streamed)
        ]
    assert kit.encode(whole, stream=False) == kit.encode(streamed, stream=False)


def compact(event: Event) -> Event:
    if not isinstance(event, ToolDelta):
        return event
    return replace(event, arguments=json.dumps(json.loads(event.arguments), separators=(",", ":")))


def test_texts() -> None:
    """trap 53: a block of text has no start"""
    events = read("text.events")
    assert text(events) == "Grüße aus Köln 🎭"
    assert events[:2] == [Started("", ""), PartStarted(PartKind.TEXT)]
    assert all(event.text for event in events if isinstance(event, TextDelta))
    assert endings(events)[0].reason is Reason.STOP
    assert usage(events) == Usage(fresh=21, output=9, total=30)
    identified = kit.decode(kit.stream("text.events"), {**kit.STREAM, "x-amzn-requestid": "r1"})
    assert identified[0] == Started("r1", "")


def test_calls() -> None:
    events = read("tools.events")
    assert calls(events) == [
        ("tooluse_a1", "get_tide", '{"port": "Kiel"}'),
        ("tooluse_b2", "get_moon", "{}"),
    ]
    assert endings(events)[0].reason is Reason.TOOL
    renamed = read("tools.events", renamed={"get_tide": "get tide"})
    assert [name for _, name, _ in calls(renamed)] == ["get tide", "get_moon"]


@pytest.mark.parametrize("name", ["tools.events", "tools.json"])
def test_the_tool_that_was_forced_is_the_answer(name: str) -> None:
    events = read(name, answer_tool="get_moon")
    assert text(events) == "I will look.{}"
    assert endings(events)[0].reason is Reason.TOOL
    alone = json.loads(kit.fixture("tools.json"))
    del alone["output"]["message"]["content"][2]
    events = kit.decode(json.dumps(alone).encode(), kit.JSON, answer_tool="get_tide")
    assert text(events) == 'I will look.{"port":"Kiel"}'
    assert endings(events)[0].reason is Reason.STOP


def test_reasoning_and_its_seals() -> None:
    events = read("thinking.events")
    assert thinking(events) == "Tides follow the moon."
    notes = [event for event in events if isinstance(event, Note)]
    assert [(note.kind, note.value, note.dialect) for note in notes] == [
        (NoteKind.SIGNATURE, "c2ln", NAME),
        (NoteKind.REDACTED, "c2VjcmV0", NAME),
    ]


def test_what_only_bedrock_knows_is_a_part_of_its_own() -> None:
    events = read("server_tool.events")
    kinds = [event.kind for event in events if isinstance(event, PartStarted)]
    assert kinds == [PartKind.OPAQUE, PartKind.OPAQUE, PartKind.TEXT]
    assert endings(events)[0].reason is Reason.STOP


def test_a_stop_sequence_and_a_guardrail() -> None:
    ended = endings(read("stop_sequence.events"))[0]
    assert (ended.reason, ended.stop) == (Reason.STOP_SEQUENCE, "three")
    ended = endings(read("guardrail.events"))[0]
    assert (ended.reason, ended.raw) == (Reason.FILTER, "guardrail_intervened")
    assert ended.extra.fields.keys() == {"trace", "serviceTier", "metrics"}


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("end_turn", Reason.STOP),
        ("tool_use", Reason.TOOL),
        ("max_tokens", Reason.LENGTH),
        ("stop_sequence", Reason.STOP_SEQUENCE),
        ("content_filtered", Reason.FILTER),
        ("model_context_window_exceeded", Reason.CONTEXT),
        ("brand_new", Reason.OTHER),
    ],
)
def test_reasons(word: str, reason: Reason) -> None:
    body = {"output": {"message": {"role": "assistant", "content": []}}, "stopReason": word}
    ended = endings(kit.decode(json.dumps(body).encode(), kit.JSON))[0]
    assert (ended.reason, ended.raw) == (reason, word)


def test_usage_is_normalised() -> None:
    """Both worked examples: 1000 tokens of which 800 were cached, and 500 written for an hour."""
    example = {"inputTokens": 200, "cacheReadInputTokens": 800, "outputTokens": 300}
    body = {**json.loads(kit.fixture("text.json")), "usage": example}
    found = usage(kit.decode(json.dumps(body).encode(), kit.JSON))
    assert found == Usage(fresh=200, cache_read=800, output=300)
    found = usage(read("cache.events"))
    assert found is not None
    assert (found.fresh, found.cache_write, found.cache_write_1h) == (100, 500, 500)
    assert (found.output, found.prompt, found.total) == (40, 600, 640)
    assert usage(read("no_metadata.events")) is None


# --- what is broken


def events_of(*frames: bytes) -> list[Event]:
    return kit.decode(b"".join(frames))


def text_frame(words: str = "a", index: int = 0) -> bytes:
    return kit.frame("contentBlockDelta", {"contentBlockIndex": index, "delta": {"text": words}})


@given(st.data())
def test_damaged_streams_fail_and_nothing_is_raised(data: st.DataObject) -> None:
    """trap 13: bad sums, lengths that lie"""
    body = bytearray(kit.stream(data.draw(st.sampled_from(STREAMS))))
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    events, raw = drain(new(), [bytes(body)])
    assert isinstance(events[-1], Failed | Finished)
    assert bytes(body).startswith(raw)


@given(st.binary(max_size=200))
def test_noise_fails(noise: bytes) -> None:
    assert isinstance(kit.decode(noise)[-1], Failed)


def test_a_wrong_sum_fails_after_what_was_good() -> None:
    good = kit.stream("text.events")
    events, raw = drain(new(), [good[:300] + b"\0" + good[301:]])
    assert isinstance(failure(events), UpstreamBad)
    assert "checksum" in failure(events).message
    assert good.startswith(raw) and len(raw) < 300


def test_an_announced_giant_is_not_awaited() -> None:
    """trap 13: bounded memory"""
    events = kit.decode(b"\0\0\x01\0" + b"\x02\0\0\0" * 3)
    assert isinstance(failure(events), UpstreamBad)
    lies = aws_eventstream.write({":event-type": "x"}, b"{}")
    assert isinstance(failure(kit.decode(lies[:4] + b"\0\0\xff\xff" + lies[8:])), UpstreamBad)


def test_too_many_parts_fail() -> None:
    frames = [text_frame(index=at) for at in range(_parts.MAX_PARTS + 1)]
    assert "too many" in failure(events_of(*frames)).message


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([kit.frame("messageStart", {})], "early"),
        ([aws_eventstream.write({":event-type": "metadata", ":message-type": "event"}, b"[")], "JSON"),
        (
            [kit.frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"toolUse": {"input": "{"}}})],
            "before its tool",
        ),
        (
            [kit.frame("contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": {}}})],
            "without a name",
        ),
    ],
)  # fmt: skip
def test_broken_streams_say_what_is_wrong(frames: list[bytes], message: str) -> None:
    assert message in failure(events_of(*frames)).message


def test_unknown_frames_are_skipped() -> None:
    events = events_of(
        kit.frame("initial-response", {}),
        kit.frame("brandNew", {"x": 1}),
        aws_eventstream.write({":message-type": "brand-new"}, b"{}"),
        kit.stream("text.events"),
    )
    assert text(events) == "Grüße aus Köln 🎭"


def test_a_body_of_another_form_than_was_asked() -> None:
    """trap 15: JSON where a stream was asked, and a stream without its name"""
    assert text(kit.decode(kit.fixture("text.json"))) == "Grüße aus Köln 🎭"
    assert text(kit.decode(kit.stream("text.events"), kit.JSON)) == "Grüße aus Köln 🎭"
    assert isinstance(failure(kit.decode(b"<html>", {"content-type": "text/html"})), UpstreamBad)


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"output":{}}', b"{", b'{"message":"x"}'])
def test_whole_replies_that_are_none(body: bytes) -> None:
    assert isinstance(failure(kit.decode(body, kit.JSON)), UpstreamBad)


def test_broken_output_is_billed_and_not_shown() -> None:
    events = read("error_malformed.events")
    assert isinstance(failure(events), UpstreamBad)
    assert usage(events) is not None
    whole = {**json.loads(kit.fixture("tools.json")), "stopReason": "malformed_model_output"}
    events = kit.decode(json.dumps(whole).encode(), kit.JSON)
    assert [type(event) for event in events] == [Used, Failed]


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("throttlingException", RateLimited),
        ("ThrottlingException", RateLimited),
        ("THROTTLINGEXCEPTION", RateLimited),
        ("validationException", InvalidRequest),
        ("serviceUnavailableException", Overloaded),
        ("modelTimeoutException", Timeout),
        ("modelStreamErrorException", UpstreamBad),
        ("internalServerException", UpstreamBad),
        ("accessDeniedException", UpstreamBad),
        ("brandNewException", UpstreamBad),
    ],
)
def test_exceptions_in_a_stream(word: str, kind: type[GatewayError]) -> None:
    """trap 54"""
    events = events_of(text_frame("Hi"), kit.frame(word, {"message": "no more"}, "exception"))
    assert text(events) == "Hi"
    error = failure(events)
    assert type(error) is kind
    assert "no more" in error.message or "credential" in error.message


def test_errors_in_a_stream() -> None:
    headers = {":message-type": "error", ":error-code": "InternalFailure", ":error-message": "oh"}
    events, raw = drain(new(), [text_frame("Hi") + aws_eventstream.write(headers, b"")])
    assert failure(events).message == "oh"
    assert raw == text_frame("Hi")
    bare = aws_eventstream.write({":message-type": "exception"}, b"")
    assert "ended with" in failure(events_of(bare)).message


# --- what is written


def again(events: list[Event], stream: bool = True) -> list[Event]:
    data = kit.encode(events, stream)
    return without_metrics(kit.decode(data, kit.STREAM if stream else kit.JSON))


def without_metrics(events: list[Event]) -> list[Event]:
    """Every reply says how long it took, and that is ours."""
    return [
        replace(
            event,
            extra=Extra(
                NAME,
                {k: v for k, v in event.extra.fields.items() if k != "metrics"},
            ),
        )
        if isinstance(event, ChoiceEnded)
        else event
        for event in events
    ]


def normal(events: list[Event]) -> list[Event]:
    return [replace_failed(event) for event in joined(events)]


def replace_failed(event: Event) -> Any:
    return ("failed", event.error.message) if isinstance(event, Failed) else event


@pytest.mark.parametrize("name", GOOD)
def test_what_bedrock_said_survives(name: str) -> None:
    events = without_metrics(read(name))
    assert again(events) == events
    assert without_metrics(carries(events)) == events
    whole = again(events, stream=False)
    if name != "server_tool.events":
        assert [compact(one) for one in normal(whole)] == [compact(one) for one in normal(events)]


HOME = replies(dialect=NAME, kinds=KINDS | {PartKind.OPAQUE}, choices=2, broken=True, failing=False)
FOREIGN = replies(dialect="anthropic_messages", choices=1, broken=True, failing=False)


@given(HOME | FOREIGN)
def test_what_is_carried_is_read_again(events: list[Event]) -> None:
    expected = carries(events)
    assert normal(again(events)) == normal(expected)
    assert_well_formed(expected)
    assert normal(carries(expected)) == normal(expected)


@given(replies(dialect="anthropic_messages", failing=False))
def test_a_whole_reply_holds_what_the_stream_holds(events: list[Event]) -> None:
    expected, whole = carries(events), again(events, stream=False)
    assert text(whole) == text(expected)
    assert thinking(whole) == thinking(expected)
    found = [(i, name, json.loads(args)) for i, name, args in calls(whole)]
    assert found == [(i, name, json.loads(args)) for i, name, args in calls(expected)]
    assert endings(whole) == endings(expected)
    assert usage(whole) == usage(expected)


@given(replies(dialect="gemini_generate", choices=2, failing=False))
def test_the_sdk_reads_every_stream(events: list[Event]) -> None:
    expected = carries(events)
    read_: dict[str, Any] = {"text": "", "inputs": {}, "open": None, "seen": []}
    for event in kit.sdk_stream(kit.encode(events)):
        ((name, value),) = event.items()
        read_["seen"].append(name)
        match name:
            case "contentBlockStart":
                assert value["contentBlockIndex"] == len(
                    [n for n in read_["seen"] if n == "contentBlockStop"]
                )
                read_["inputs"][value["contentBlockIndex"]] = ""
            case "contentBlockDelta":
                delta = value["delta"]
                read_["text"] += delta.get("text", "")
                if "toolUse" in delta:
                    read_["inputs"][value["contentBlockIndex"]] += delta["toolUse"]["input"]
            case "messageStop":
                assert value["stopReason"] in service_reasons()
            case "metadata":
                assert value["metrics"]["latencyMs"] == 0
            case _:
                pass
    assert read_["seen"][0] == "messageStart"
    assert read_["seen"][-2:] == ["messageStop", "metadata"]
    assert read_["text"] == text(expected)
    tools = [args for _, _, args in calls(expected)]
    assert [one for one in read_["inputs"].values() if one] == tools


def service_reasons() -> list[str]:
    return kit.service().shape_for("StopReason").enum  # pyright: ignore


@given(replies(dialect="gemini_generate", failing=False))
def test_the_sdk_reads_every_whole_reply(events: list[Event]) -> None:
    expected = carries(events)
    reply = kit.sdk_whole(kit.encode(events, stream=False))
    content = reply["output"]["message"]["content"]
    assert "".join(block.get("text", "") for block in content) == text(expected)
    used = [block["toolUse"] for block in content if "toolUse" in block]
    assert [(use["toolUseId"], use["name"], use["input"]) for use in used] == [
        (i, name, json.loads(args)) for i, name, args in calls(expected)
    ]


def test_a_stream_by_the_letter() -> None:
    events: list[Event] = [
        Started("up", "m", 7),
        PartStarted(PartKind.TEXT),
        TextDelta("Hi"),
        PartEnded(),
        ChoiceEnded(Reason.STOP_SEQUENCE, stop="\n"),
        Used(Usage(fresh=3, output=2)),
        Finished(),
    ]
    told = {
        "inputTokens": 3, "outputTokens": 2, "totalTokens": 5,
        "cacheReadInputTokens": 0, "cacheWriteInputTokens": 0,
    }  # fmt: skip
    assert kit.sdk_stream(kit.encode(events)) == [
        {"messageStart": {"role": "assistant"}},
        {"contentBlockDelta": {"delta": {"text": "Hi"}, "contentBlockIndex": 0}},
        {"contentBlockStop": {"contentBlockIndex": 0}},
        {"messageStop": {"stopReason": "stop_sequence"}},
        {"metadata": {"usage": told, "metrics": {"latencyMs": 0}}},
    ]


def test_calls_that_interleave_come_one_after_the_other() -> None:
    events: list[Event] = [
        Started("up", "m"),
        PartStarted(PartKind.TOOL, 0, 0, "a", "f"),
        PartStarted(PartKind.TOOL, 1, 0, "b", "g"),
        ToolDelta('{"x":', 0),
        ToolDelta('{"y":', 1),
        ToolDelta("1}", 0),
        PartStarted(PartKind.TEXT, 2),
        TextDelta("after", 2),
        PartEnded(0),
        ToolDelta("2}", 1),
        PartEnded(1),
        PartEnded(2),
        ChoiceEnded(Reason.TOOL),
        Finished(),
    ]
    found = kit.decode(kit.encode(events))
    assert calls(found) == [("a", "f", '{"x":1}'), ("b", "g", '{"y":2}')]
    assert text(found) == "after"
    assert_well_formed(found)


def test_a_call_without_arguments_is_an_object_for_the_sdk() -> None:
    """trap 30: clients join the pieces and read them as JSON"""
    events: list[Event] = [
        Started("up", "m"),
        PartStarted(PartKind.TOOL, 0, 0, "a", "f"),
        ToolDelta("", 0),
        PartEnded(0),
        ChoiceEnded(Reason.TOOL),
        Finished(),
    ]
    deltas = [
        e["contentBlockDelta"]
        for e in kit.sdk_stream(kit.encode(events))
        if "contentBlockDelta" in e
    ]
    assert [one["delta"]["toolUse"]["input"] for one in deltas] == ["{}"]
    reply = kit.sdk_whole(kit.encode(events, stream=False))
    assert reply["output"]["message"]["content"][0]["toolUse"]["input"] == {}


def test_what_waits_is_bounded() -> None:
    chat = kit.parse({}, "/model/m/converse-stream")
    encoder = DIALECT.encoder(chat, kit.CONTEXT)
    for event in (Started("", ""), PartStarted(PartKind.TEXT, 0), PartStarted(PartKind.TEXT, 1)):
        encoder.feed(event)
    piece = TextDelta("a" * (1 << 20), 1)
    with pytest.raises(UpstreamBad):
        for _ in range((_parts.MAX_HELD >> 20) + 1):
            assert encoder.feed(piece) == b""


def test_signatures_of_others_travel_wrapped_and_come_back() -> None:
    events: list[Event] = [
        Started("up", "m"),
        PartStarted(PartKind.THINKING, 0),
        ThinkingDelta("hm", 0),
        Note(NoteKind.SIGNATURE, "c2ln", 0, 0, "anthropic_messages"),
        Note(NoteKind.REDACTED, "secret", 0, 0, "anthropic_messages"),
        PartEnded(0),
        ChoiceEnded(Reason.STOP),
        Finished(),
    ]
    reply = kit.sdk_whole(kit.encode(events, stream=False))
    first, second = reply["output"]["message"]["content"]
    # As botocore would send them again.
    blob = base64.b64encode(second["reasoningContent"]["redactedContent"]).decode()
    content = [first, {"reasoningContent": {"redactedContent": blob}}]
    chat = kit.parse({"messages": [{"role": "assistant", "content": content}]})
    thought, redacted = chat.messages[0].parts
    assert (thought.signature, thought.origin) == ("c2ln", "anthropic_messages")  # pyright: ignore
    assert (redacted.redacted, redacted.origin) == ("secret", "anthropic_messages")  # pyright: ignore


def test_arguments_that_are_no_json_are_kept_as_text() -> None:
    events: list[Event] = [
        Started("up", "m"),
        PartStarted(PartKind.TOOL, 0, 0, "a", "f"),
        ToolDelta('{"x', 0),
        PartEnded(0),
        ChoiceEnded(Reason.TOOL),
        Finished(),
    ]
    reply = json.loads(kit.encode(events, stream=False))
    assert reply["output"]["message"]["content"][0]["toolUse"]["input"] == '{"x'


def test_pictures_are_carried_and_sounds_are_not() -> None:
    for media_type, blocks in (("image/png", 1), ("audio/wav", 0), (None, 0)):
        events: list[Event] = [
            Started("up", "m"),
            PartStarted(PartKind.MEDIA, 0),
            MediaDelta("iVBORw0K", media_type, 0),
            PartEnded(0),
            ChoiceEnded(Reason.STOP),
            Finished(),
        ]
        reply = kit.sdk_whole(kit.encode(events, stream=False))
        assert len(reply["output"]["message"]["content"]) == blocks


def test_estimated_usage_is_never_told_as_fact() -> None:
    events: list[Event] = [
        Started("i", "m"),
        ChoiceEnded(Reason.STOP),
        Used(Usage(fresh=3, estimated=True)),
        Finished(),
    ]
    assert "usage" not in json.loads(kit.encode(events, stream=False))
    assert b"inputTokens" not in kit.encode(events)


def test_cache_writes_keep_their_lives() -> None:
    kept = Usage(fresh=1, cache_write=500, cache_write_1h=300, output=4)
    events: list[Event] = [Started("i", "m"), ChoiceEnded(Reason.STOP), Used(kept), Finished()]
    told = json.loads(kit.encode(events, stream=False))["usage"]
    assert told["cacheDetails"] == [
        {"ttl": "1h", "inputTokens": 300},
        {"ttl": "5m", "inputTokens": 200},
    ]
    found = usage(kit.decode(kit.encode(events)))
    assert found is not None and found.cache_write_1h == 300


@dataclass
class Ticking:
    now: float

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


def test_latency_is_our_own() -> None:
    chat = kit.parse({"messages": []})
    context = ReplyContext(CallId("gw-1"), "m", 0, started=10.0, clock=Ticking(10.25))
    encoder = DIALECT.encoder(chat, context)
    body = b"".join(map(encoder.feed, [Started("", ""), ChoiceEnded(Reason.STOP), Finished()]))
    assert json.loads(body)["metrics"] == {"latencyMs": 250}


FAILURES: list[tuple[GatewayError, str]] = [
    (RateLimited("slow"), "throttlingException"),
    (Overloaded("full"), "serviceUnavailableException"),
    (UpstreamBad("bad"), "modelStreamErrorException"),
    (Timeout("late"), "modelStreamErrorException"),
    (InvalidRequest("no"), "validationException"),
]


@pytest.mark.parametrize(("error", "code"), FAILURES)
def test_a_failure_is_an_exception_for_the_sdk(error: GatewayError, code: str) -> None:
    events: list[Event] = [
        Started("i", "m"),
        PartStarted(PartKind.TEXT),
        TextDelta("a"),
        Failed(error),
    ]
    stream = kit.encode(events)
    with pytest.raises(EventStreamError) as raised:
        kit.sdk_stream(stream)
    assert raised.value.response["Error"] == {"Code": code, "Message": error.message}
    found = kit.decode(stream)
    assert (text(found), failure(found).message) == ("a", error.message)
    assert json.loads(kit.encode(events, stream=False)) == {"message": error.message}


def test_surrogates_leave_as_replacements() -> None:
    events: list[Event] = [
        Started("i", "m"),
        PartStarted(PartKind.TEXT),
        TextDelta("a\ud800"),
        PartEnded(),
        ChoiceEnded(Reason.STOP),
        Finished(),
    ]
    for stream in (True, False):
        data = kit.encode(events, stream)
        assert text(kit.decode(data, kit.STREAM if stream else kit.JSON)) == "a\ufffd"


def test_heads() -> None:
    chats = [kit.parse({}, f"/model/m/{word}") for word in ("converse", "converse-stream")]
    kinds = [DIALECT.encoder(chat, kit.CONTEXT).head()[1]["content-type"] for chat in chats]
    assert kinds == ["application/json", "application/vnd.amazon.eventstream"]


def test_trap_18_integers_in_a_whole_call_are_exact() -> None:
    """trap 18: the input comes as an object, and leaves as text."""
    number = "123456789012345678901234567890"
    body = kit.fixture("tools.json").replace(
        b'"input": {}', b'"input": {"n": %b}' % number.encode()
    )
    (*_, (_, _, arguments)) = calls(kit.decode(body, kit.JSON))
    assert arguments == f'{{"n":{number}}}'
