"""What a request is like, and what conditions see of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from extproc.config.conditions import Condition
from extproc.config.declared import DECLARED
from extproc.model.call import Call, Caller
from extproc.model.chat import (
    Chat,
    Image,
    Message,
    Output,
    OutputKind,
    Reasoning,
    Role,
    Sampling,
    Source,
    Text,
    Tool,
    ToolResult,
)
from extproc.model.embed import Count, Embed, Opaque, Rerank, Routed
from extproc.routing.tokens import estimate_tokens, prompt_tokens
from extproc.routing.traits import Traits, facts, traits
from tests.kit import CALL_ID

PICTURE = Image(Source(url="https://pictures.example/1.png"))
ASKED = Message(Role.USER, (Text("What is the capital of France?"),))
SATURDAY = 1_760_142_300.5
"""2025-10-11 00:25:00 UTC"""


def chat(*messages: Message, **fields: Any) -> Chat:
    return Chat("openai_chat", "gpt-4o", messages or (ASKED,), **fields)


def of(request: Routed) -> Traits:
    return traits(request, request.dialect)


def seen(
    request: Routed,
    headers: Mapping[str, str] | None = None,
    caller: Caller = Caller("ann", team="search", tags=("gold",)),
) -> Any:
    call = Call(CALL_ID, caller, request, {"sensitivity": "high"})
    return facts(call, of(request), headers or {}, SATURDAY)


def test_a_plain_question_has_nothing_special() -> None:
    found = of(chat())
    assert not any((found.tools, found.images, found.json_schema, found.reasoning, found.stream))
    assert (found.turns, found.max_output, found.language) == (1, 0, "en")
    assert (found.model, found.dialect) == ("gpt-4o", "openai_chat")
    assert found.tokens == estimate_tokens(chat()) == 12
    assert found.bytes == 4 * found.tokens


def test_each_trait_is_seen() -> None:
    result = Message(Role.TOOL, (ToolResult("c1", (PICTURE,)),))
    found = of(
        chat(
            Message(Role.SYSTEM, (Text("Be short."),)),
            ASKED,
            Message(Role.USER, (PICTURE,)),
            result,
            tools=(Tool("look"),),
            sampling=Sampling(max_tokens=77),
            output=Output(OutputKind.SCHEMA, schema={}),
            reasoning=Reasoning(effort="low"),
            stream=True,
            raw=b"x" * 300,
        )
    )
    assert all((found.tools, found.images, found.json_schema, found.reasoning, found.stream))
    assert (found.turns, found.max_output, found.bytes) == (2, 77, 300)
    assert of(chat(result)).images


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (Reasoning(), False),
        (Reasoning(effort="none"), False),
        (Reasoning(budget=0), False),
        (Reasoning(budget=-1), True),
        (Reasoning(effort="high"), True),
    ],
)
def test_reasoning_that_is_switched_off_is_none(asked: Reasoning, expected: bool) -> None:
    assert of(chat(reasoning=asked)).reasoning is expected


def test_json_without_a_schema_is_no_schema() -> None:
    assert not of(chat(output=Output(OutputKind.JSON))).json_schema


OTHERS: list[tuple[Routed, int, str]] = [
    (Count(chat()), 12, "en"),
    (Embed("openai_chat", "e", ("x" * 8, (1, 2, 3))), 5, ""),
    (Embed("openai_chat", "e", ((1, 2), "Wie ist das Wetter?")), 7, "de"),
    (Rerank("cohere_chat", "r", "Was ist das?", ("x" * 7, "y")), 5, "de"),
    (Opaque("openai_chat", "POST", "/x", "application/json", raw=b"x" * 9), 3, ""),
    (Opaque("openai_chat", "POST", "/x", "multipart/form-data", raw=b"x" * 9), 0, ""),
]


@pytest.mark.parametrize(("request_", "tokens", "language"), OTHERS)
def test_every_kind_of_request_has_them(request_: Routed, tokens: int, language: str) -> None:
    found = of(request_)
    assert found.tokens == prompt_tokens(request_) == tokens
    assert found.language == language
    assert (found.turns, found.tools, found.images, found.max_output) == (1, False, False, 0)


@pytest.mark.parametrize("request_", [chat(), *(one[0] for one in OTHERS)])
def test_every_declared_field_is_there_and_of_its_kind(request_: Routed) -> None:
    found = seen(request_)
    for root, fields in DECLARED.items():
        assert list(found[root]) == list(fields)
        assert len(found[root]) == len(fields)
        for name, kind in fields.items():
            kinds = {"true or false": bool, "a whole number": int, "text": str}
            wanted = tuple if kind.many else kinds[kind.kind]
            assert isinstance(found[root][name], wanted), f"{root}.{name}"
    with pytest.raises(KeyError):
        found["caller"]["models"]


@pytest.mark.parametrize(
    "text",
    [
        "time.weekday == 'sat' && time.hour == 0 && time.minute == 25 && time.unix == 1760142300",
        "caller.name == 'ann' && caller.role == 'caller' && caller.team == 'search'",
        "'gold' in caller.tags && labels.sensitivity == 'high'",
        "headers['x-tier'] == '1' && request.tokens == 12 && request.language == 'en'",
    ],
)
def test_conditions_see_them(text: str) -> None:
    assert Condition.compile(text).holds(seen(chat(), {"x-tier": "1"}))


class Untouchable:
    """Stands where messages do, and may not be looked at."""

    def __iter__(self) -> Any:
        raise AssertionError("the messages were read")


def test_what_no_condition_asks_for_is_not_looked_at() -> None:
    request = chat(stream=True, tools=(Tool("look"),))
    object.__setattr__(request, "messages", Untouchable())
    found = seen(request)
    assert Condition.compile("request.stream && request.tools").holds(found)
    with pytest.raises(AssertionError):
        Condition.compile("request.tokens > 3").holds(found)
