"""A provider with several regions: a target for each, drawn by weight, and at rest by itself."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from extproc.config.schema import (
    ApiKey,
    Provider,
    Region,
    Retry,
    Secret,
    Shadow,
    Strategy,
    TargetRef,
)
from extproc.model.call import Caller, Failure, Target, Tried
from extproc.model.errors import NotFound, Overloaded, PermissionDenied
from extproc.model.ports import Signable
from extproc.routing.backend import Plan
from extproc.routing.router import alone, look_up
from extproc.routing.verdict import REFUSED, cooldown
from extproc.routing.virtual import Choice
from tests.kit import provider, settings
from tests.routing.world import World, chat, target

CALLS = 1000
POINTS = 4
ANYTHING = Signable("POST", "acme.example", "/v1", {}, b"")
EU, US = "a@eu/gpt-4o", "a@us/gpt-4o"


def region(name: str, weight: float = 1.0, *keys: str, **more: Any) -> Region:
    """Its own secret names it; with several keys, they do."""
    several = tuple(ApiKey(name=key, key=Secret(f"secret-{name}-{key}")) for key in keys)
    return Region(
        name=name,
        weight=weight,
        endpoint=f"https://{name}.example/base-{name}",
        api_key=None if several else Secret(f"secret-{name}"),
        api_keys=several,
        **more,
    )


def regional(name: str, *regions: Region, **more: Any) -> Provider:
    return provider(name, regions=regions, endpoint=regions[0].endpoint, **more)


def world(*groups: list[TargetRef], **more: Any) -> World:
    """`a` is in two regions, `b` in three, the first with two keys; all others are in one place."""
    providers = {
        "a": regional("a", region("eu", 3), region("us", 1)),
        "b": regional("b", region("eu", 1, "x", "y"), region("us"), region("asia")),
    }
    return World.of(*groups, providers=providers, **more)


def asked(world: World, call: str = "gw-1", model: str = "chat", **more: Any) -> list[str]:
    """The targets in the order of attempts."""
    return [one.key for one in world.plan(chat(model=model), call=call, **more).targets]


def firsts(world: World, model: str = "chat") -> Counter[str]:
    return Counter(asked(world, f"gw-{n}", model)[0] for n in range(CALLS))


def percent(found: Counter[str]) -> dict[str, float]:
    return {key: 100 * count / sum(found.values()) for key, count in found.items()}


@pytest.mark.parametrize("model", ["chat", "gpt-4o", "a/gpt-4o", "w/gpt-4o", "auto"])
def test_however_it_is_named_its_regions_share_by_weight(model: str) -> None:
    models = {"chat": "gpt-4o", "w/*": "*", "auto": "gpt-4o"}
    here = World(
        settings(
            providers={"a": regional("a", region("eu", 3), region("us", 1))},
            models={
                name: World.of([target("a", served)]).settings.models["chat"]
                for name, served in models.items()
            },
        )
    )
    found = percent(firsts(here, model))
    assert found.keys() == {EU, US}
    assert abs(found[EU] - 75) < POINTS
    assert set(asked(here, model=model)) == {EU, US}, "the other one comes next"


def test_each_has_its_own_host_credential_and_details() -> None:
    one = regional("a", region("eu", region="eu-west-1"), region("us", project="ours"))
    plan = World.of([target("a")], providers={"a": one}).plan()
    found = {each.key: each for each in plan.targets}
    for key, name in ((EU, "eu"), (US, "us")):
        to, backend = found[key].target, found[key].backend
        assert (to.provider, to.region_name, to.key_name) == ("a", name, "")
        assert to.cluster == f"provider-a@{name}"
        assert (to.authority, to.base_path) == (f"{name}.example", f"/base-{name}")
        assert (":authority", f"{name}.example") in backend.fixed
        signed = backend.credential.headers(ANYTHING)
        assert signed["authorization"] == f"Bearer secret-{name}"
    assert found[EU].target.detail("region") == "eu-west-1"
    assert found[US].target.detail("project") == "ours"


def test_keys_within_a_region_share_what_the_region_gets() -> None:
    here = world([target("b")])
    found = percent(firsts(here))
    assert found.keys() == {"b@eu#x/gpt-4o", "b@eu#y/gpt-4o", "b@us/gpt-4o", "b@asia/gpt-4o"}
    assert abs(found["b@eu#x/gpt-4o"] - 100 / 6) < POINTS
    assert abs(found["b@us/gpt-4o"] - 100 / 3) < POINTS


def test_another_region_is_asked_before_another_key_of_the_same() -> None:
    here = world([target("b")])
    for n in range(100):
        assert {key[:4] for key in asked(here, f"gw-{n}")} == {"b@eu", "b@us", "b@as"}
    every = world([target("b")], retry=Retry(attempts=10))
    assert all(len(asked(every, f"gw-{n}")) == 4 for n in range(20))


def test_more_regions_are_no_more_weight() -> None:
    here = world([target("b", weight=1), target("c", weight=4)])
    found = percent(firsts(here))
    assert abs(found["c/gpt-4o"] - 80) < POINTS


def test_regions_come_before_the_next_target_and_leave_it_an_attempt() -> None:
    here = world([target("b")], [target("c")])
    for n in range(50):
        *regions, last = asked(here, f"gw-{n}")
        assert len({key.partition("#")[0] for key in regions}) == 2
        assert last == "c/gpt-4o"


def test_what_is_measured_is_measured_of_each_region() -> None:
    here = world([target("a")], strategy=Strategy.LEAST_BUSY)
    here.health.begun(EU)
    assert firsts(here) == {US: CALLS}


# --- one of them


@pytest.mark.parametrize("model", ["chat", "a@us/gpt-4o"])
def test_one_region_named_is_asked_alone(model: str) -> None:
    here = world([target("a@us")])
    found = look_up(here.atlas, chat(model=model))
    assert isinstance(found, Plan)
    assert found.plain, "nothing is chosen, so nothing is watched"
    assert asked(here, model=model) == [US]


def test_a_region_with_several_keys_is_drawn_from() -> None:
    assert set(asked(world([target("b@eu")]))) == {"b@eu#x/gpt-4o", "b@eu#y/gpt-4o"}


def test_regions_as_targets_of_their_own() -> None:
    here = world([target("a@us")], [target("a@eu")], [target("c")])
    assert asked(here) == [US, EU, "c/gpt-4o"]
    here = world([target("a@us", weight=9), target("a@eu", weight=1)])
    assert abs(percent(firsts(here))[US] - 90) < POINTS


def test_the_only_region_is_a_plan_and_can_be_named() -> None:
    one = regional("a", region("eu"))
    here = World.of([target("a")], providers={"a": one})
    assert isinstance(look_up(here.atlas, chat()), Plan)
    assert asked(here) == asked(here, model="a@eu/gpt-4o") == [EU]
    told: Any = here.explain().as_json()["candidates"]
    assert [row["region"] for row in told] == ["eu"]


def test_one_that_is_not_there() -> None:
    gone = region("us", unavailable="api_key: US is not set")
    here = World.of(
        [target("a@us")], [target("a")], providers={"a": regional("a", region("eu"), gone)}
    )
    assert asked(here) == [EU]
    told: Any = here.explain().as_json()["candidates"]
    assert (told[0]["provider"], told[0]["region"]) == ("a", "us")
    assert (told[0]["rule"], told[0]["detail"]) == ("struck:provider", "api_key: US is not set")
    with pytest.raises(NotFound):
        asked(here, model="a@nowhere/gpt-4o")
    only = World.of([target("a@us")], providers={"a": regional("a", region("eu"), gone)})
    with pytest.raises(Overloaded, match="US is not set"):
        asked(only)


# --- at rest


def test_a_breaker_and_a_cooldown_are_a_region_s_own() -> None:
    here = world([target("a")])
    here.open(US)
    assert firsts(here) == {EU: CALLS}
    assert asked(here, model="a/gpt-4o-mini")[1:], "another model's is closed"
    here = world([target("a")])
    here.cool(EU, 30.0)
    assert firsts(here) == {US: CALLS}
    here.clock.advance(31)
    assert firsts(here).keys() == {EU, US}


def test_all_at_rest_says_when_the_first_returns() -> None:
    here = world([target("a")])
    here.cool(EU, 30.0)
    here.cool(US, 20.0)
    with pytest.raises(Overloaded) as caught:
        asked(here, model="a/gpt-4o")
    assert caught.value.retry_after == pytest.approx(20.0)


def test_a_region_that_refuses_the_credential_rests() -> None:
    to = Target(provider="a", model="m", dialect="openai_chat", region_name="eu")
    refused = Tried(1, to, Failure.CREDENTIAL, 403, "via_upstream", 0.0, 1.0)
    assert cooldown(refused, 300.0) == REFUSED


# --- what is told, and who may


def test_explain_names_each_region_and_key() -> None:
    here = world([target("b")], [target("c")])
    here.cool("b@us/gpt-4o", 30.0)
    told: Any = here.explain().as_json()
    rows = [
        (one["provider"], one["region"], one["key_name"], one["rule"]) for one in told["candidates"]
    ]
    assert [row[:3] for row in rows] == [
        ("b", "eu", "x"),
        ("b", "eu", "y"),
        ("b", "us", ""),
        ("b", "asia", ""),
        ("c", "", ""),
    ]
    assert rows[2][3] == "struck:cooldown"
    order = [(one["provider"], one["region"]) for one in told["attempts"]]
    assert order == [(one.target.provider, one.target.region_name) for one in here.plan().targets]


@pytest.mark.parametrize("allowed", ["gpt-4o", "a/gpt-4o", "a/*"])
def test_who_may_use_the_provider_may_use_its_regions(allowed: str) -> None:
    caller = Caller("bob", models=frozenset({allowed}))
    here = world([target("a")])
    assert set(asked(here, model="a/gpt-4o", caller=caller)) == {EU, US}
    assert asked(here, model="a@us/gpt-4o", caller=caller) == [US]
    with pytest.raises(PermissionDenied):
        asked(here, model="b@us/gpt-4o", caller=Caller("bob", models=frozenset({"a/*"})))


def test_who_may_use_one_region_may_not_use_the_others() -> None:
    caller = Caller("bob", models=frozenset({"a@us/*"}))
    here = world([target("a")])
    assert asked(here, model="a@us/gpt-4o", caller=caller) == [US]
    for model in ("a@eu/gpt-4o", "a/gpt-4o", "gpt-4o"):
        with pytest.raises(PermissionDenied):
            asked(here, model=model, caller=caller)


def test_a_copy_goes_to_the_region_that_was_named() -> None:
    here = world([target("c")], shadow=Shadow(provider="a@us", model="gpt-4o"))
    shadow = here.plan().shadow
    assert shadow is not None
    assert (shadow.key, shadow.backend.name) == (US, "a@us")
    found = alone(here.atlas, chat(), "chat", shadow.backend.name, "gpt-4o")
    assert isinstance(found, Plan)
    assert [one.key for one in found.targets] == [US]
    found = alone(here.atlas, chat(), "chat", "a", "gpt-4o")
    assert isinstance(found, Choice)
    assert {option.key for option in found.options} == {EU, US}


def test_who_got_an_arm_keeps_it_when_a_region_is_added() -> None:
    arms = [target("b", label="old"), target("c", label="new")]
    more = [region("eu"), region("us"), region("asia", 5)]
    before, after = (
        World.of(arms, providers={"b": regional("b", *some)}, strategy=Strategy.WEIGHTED)
        for some in (more[:2], more)
    )
    for n in range(200):
        assert before.plan(call=f"gw-{n}").label == after.plan(call=f"gw-{n}").label
