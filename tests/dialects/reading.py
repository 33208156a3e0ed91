"""What any dialect's tests ask of events: their words, their calls, and whether they are well formed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

from extproc.model.dialect import ReplyDecoder
from extproc.model.errors import GatewayError
from extproc.model.reply import (
    ChoiceEnded,
    Counted,
    Event,
    Failed,
    Finished,
    OpaqueChunk,
    PartEnded,
    PartKind,
    PartStarted,
    Ranked,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolDelta,
    Usage,
    Used,
    Vector,
)


def drain(decoder: ReplyDecoder, pieces: Iterable[bytes]) -> tuple[list[Event], bytes]:
    """All events and all bytes that may pass, taken after every piece."""
    events: list[Event] = []
    raw = b""
    for piece in pieces:
        events.extend(decoder.feed(piece))
        raw += decoder.take()
    events.extend(decoder.close())
    return events, raw + decoder.take()


def cut(body: bytes, points: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(points), len(body)]
    return [body[a:b] for a, b in itertools.pairwise(edges)]


def failure(events: Sequence[Event]) -> GatewayError:
    last = events[-1]
    assert isinstance(last, Failed), last
    assert not any(isinstance(event, Failed) for event in events[:-1])
    return last.error


def text(events: Sequence[Event], choice: int = 0) -> str:
    kinds = {(e.choice, e.part): e.kind for e in events if isinstance(e, PartStarted)}
    deltas = (e for e in events if isinstance(e, TextDelta) and e.choice == choice)
    return "".join(e.text for e in deltas if kinds[choice, e.part] is PartKind.TEXT)


def thinking(events: Sequence[Event], choice: int = 0) -> str:
    return "".join(
        event.text
        for event in events
        if isinstance(event, ThinkingDelta) and event.choice == choice
    )


def calls(events: Sequence[Event], choice: int = 0) -> list[tuple[str, str, str]]:
    """Id, name and arguments of each tool call."""
    found: dict[int, tuple[str, str, str]] = {}
    for event in events:
        match event:
            case PartStarted(PartKind.TOOL, part) if event.choice == choice:
                found[part] = (event.id, event.name, "")
            case ToolDelta(arguments, part) if event.choice == choice:
                call_id, name, before = found[part]
                found[part] = (call_id, name, before + arguments)
            case _:
                pass
    return list(found.values())


def endings(events: Sequence[Event]) -> dict[int, ChoiceEnded]:
    return {event.choice: event for event in events if isinstance(event, ChoiceEnded)}


def usage(events: Sequence[Event]) -> Usage | None:
    found = [event.usage for event in events if isinstance(event, Used)]
    return found[-1] if found else None


def joined(events: Iterable[Event]) -> list[Event]:
    """The same reply whatever the cuts were: neighbouring deltas of one part made one."""
    out: list[Event] = []
    for event in events:
        last = out[-1] if out else None
        match last, event:
            case (TextDelta(), TextDelta()) | (ThinkingDelta(), ThinkingDelta()) if (
                last.part == event.part and last.choice == event.choice
            ):
                out[-1] = type(event)(last.text + event.text, event.part, event.choice)
            case ToolDelta(), ToolDelta() if (
                last.part == event.part and last.choice == event.choice
            ):
                together = last.arguments + event.arguments
                out[-1] = ToolDelta(together, event.part, event.choice)
            case _:
                out.append(event)
    return out


def assert_well_formed(events: Sequence[Event]) -> None:
    """The grammar of `model/reply.py`, for conversations; a `Failed` may cut it anywhere."""
    opened: set[tuple[int, int]] = set()
    closed: set[tuple[int, int]] = set()
    failed = isinstance(events[-1], Failed)
    if not failed:
        assert isinstance(events[0], Started)
        assert isinstance(events[-1], Finished)
    for at, event in enumerate(events):
        match event:
            case Started():
                assert at == 0
            case PartStarted():
                assert event.part == sum(1 for choice, _ in opened if choice == event.choice)
                opened.add((event.choice, event.part))
            case PartEnded():
                assert (event.choice, event.part) in opened - closed
                closed.add((event.choice, event.part))
            case ChoiceEnded():
                assert all(one in closed for one in opened if one[0] == event.choice)
            case Finished() | Failed():
                assert at == len(events) - 1
                assert failed or opened == closed
            case Used():
                pass
            case Vector() | Ranked() | Counted() | OpaqueChunk():
                raise AssertionError(f"{event} in a conversation")
            case _:
                assert (event.choice, event.part) in opened - closed


def assert_cuts_agree(new: Callable[[], ReplyDecoder], body: bytes, steps: Iterable[int]) -> None:
    """However the bytes are cut, the reply is the same; bytes pass whole unless it failed."""
    whole, raw = drain(new(), [body])
    for step in steps:
        pieces = [body[at : at + step] for at in range(0, len(body), step)]
        events, passed = drain(new(), pieces)
        assert repr(joined(events)) == repr(joined(whole))
        assert passed == raw


def assert_truncation_fails(new: Callable[[], ReplyDecoder], body: bytes) -> None:
    """A reply cut anywhere is `Failed`, or the same as the whole one: never a shorter good one."""
    whole = joined(event for event in drain(new(), [body])[0] if not isinstance(event, Used))
    for end in range(len(body)):
        events, _ = drain(new(), [body[:end]])
        if isinstance(events[-1], Finished):
            assert joined(event for event in events if not isinstance(event, Used)) == whole
