"""A provider with several keys: a target for each, drawn by weight, and at rest by itself."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from extproc.config.schema import (
    ApiKey,
    Provider,
    Retry,
    Routing,
    Secret,
    Shadow,
    Strategy,
    TargetRef,
)
from extproc.model.call import LOCAL, Caller, Failure, Target, Tried
from extproc.model.errors import Overloaded, PermissionDenied
from extproc.model.ports import Signable
from extproc.routing.backend import Plan
from extproc.routing.reasons import Why
from extproc.routing.router import alone, look_up
from extproc.routing.verdict import REFUSED, cooldown
from extproc.routing.virtual import Choice
from tests.kit import provider, settings
from tests.routing.world import World, chat, target

CALLS = 1000
POINTS = 4
ANYTHING = Signable("POST", "acme.example", "/v1", {}, b"")


def keyed(name: str, *weights: float, **more: Any) -> Provider:
    """Its keys are called 1, 2, ..."""
    keys = [
        ApiKey(name=str(at), key=Secret(f"secret-{name}-{at}"), weight=weight)
        for at, weight in enumerate(weights, 1)
    ]
    return provider(name, api_key=None, api_keys=tuple(keys), **more)


def world(*groups: list[TargetRef], **more: Any) -> World:
    """`a` has two keys and `b` three; all others have one."""
    providers = {"a": keyed("a", 3, 1), "b": keyed("b", 1, 1, 1)}
    return World.of(*groups, providers=providers, **more)


def asked(world: World, call: str = "gw-1", model: str = "chat", **more: Any) -> list[str]:
    """The targets in the order of attempts."""
    return [one.key for one in world.plan(chat(model=model), call=call, **more).targets]


def firsts(world: World, model: str = "chat") -> Counter[str]:
    return Counter(asked(world, f"gw-{n}", model)[0] for n in range(CALLS))


def percent(found: Counter[str]) -> dict[str, float]:
    return {key: 100 * count / sum(found.values()) for key, count in found.items()}


A1, A2 = "a#1/gpt-4o", "a#2/gpt-4o"


@pytest.mark.parametrize("model", ["chat", "gpt-4o", "a/gpt-4o", "w/gpt-4o", "auto"])
def test_however_it_is_named_its_keys_share_by_weight(model: str) -> None:
    here = World(
        settings(
            providers={"a": keyed("a", 3, 1)},
            models={
                name: World.of([target("a", served)]).settings.models["chat"]
                for name, served in {"chat": "gpt-4o", "w/*": "*", "auto": "gpt-4o"}.items()
            },
        )
    )
    found = percent(firsts(here, model))
    assert found.keys() == {A1, A2}
    assert abs(found[A1] - 75) < POINTS
    assert set(asked(here, model=model)) == {A1, A2}, "the other one comes next"
    assert here.plan(chat(model=model)).why[1] == "weighted"


def test_each_key_signs_and_all_else_is_the_same() -> None:
    plan = world([target("a")]).plan()
    one, other = plan.targets
    signed = {
        each.key: each.backend.credential.headers(ANYTHING)["authorization"]
        for each in plan.targets
    }
    assert signed == {A1: "Bearer secret-a-1", A2: "Bearer secret-a-2"}
    assert one.target.provider == other.target.provider == "a"
    assert one.target.cluster == other.target.cluster == "provider-a"
    assert one.backend.fixed == other.backend.fixed
    assert one.dialect is other.dialect


def test_one_key_is_remembered_and_not_watched() -> None:
    here = World.of([target("c")])
    found = look_up(here.atlas, chat())
    assert isinstance(found, Plan)
    assert found.plain
    assert not found.pauses
    assert asked(here) == ["c/gpt-4o"]
    assert here.atlas.backends["c"].each == (here.atlas.backends["c"],)
    assert isinstance(look_up(world([target("a")]).atlas, chat()), Choice)


def test_keys_come_before_the_next_target_and_leave_it_an_attempt() -> None:
    here = world([target("a")], [target("c")])
    for n in range(50):
        order = asked(here, f"gw-{n}")
        assert set(order[:2]) == {A1, A2}
        assert order[2:] == ["c/gpt-4o"]
    here = world([target("b")], [target("c")], [target("d")])
    for n in range(50):
        *keys, last = asked(here, f"gw-{n}")
        assert len({*keys}) == 2
        assert all(key.startswith("b#") for key in keys)
        assert last == "c/gpt-4o", "three keys in trouble would take every attempt"
    assert len(asked(world([target("b")]))) == 3
    assert len(asked(world([target("a")], [target("c")], retry=Retry(attempts=1)))) == 1
    only = world([target("b")], [target("c")], retry=Retry(attempts=2))
    assert asked(only)[1] == "c/gpt-4o"


def test_a_list_in_order_stays_in_order() -> None:
    here = world([target("a"), target("c")])
    assert all(asked(here, f"gw-{n}")[2] == "c/gpt-4o" for n in range(50))
    here = world([target("c"), target("a")])
    assert firsts(here) == {"c/gpt-4o": CALLS}
    assert {asked(here, f"gw-{n}")[1] for n in range(50)} == {A1, A2}
    assert here.plan().why == ("alias", "order")


@pytest.mark.parametrize(
    ("strategy", "share"),
    [(Strategy.WEIGHTED, 20), (Strategy.STICKY, 20), (Strategy.ROUND_ROBIN, 50)],
)
def test_more_keys_are_no_more_weight(strategy: Strategy, share: float) -> None:
    refs = [target("b", weight=1), target("c", weight=4)]
    here = world(refs, strategy=strategy)
    found = percent(
        Counter(
            asked(here, f"gw-{n}", headers={"x-sluice-session": str(n)})[0] for n in range(CALLS)
        )
    )
    assert abs(100 - found["c/gpt-4o"] - share) < POINTS
    for at in "123":
        assert abs(found[f"b#{at}/gpt-4o"] - share / 3) < POINTS


def test_who_got_an_arm_keeps_it_when_a_key_is_added() -> None:
    arms = [target("b", label="old"), target("c", label="new")]
    before = World.of(arms, providers={"b": keyed("b", 1, 1)}, strategy=Strategy.WEIGHTED)
    after = World.of(arms, providers={"b": keyed("b", 1, 1, 5)}, strategy=Strategy.WEIGHTED)
    for n in range(200):
        assert before.plan(call=f"gw-{n}").label == after.plan(call=f"gw-{n}").label


def test_among_equals_in_price_keys_are_drawn() -> None:
    providers = {
        "a": keyed("a", 1, 1, cost_per_token=2.0),
        "b": keyed("b", 1, 1, cost_per_token=1.0),
    }
    here = World.of(
        [target("a"), target("b")],
        providers=providers,
        strategy=Strategy.LEAST_COST,
        retry=Retry(attempts=4),
    )
    found = percent(firsts(here))
    assert abs(found["b#1/gpt-4o"] - 50) < POINTS
    assert found.keys() == {"b#1/gpt-4o", "b#2/gpt-4o"}
    assert [key[0] for key in asked(here)] == list("bbaa")


def test_what_is_measured_is_measured_of_each_key() -> None:
    here = world([target("a")], strategy=Strategy.LEAST_BUSY)
    here.health.begun(A1)
    assert firsts(here) == {A2: CALLS}
    here = world([target("a")], strategy=Strategy.LEAST_LATENCY)
    for _ in range(5):
        here.ended(A1, seconds=2.0)
        here.ended(A2, seconds=0.1)
    assert percent(firsts(here))[A2] > 90


# --- at rest


def test_a_key_that_cools_leaves_the_other() -> None:
    here = world([target("a")])
    here.cool(A1, 30.0)
    assert firsts(here) == {A2: CALLS}
    assert asked(here, model="a/gpt-4o-mini")[1:], "another model has its own limit"
    assert Why.STRUCK_COOLDOWN in [
        one.struck for n in range(9) for one in here.explain(call=f"gw-{n}").candidates
    ]
    here.clock.advance(31)
    assert firsts(here).keys() == {A1, A2}


def test_a_breaker_is_a_key_s_own() -> None:
    here = world([target("a")])
    here.open(A2)
    assert firsts(here) == {A1: CALLS}


def test_all_at_rest_says_when_the_first_returns() -> None:
    here = world([target("a")])
    here.cool(A1, 30.0)
    here.cool(A2, 20.0)
    for model in ("chat", "a/gpt-4o"):
        with pytest.raises(Overloaded) as caught:
            asked(here, model=model)
        assert caught.value.retry_after == pytest.approx(20.0)


def tried(failure: Failure | None, status: int, key_name: str, **more: Any) -> Tried:
    to = Target(provider="a", model="m", dialect="openai_chat", key_name=key_name)
    return Tried(1, to, failure, status, "via_upstream", 0.0, 1.0, **more)


@pytest.mark.parametrize("status", [401, 402, 403])
@pytest.mark.parametrize("failure", [Failure.CREDENTIAL, None])
def test_one_of_several_keys_that_is_refused_rests(failure: Failure | None, status: int) -> None:
    assert cooldown(tried(failure, status, "1"), 300.0) == REFUSED
    assert cooldown(tried(failure, status, "1"), 5.0) == 5.0
    assert cooldown(tried(failure, status, ""), 300.0) == 0.0, "nobody else could be asked"


def test_what_is_no_key_s_fault_is_no_reason_to_rest() -> None:
    for failure, status in [(Failure.SERVER_ERROR, 500), (None, 404), (None, 200)]:
        assert cooldown(tried(failure, status, "1"), 300.0) == 0.0
    assert cooldown(tried(Failure.CREDENTIAL, 403, "1", retry_after=7.0), 300.0) == 7.0


def test_a_refused_key_is_passed_over_for_a_while() -> None:
    here = world([target("a")])
    first = next(one for one in here.plan().targets if one.key == A1)
    now = here.clock.monotonic()
    here.health.begun(A1)
    refused = Tried(1, first.target, Failure.CREDENTIAL, 401, "via_upstream", now, now)
    here.health.ended(refused, 0)
    assert firsts(here) == {A2: CALLS}
    here.clock.advance(REFUSED + 1)
    assert A1 in firsts(here)


# --- what is told, and who may


def test_explain_names_each_key_and_the_order() -> None:
    here = world([target("a")], [target("c")])
    here.cool(A1, 30.0)
    told = here.explain().as_json()
    rows = [(one["provider"], one["key_name"], one["rule"]) for one in told["candidates"]]  # type: ignore[index, union-attr, call-overload]
    assert rows == [("a", "1", "struck:cooldown"), ("a", "2", None), ("c", "", None)]
    assert told["by"] == "call"
    plan = here.plan()
    order = [(one["provider"], one["key_name"]) for one in told["attempts"]]  # type: ignore[index, union-attr, call-overload]
    assert order == [(one.target.provider, one.target.key_name) for one in plan.targets]
    assert "secret" not in str(told)


def test_a_caller_who_may_use_the_model_may_name_its_provider() -> None:
    caller = Caller("bob", models=frozenset({"gpt-4o"}))
    here = world([target("a")])
    assert set(asked(here, model="a/gpt-4o", caller=caller)) == {A1, A2}
    with pytest.raises(PermissionDenied):
        asked(here, model="a/gpt-4o-mini", caller=caller)
    with pytest.raises(PermissionDenied):
        asked(world([target("a")], [target("c")]), caller=caller)


def test_a_copy_is_drawn_among_the_keys_too() -> None:
    here = world([target("c")], shadow=Shadow(provider="a", model="gpt-4o"))
    shadow = here.plan().shadow
    assert shadow is not None
    assert (shadow.target.provider, shadow.target.model) == ("a", "gpt-4o")
    found = alone(here.atlas, chat(), "chat", "a", "gpt-4o")
    assert isinstance(found, Choice)
    assert {option.key for option in found.options} == {A1, A2}
    assert (found.virtual.name, found.virtual.most) == ("chat", 1)
    assert isinstance(alone(here.atlas, chat(), "chat", "c", "gpt-4o"), Plan)


def test_the_same_draw_after_a_reload() -> None:
    one, other = world([target("b")]), world([target("b")], routing=Routing(deadline=9.0))
    for n in range(50):
        assert asked(one, f"gw-{n}", caller=LOCAL) == asked(other, f"gw-{n}", caller=LOCAL)
