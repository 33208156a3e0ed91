"""Taking turns: no role follows itself, results come first, system texts are where they belong."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.dialects._loss import Losses
from extproc.dialects._turns import FOLDED, Speaker, Turn, turns
from extproc.model.call import Target
from extproc.model.chat import CacheMark, Chat, Message, Part, Role, Text, ToolCall, ToolResult

CALL = ToolCall("c", "f", "{}")
RESULT = ToolResult("c", (Text("r"),))


def losses() -> Losses:
    return Losses(Target("acme", "m", "d"))


def chat(*messages: tuple[Role, tuple[Part, ...]]) -> Chat:
    return Chat("d", "m", tuple(Message(role, parts) for role, parts in messages))


def said(found: tuple[Turn, ...]) -> list[tuple[str, list[str]]]:
    """Speaker, and texts or kinds of the parts."""
    return [
        (
            turn.speaker.value,
            [p.text if isinstance(p, Text) else type(p).__name__ for p in turn.parts],
        )
        for turn in found
    ]


def test_leading_system_texts_stand_apart_with_their_marks() -> None:
    mark = CacheMark(3600)
    found = turns(
        chat(
            (Role.SYSTEM, (Text("a", mark), Text(" "))),
            (Role.DEVELOPER, (Text("b"),)),
            (Role.USER, (Text("c"),)),
        ),
        losses(),
    )
    assert found.system == (Text("a", mark), Text("b"))
    assert said(found.turns) == [("user", ["c"])]


def test_neighbours_of_one_role_become_one_turn() -> None:
    found = turns(
        chat(
            (Role.USER, (Text("a"),)),
            (Role.USER, (Text("b"),)),
            (Role.ASSISTANT, (CALL,)),
            (Role.ASSISTANT, (Text(""),)),
            (Role.TOOL, (RESULT,)),
            (Role.TOOL, (RESULT,)),
            (Role.USER, (Text("c"),)),
        ),
        losses(),
    )
    assert said(found.turns) == [
        ("user", ["a", "b"]),
        ("assistant", ["ToolCall"]),
        ("user", ["ToolResult", "ToolResult", "c"]),
    ]


def test_trap_42_text_before_a_result_moves_behind_it() -> None:
    found = turns(
        chat(
            (Role.ASSISTANT, (CALL,)),
            (Role.USER, (Text("first"),)),
            (Role.USER, (Text("second"), RESULT, Text("third"))),
        ),
        losses(),
    )
    assert said(found.turns)[1] == ("user", ["ToolResult", "first", "second", "third"])


def test_system_text_in_the_middle_is_folded_and_named() -> None:
    lost = losses()
    found = turns(
        chat(
            (Role.USER, (Text("a"),)),
            (Role.ASSISTANT, (CALL,)),
            (Role.SYSTEM, (Text("be kind"),)),
            (Role.USER, (RESULT, Text("b"))),
            (Role.ASSISTANT, (Text("c"),)),
            (Role.SYSTEM, (Text("the end"),)),
        ),
        lost,
    )
    assert said(found.turns) == [
        ("user", ["a"]),
        ("assistant", ["ToolCall"]),
        ("user", ["ToolResult", "<system>\nbe kind\n</system>", "b"]),
        ("assistant", ["c"]),
        ("user", ["<system>\nthe end\n</system>"]),
    ]
    assert lost.names == (FOLDED,)


def test_system_text_in_the_middle_stays_where_the_target_has_it() -> None:
    lost = losses()
    found = turns(
        chat((Role.USER, (Text("a"),)), (Role.SYSTEM, (Text("b"),)), (Role.USER, (Text("c"),))),
        lost,
        system_within=True,
    )
    assert [turn.speaker for turn in found.turns] == [Speaker.USER, Speaker.SYSTEM, Speaker.USER]
    assert lost.names == ()


def test_trap_21_nothing_is_no_turn() -> None:
    found = turns(chat((Role.USER, ()), (Role.ASSISTANT, (Text(" \n"),))), losses())
    assert found.turns == ()


PARTS: st.SearchStrategy[Part] = st.sampled_from([Text("a"), Text(" "), CALL, RESULT])
MESSAGES = st.tuples(st.sampled_from(list(Role)), st.lists(PARTS, max_size=3).map(tuple))


@given(st.lists(MESSAGES, max_size=8))
@settings(max_examples=100)
def test_any_conversation_alternates(messages: list[tuple[Role, tuple[Part, ...]]]) -> None:
    found = turns(chat(*messages), losses())
    assert all(turn.parts for turn in found.turns)
    assert all(a.speaker is not b.speaker for a, b in pairwise(found.turns))
    assert all(turn.speaker is not Speaker.SYSTEM for turn in found.turns)
    for turn in found.turns:
        if turn.speaker is Speaker.USER:
            results = [isinstance(part, ToolResult) for part in turn.parts]
            assert results == sorted(results, reverse=True)
    texts = [p for role, parts in messages for p in parts if isinstance(p, Text) and p.text.strip()]
    kept = [p for turn in found.turns for p in turn.parts if isinstance(p, Text)]
    assert len(kept) + len(found.system) == len(texts)
