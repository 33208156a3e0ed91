"""Replies of Bedrock's Converse as they are written: read again, by us and by the real SDK."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, replace
from typing import Any

import pytest
from botocore.exceptions import EventStreamError
from hypothesis import given

from extproc.dialects import _parts
from extproc.dialects.bedrock_converse import DIALECT
from extproc.dialects.bedrock_converse.parts import carries
from extproc.dialects.bedrock_converse.words import NAME
from extproc.model.call import CallId
from extproc.model.chat import Extra
from extproc.model.dialect import ReplyContext
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
from tests.dialects.kit_bedrock import GOOD, compact, read
from tests.dialects.reading import (
    assert_well_formed,
    calls,
    endings,
    failure,
    joined,
    text,
    thinking,
    usage,
)
from tests.dialects.strategies import KINDS, replies


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
