"""Replies of any kind, as hypothesis strategies: well-formed sequences of events.

`replies` gives what a decoder of any language may give: every kind of part, in
pieces, calls that interleave, several choices if asked for, notes and extras of
the dialect that is named, usage or none, every reason to end.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from hypothesis import strategies as st

from extproc.model.chat import NOTHING, Extra
from extproc.model.errors import Overloaded
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

WORDS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
"""text without lone surrogates, also empty"""
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
COUNTS = st.integers(0, 1_000_000)
KINDS = frozenset(PartKind) - {PartKind.OPAQUE}


def cuts(text: str) -> st.SearchStrategy[list[str]]:
    """The text in pieces, some of them perhaps empty."""
    points = st.lists(st.integers(0, len(text)), max_size=3).map(sorted)
    return points.map(
        lambda at: [text[a:b] for a, b in zip([0, *at], [*at, len(text)], strict=True)]
    )


def arguments(broken: bool = False) -> st.SearchStrategy[str]:
    """A tool's arguments as JSON text; `broken`: some are empty, cut off, or no object."""
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | WORDS,
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
        max_leaves=4,
    )
    good = st.dictionaries(WORDS, values, max_size=3).map(
        lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    )
    return good | st.sampled_from(["", "[1]", '{"a', "7"]) if broken else good


@st.composite
def _part(
    draw: st.DrawFn, kind: PartKind, part: int, choice: int, dialect: str, broken: bool
) -> list[Event]:
    call_id, name = "", ""
    if kind is PartKind.TOOL:
        call_id, name = f"call_{choice}_{part}", draw(NAMES)
    out: list[Event] = [PartStarted(kind, part, choice, call_id, name)]
    match kind:
        case PartKind.TOOL:
            pieces = draw(arguments(broken).flatmap(cuts))
            out.extend(ToolDelta(piece, part, choice) for piece in pieces)
        case PartKind.THINKING:
            out.extend(ThinkingDelta(piece, part, choice) for piece in draw(WORDS.flatmap(cuts)))
            if draw(st.booleans()):
                out.append(Note(NoteKind.SIGNATURE, draw(NAMES), part, choice, dialect))
        case PartKind.MEDIA:
            kinds = st.sampled_from([None, "audio/wav", "image/png"])
            out.append(MediaDelta("AAAA", draw(kinds), part, choice))
        case _:
            out.extend(TextDelta(piece, part, choice) for piece in draw(WORDS.flatmap(cuts)))
    out.append(PartEnded(part, choice))
    return out


def _woven(draw: st.DrawFn, threads: Sequence[list[Event]]) -> list[Event]:
    """The events of all threads, each thread's in its order."""
    left = [list(thread) for thread in threads if thread]
    out: list[Event] = []
    while left:
        at = draw(st.integers(0, len(left) - 1))
        out.append(left[at].pop(0))
        if not left[at]:
            del left[at]
    return out


@st.composite
def _choice(
    draw: st.DrawFn, choice: int, kinds: Sequence[PartKind], dialect: str, broken: bool
) -> list[Event]:
    wanted = draw(st.lists(st.sampled_from(kinds), max_size=4))
    # Calls come after the rest, where they may interleave.
    wanted.sort(key=lambda kind: kind is PartKind.TOOL)
    parts = [draw(_part(kind, at, choice, dialect, broken)) for at, kind in enumerate(wanted)]
    plain = [part for part, kind in zip(parts, wanted, strict=True) if kind is not PartKind.TOOL]
    calls = [part for part, kind in zip(parts, wanted, strict=True) if kind is PartKind.TOOL]
    starts = [call.pop(0) for call in calls]
    return [event for part in plain for event in part] + starts + _woven(draw, calls)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    output = draw(COUNTS)
    return Usage(
        fresh=draw(COUNTS),
        cache_read=draw(COUNTS),
        cache_write=draw(COUNTS),
        output=output,
        reasoning=draw(st.integers(0, output)),
        estimated=draw(st.booleans()),
    )


@st.composite
def replies(
    draw: st.DrawFn,
    dialect: str = "elsewhere",
    kinds: frozenset[PartKind] = KINDS,
    choices: int = 1,
    broken: bool = False,
    failing: bool = True,
) -> list[Event]:
    """A reply whose notes and extras are of `dialect`.

    `choices` is the most there are; `broken`: arguments of tools may be no JSON
    object; `failing`: some end in `Failed`.
    """
    order = sorted(kinds)
    number = draw(st.integers(1, choices))
    threads = [draw(_choice(at, order, dialect, broken)) for at in range(number)]
    created = draw(st.none() | st.integers(0, 2_000_000_000))
    out: list[Event] = [Started(draw(NAMES), draw(NAMES), created)]
    out.extend(_woven(draw, threads))
    if failing and draw(st.integers(0, 9)) == 0:
        return [*out, Failed(Overloaded(draw(NAMES)))]
    for at in range(number):
        called = any(
            isinstance(event, PartStarted) and event.kind is PartKind.TOOL for event in threads[at]
        )
        reasons = [reason for reason in Reason if reason is not Reason.TOOL or called]
        extra = Extra(dialect, {"odd": 1}) if draw(st.booleans()) else NOTHING
        out.append(ChoiceEnded(draw(st.sampled_from(reasons)), at, None, None, extra))
    if draw(st.booleans()):
        out.append(Used(draw(usages())))
    out.append(Finished())
    return out
