"""Ids, names, arguments and schemas of tools, between languages that disagree on them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.dialects import _tools as tools
from extproc.model.chat import Chat, Image, Json, Message, Role, Source, Text, ToolCall, ToolResult
from extproc.model.errors import InvalidRequest

LEGAL = re.compile(r"[A-Za-z0-9_-]{1,64}")
BAD = re.compile(r"[^A-Za-z0-9_-]")
ANY = st.text(max_size=80)


def names() -> tools.Names:
    return tools.Names(LEGAL, BAD, 64)


@given(ANY, ANY)
@settings(max_examples=60)
def test_ids_are_legal_and_the_same_each_time(one: str, other: str) -> None:
    found = tools.legal_id(one, LEGAL)
    assert LEGAL.fullmatch(found)
    assert found == tools.legal_id(one, LEGAL)
    assert (found == tools.legal_id(other, LEGAL)) == (one == other)
    assert found == one or re.fullmatch("x[0-9a-f]{24}", found)
    nine = re.compile("[A-Za-z0-9]{9}")
    assert nine.fullmatch(tools.legal_id(one, nine, 9))


def test_ids_that_are_minted() -> None:
    first = tools.minted_id("reply", 0, 1)
    assert re.fullmatch("call_[0-9a-f]{24}", first)
    assert first == tools.minted_id("reply", 0, 1) != tools.minted_id("reply", 0, 2)


@given(st.lists(ANY, unique=True, max_size=5))
@settings(max_examples=60)
def test_names_go_and_come_back(given_: list[str]) -> None:
    table = names()
    sent = [table.sent(name) for name in given_]
    assert all(LEGAL.fullmatch(name) for name in sent)
    assert len(set(sent)) == len(sent)
    assert [table.sent(name) for name in given_] == sent
    assert [table.renamed.get(name, name) for name in sent] == given_


def test_a_name_keeps_what_it_can() -> None:
    table = names()
    assert table.sent("get_weather") == "get_weather"
    assert table.renamed == {}
    assert re.fullmatch("get_weather_[0-9a-f]{8}", table.sent("get.weather"))
    assert len(table.sent("x" * 100)) == 64
    assert tools.Names(LEGAL, BAD, 64).sent("get.weather") == table.sent("get.weather")


@pytest.mark.parametrize("text", ["", "  ", "{}"])
def test_trap_30_no_arguments_are_an_empty_object(text: str) -> None:
    assert tools.arguments_object(ToolCall("c", "f", text)) == {}


@pytest.mark.parametrize("text", ["[]", "5", "null", "{", '{"a":1,"a":2}', '{"a":NaN}', "hi"])
def test_arguments_that_are_no_object_name_the_call(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"'c9'.*look") as caught:
        tools.arguments_object(ToolCall("c9", "look", text))
    assert caught.value.param == "tool_calls"


def test_arguments_keep_their_order_and_their_numbers() -> None:
    text = '{"b":123456789012345678901234567890,"a":"ä\\u0000"}'
    value = tools.arguments_object(ToolCall("c", "f", text))
    assert tools.arguments_text(dict(value)) == text
    assert tools.arguments_text({"a": "ü 1"}) == '{"a":"ü 1"}'


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        (None, {"type": "object", "properties": {}}),
        (True, {"type": "object", "properties": {}}),
        ({}, {"type": "object"}),
        ({"properties": {"a": {}}}, {"type": "object", "properties": {"a": {}}}),
        ({"type": "string"}, {"type": "string"}),
    ],
)
def test_schemas(given_: Json, expected: Json) -> None:
    assert tools.schema_of(given_) == expected


def test_schemas_are_not_shared() -> None:
    tools.schema_of(None)["x"] = 1
    assert "x" not in tools.NO_PARAMETERS


def test_calls_and_results_of_a_conversation() -> None:
    image = Image(Source(url="u"))
    result = ToolResult("a", (Text("1"), image, Text("2")))
    assert tools.result_text(result) == "1\n2"
    calls = (ToolCall("a", "f", "{}"), ToolCall("b", "g", "{}"), ToolCall("a", "h", "{}"))
    chat = Chat("d", "m", (Message(Role.ASSISTANT, calls), Message(Role.TOOL, (result,))))
    assert tuple(tools.calls_of(chat)) == calls
    assert tools.names_by_id(chat) == {"a": "h", "b": "g"}
