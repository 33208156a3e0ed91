"""What a person is told of a decision, before it is made or after."""

from __future__ import annotations

import json

import pytest

from extproc.config.schema import Retry, Strategy
from extproc.model.call import Capabilities
from extproc.model.chat import Sampling, Tool
from extproc.model.embed import Count
from extproc.model.errors import NotFound
from extproc.routing.explain import carried
from extproc.routing.reasons import Why
from tests.kit import provider
from tests.routing.world import World, chat, target


def test_every_target_is_told_with_what_struck_it() -> None:
    known = {
        "blunt": provider("blunt", capabilities={"*": Capabilities(tools=False)}),
        "short": provider("short", capabilities={"*": Capabilities(context=100)}),
        "gone": provider("gone", unavailable="api_key: K is not set"),
        "cheap": provider("cheap", cost_per_token=1e-6),
    }
    world = World.of(
        [target("gone"), target("blunt"), target("short")],
        [target("night", when="time.hour < 0"), target("ill"), target("tired")],
        [target("cheap", label="new"), target("late")],
        providers=known,
        retry=Retry(attempts=2, same=1),
    )
    world.open("ill/gpt-4o")
    world.cool("tired/gpt-4o", 30.0)
    request = chat("x" * 900, tools=(Tool("t"),), sampling=Sampling(max_tokens=10))
    told = world.explain(request)
    found = {one.provider: one for one in told.candidates}
    assert {name: one.struck for name, one in found.items()} == {
        "gone": Why.STRUCK_PROVIDER,
        "blunt": Why.STRUCK_TOOLS,
        "short": Why.STRUCK_CONTEXT,
        "night": Why.STRUCK_CONDITION,
        "ill": Why.STRUCK_BREAKER,
        "tired": Why.STRUCK_COOLDOWN,
        "cheap": None,
        "late": Why.STRUCK_ATTEMPTS,
    }
    assert [one.group for one in told.candidates] == [1, 1, 1, 2, 2, 2, 3, 3]
    assert found["gone"].detail == "api_key: K is not set"
    assert found["night"].detail == "time.hour < 0"
    assert found["short"].detail == "about 230 tokens and 10 of output; its context is 100"
    assert found["tired"].detail == "for 30.0 s more"
    assert found["cheap"].attempts == (1, 2)
    assert found["cheap"].cost == pytest.approx(240e-6)
    assert (told.model, told.tokens, told.output) == ("chat", 230, 10)
    assert told.plan == world.plan(request)
    assert told.error is None


def test_it_is_plain_json() -> None:
    world = World.of([target("a", weight=3, label="x"), target("b")], strategy=Strategy.WEIGHTED)
    told = world.explain(call="gw-7").as_json()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["strategy"] == "weighted"
    costly = World.of([target("a"), target("b")], strategy=Strategy.LEAST_COST)
    json.dumps(costly.explain().as_json(), allow_nan=False)


def test_scores_are_those_that_were_ordered_by() -> None:
    world = World.of([target(name) for name in "abcd"], strategy=Strategy.WEIGHTED)
    for number in range(50):
        call = f"gw-{number}"
        told = world.explain(call=call).candidates
        best = sorted(told, key=lambda one: one.score or 0.0, reverse=True)
        assert [one.provider for one in best][:3] == world.keys(call=call)


def test_an_error_is_told_and_not_raised() -> None:
    world = World.of([target("a"), target("b")])
    told = world.explain(chat(model="nope"))
    assert isinstance(told.error, NotFound)
    assert (told.plan, told.candidates) == (None, ())
    json.dumps(told.as_json())
    for name in "ab":
        world.open(f"{name}/gpt-4o")
    told = world.explain()
    assert told.plan is None
    assert told.error is not None
    assert told.error.retry_after is not None
    assert [one.struck for one in told.candidates] == [Why.STRUCK_BREAKER] * 2
    assert told.as_json()["error"] == {
        "status": 503,
        "kind": "overloaded",
        "code": None,
        "message": told.error.message,
        "retry_after": told.error.retry_after,
    }


def test_a_plain_name_has_one_candidate() -> None:
    world = World.of([target("a")], providers={"a": provider("a", cost_per_token=1e-3)})
    told = world.explain(chat(model="a/gpt-4o"))
    assert [(one.provider, one.model, one.attempts) for one in told.candidates] == [
        ("a", "gpt-4o", (1,))
    ]
    assert told.plan is not None
    assert told.plan.why == ("name",)
    assert told.candidates[0].cost == pytest.approx(0.505)


def test_steps_are_the_plans_attempts() -> None:
    world = World.of([target("a"), target("b")], retry=Retry(attempts=3, same=1))
    told = world.explain()
    assert told.plan is not None
    assert tuple(step.planned for step in told.steps) == told.plan.targets
    assert tuple(step.pause for step in told.steps) == told.plan.pauses
    assert [step.as_json()["number"] for step in told.steps] == [1, 2, 3]


def speaking(**dialects: str) -> World:
    """One group for each provider, in this order."""
    known = {name: provider(name, dialect=dialect) for name, dialect in dialects.items()}
    groups = [[target(name)] for name in dialects]
    return World.of(*groups, providers=known, retry=Retry(attempts=4, same=1))


def test_a_target_that_cannot_carry_it_is_passed_over_with_all_its_attempts() -> None:
    world = speaking(a="anthropic_messages", b="openai_chat")
    request = chat(sampling=Sampling(logit_bias={"1": 1.0}))
    told = carried(world.explain(request), request, {})
    assert [(step.number, step.planned.target.provider) for step in told.steps] == [
        (1, "b"),
        (2, "b"),
    ]
    assert [(one.struck, one.attempts) for one in told.candidates] == [
        (Why.STRUCK_UNSUPPORTED, ()),
        (None, (1, 2)),
    ]
    assert "logit_bias" in told.candidates[0].detail
    assert told.why[-1] == Why.STRUCK_UNSUPPORTED
    late = carried(speaking(a="openai_chat", b="anthropic_messages").explain(request), request, {})
    assert [step.planned.target.provider for step in late.steps] == ["a", "a"]
    assert Why.STRUCK_UNSUPPORTED not in late.why, "no attempt has come to it yet"


def test_where_none_can_carry_it_the_first_refusal_is_the_error_in_the_clients_words() -> None:
    request = chat(sampling=Sampling(logit_bias={"1": 1.0}))
    world = speaking(a="anthropic_messages", b="cohere_chat")
    told = carried(world.explain(request), request, {"logit_bias": "bias"})
    assert told.plan is None
    assert (told.steps, told.why) == ((), ())
    assert told.error is not None
    assert "`bias`" in told.error.message


def test_what_is_dropped_is_told_of_each_attempt() -> None:
    request = chat(sampling=Sampling(seed=1))
    told = carried(
        speaking(a="anthropic_messages", b="openai_chat").explain(request), request, {"seed": "s"}
    )
    assert [step.dropped for step in told.steps] == [("s",), ("s",), (), ()]


def test_a_count_that_nobody_can_make_is_no_error() -> None:
    request = Count(chat())
    told = carried(speaking(a="openai_chat").explain(request), request, {})
    assert (told.error, told.steps) == (None, ())
    assert told.candidates[0].struck is Why.STRUCK_UNSUPPORTED
