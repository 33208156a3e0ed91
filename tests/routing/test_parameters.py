"""What the configuration says of a request's settings reaches the request."""

from __future__ import annotations

from typing import Any

import pytest

from extproc.config.parameters import CAPS, PARAMETERS
from extproc.config.schema import Scalar, TargetRef
from extproc.config.shapes import Choice, Flag, Number
from extproc.model.chat import Chat, Reasoning, Sampling
from extproc.model.embed import Embed
from extproc.routing.parameters import fit, longest_output

RAW = b"{}"


def ref(**said: Any) -> TargetRef:
    return TargetRef(provider="acme", model="m", **said)


def chat(**changes: Any) -> Chat:
    return Chat("openai_chat", "chat", (), raw=RAW, **changes)


def fitted(asked: Chat, **said: Any) -> Chat:
    made = fit(asked, ref(**said))
    assert isinstance(made, Chat)
    return made


def read(asked: Chat, name: str) -> object:
    """By its name in the configuration."""
    if name.startswith("reasoning."):
        return getattr(asked.reasoning, name.removeprefix("reasoning."), None)
    home = asked.sampling if hasattr(asked.sampling, name) else asked
    return getattr(home, {"parallel_tool_calls": "parallel_tools"}.get(name, name))


def some(name: str) -> Scalar:
    match PARAMETERS[name].shape:
        case Choice() as shape:
            return shape.values[0]
        case Flag():
            return True
        case Number() as shape:
            return 1 if shape.whole else 0.5
        case _:
            return "word"


@pytest.mark.parametrize("name", PARAMETERS)
def test_all_that_the_configuration_knows_can_be_set(name: str) -> None:
    value = some(name)
    for how in ("set", "default"):
        made = fitted(chat(), **{how: {name: value}})
        assert read(made, name) == value
        assert made.raw == b"", "the old bytes would leave"


@pytest.mark.parametrize("name", CAPS)
def test_all_that_the_configuration_knows_can_be_capped(name: str) -> None:
    asked = fitted(chat(), set={name: 2})
    assert read(fitted(asked, cap={name: 1}), name) == 1
    assert read(fitted(asked, cap={name: 3}), name) == 2


def test_what_the_client_said_beats_a_default_and_yields_to_what_is_set() -> None:
    asked = chat(sampling=Sampling(temperature=0.3))
    assert fitted(asked, default={"temperature": 1.0}).sampling.temperature == 0.3
    assert fitted(asked, set={"temperature": 1.0}).sampling.temperature == 1.0


def test_who_sets_no_bound_gets_the_cap_of_tokens_but_no_other() -> None:
    made = fitted(chat(), cap={"max_tokens": 100.0, "temperature": 0.5})
    assert made.sampling == Sampling(max_tokens=100)
    assert isinstance(made.sampling.max_tokens, int)


def test_an_effort_takes_the_place_of_a_budget() -> None:
    thinking = chat(reasoning=Reasoning(budget=2000, summary="auto"))
    made = fitted(thinking, set={"reasoning.effort": "low"})
    assert made.reasoning == Reasoning(effort="low", summary="auto")
    assert fitted(thinking, default={"reasoning.effort": "low"}) is thinking


def test_effort_and_budget_may_be_set_together() -> None:
    said: dict[str, Scalar] = {"reasoning.effort": "low", "reasoning.budget": 100}
    for how in ("set", "default"):
        made = fitted(chat(), **{how: said})
        assert made.reasoning == Reasoning(effort="low", budget=100)


def test_a_budget_left_to_the_model_is_capped_too() -> None:
    made = fitted(chat(reasoning=Reasoning(budget=-1)), cap={"reasoning.budget": 500})
    assert made.reasoning == Reasoning(budget=500)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"set": {"temperature": 0.5}},
        {"default": {"temperature": 1.0, "unheard_of": 3}},
        {"cap": {"temperature": 0.7, "top_p": 0.1, "reasoning.budget": 10}},
    ],
)
def test_what_is_as_it_should_be_stays_the_same_object(said: dict[str, Any]) -> None:
    asked = chat(sampling=Sampling(temperature=0.5))
    assert fitted(asked, **said) is asked
    assert fit(asked, None) is asked


def test_what_is_no_chat_has_no_settings() -> None:
    vectors = Embed("openai_chat", "e", ("x",))
    assert fit(vectors, ref(set={"user": "u"})) is vectors


@pytest.mark.parametrize("asked", [None, 10, 1000])
@pytest.mark.parametrize(
    "said",
    [
        {},
        {"set": {"max_tokens": 50}},
        {"default": {"max_tokens": 500}},
        {"cap": {"max_tokens": 100}},
        {"default": {"max_tokens": 500}, "cap": {"max_tokens": 100}},
    ],
)
def test_the_bound_of_an_answer_is_known_before(asked: int | None, said: dict[str, Any]) -> None:
    made = fitted(chat(sampling=Sampling(max_tokens=asked)), **said)
    assert longest_output(asked, ref(**said)) == made.sampling.max_tokens
