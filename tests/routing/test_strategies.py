"""In which order targets are asked: shares, who stays where, and what health says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from extproc.config.schema import DrawBy, Strategy, TargetRef
from extproc.model.call import LOCAL, Caller
from extproc.model.chat import Chat, Options
from extproc.model.embed import Embed
from extproc.routing.strategies import draw
from tests.kit import provider
from tests.routing.world import World, chat, target

CALLS = 2000
POINTS = 2
KEY = "{}/gpt-4o"


def weighted(**weights: float) -> list[TargetRef]:
    return [target(name, weight=weight) for name, weight in weights.items()]


def first(world: World, number: int = CALLS, **more: Any) -> Counter[str]:
    """Who is asked first, in so many calls."""
    request = chat(raw=b"x")
    return Counter(world.keys(request, call=f"gw-{n}", **more)[0] for n in range(number))


def percent(found: Mapping[str, int]) -> dict[str, float]:
    total = sum(found.values())
    return {name: 100 * count / total for name, count in found.items()}


@pytest.mark.parametrize(
    "weights",
    [{"a": 90, "b": 10}, {"a": 1, "b": 1, "c": 1}, {"a": 99, "b": 1}, {"a": 5, "b": 3, "c": 2}],
)
def test_calls_are_split_by_weight(weights: dict[str, float]) -> None:
    found = percent(first(World.of(weighted(**weights), strategy=Strategy.WEIGHTED)))
    for name, weight in weights.items():
        assert abs(found.get(name, 0) - 100 * weight / sum(weights.values())) < POINTS


def test_weights_in_a_list_in_order_split_each_group() -> None:
    world = World.of(weighted(a=70, b=30), [target("c")])
    assert abs(percent(first(world))["a"] - 70) < POINTS
    assert all(world.keys(call=f"gw-{n}")[2] == "c" for n in range(50))
    assert first(World.of([target("a"), target("b")]), 50) == {"a": 50}


def test_the_second_is_drawn_by_weight_too() -> None:
    """Where the best is away its calls go to the others by their weights, and theirs stay."""
    world = World.of(weighted(a=60, b=30, c=10), strategy=Strategy.WEIGHTED)
    before = {n: world.keys(call=f"gw-{n}")[0] for n in range(CALLS)}
    world.open("a/gpt-4o")
    after = {n: world.keys(call=f"gw-{n}")[0] for n in range(CALLS)}
    assert all(after[n] == name for n, name in before.items() if name != "a")
    moved = percent(Counter(after[n] for n, name in before.items() if name == "a"))
    assert abs(moved["b"] - 75) < 4


def test_a_weight_of_nothing_is_never_asked() -> None:
    world = World.of(weighted(a=1, b=0), [target("c")], strategy=Strategy.WEIGHTED)
    assert {tuple(world.keys(call=f"gw-{n}")) for n in range(100)} == {("a", "c")}
    assert world.explain().candidates[1].struck == "struck:weight"


def test_a_list_that_changes_moves_few() -> None:
    names = "abcdefghij"
    whole = World.of([target(n) for n in names], strategy=Strategy.WEIGHTED)
    less = World.of([target(n) for n in names if n != "d"], strategy=Strategy.WEIGHTED)
    more = World.of([target(n) for n in "xjihgfedcba"], strategy=Strategy.WEIGHTED)
    moved = Counter[str]()
    for n in range(CALLS):
        was, without, beside = (w.keys(call=f"gw-{n}")[0] for w in (whole, less, more))
        assert without == was or was == "d"
        assert beside in (was, "x"), "and in which order they are written does not matter"
        moved[beside] += beside != was
    assert 60 < moved["x"] / CALLS * 1000 < 125


def test_heavier_weights_take_from_others_alone() -> None:
    before = World.of(weighted(a=50, b=50), strategy=Strategy.WEIGHTED)
    after = World.of(weighted(a=60, b=50), strategy=Strategy.WEIGHTED)
    for n in range(300):
        was, now = before.keys(call=f"gw-{n}")[0], after.keys(call=f"gw-{n}")[0]
        assert now == was or (was, now) == ("b", "a")


def test_a_caller_keeps_its_arm_of_a_split_through_a_reload() -> None:
    def world(model: str, old: float = 80) -> World:
        arms = [
            target("a", "gpt-4o", weight=old, label="old"),
            target("a", model, weight=20, label="new"),
        ]
        return World.of(arms, strategy=Strategy.WEIGHTED, by=DrawBy.CALLER)

    callers = [Caller(f"team-{n}") for n in range(400)]
    first_, second = world("gpt-4.1"), world("gpt-5")
    arms = {c.name: first_.plan(call="gw-1", caller=c).label for c in callers}
    assert {c.name: second.plan(call="gw-9", caller=c).label for c in callers} == arms
    assert 13 < percent(Counter(arms.values()))["new"] < 27
    plan = first_.plan(caller=callers[0])
    assert plan.why == ("alias", f"weighted:{plan.label}")


def talks() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Two requests of one talk: what differs, and how each is told from other talks."""
    headers = {"x-sluice-conversation": "talk-{}"}
    yield {"headers": headers}, {"headers": headers}
    for said in ({"cache_key": "k-{}"}, {"user": "u-{}"}, {"options": Options(user="o-{}")}):
        yield {"chat": said}, {"chat": said}
    yield {"system": "rules {}", "turns": ["q"]}, {"system": "rules {}", "turns": ["q", "a", "r"]}
    yield {"turns": ["first {}"]}, {"turns": ["first {}", "answer", "second"]}


def told(talk: dict[str, Any], number: int, tail: str) -> tuple[Chat, dict[str, str]]:
    def filled(value: Any) -> Any:
        if isinstance(value, Options):
            return Options(user=(value.user or "").format(number))
        return value.format(number)

    turns = [filled(turn) for turn in talk.get("turns", [tail])]
    more = {name: filled(value) for name, value in talk.get("chat", {}).items()}
    headers = {name: filled(value) for name, value in talk.get("headers", {}).items()}
    return chat(*turns, system=filled(talk.get("system", "")), **more), headers


@pytest.mark.parametrize("pair", list(talks()), ids=str)
def test_a_talk_stays_where_it_began(pair: tuple[dict[str, Any], dict[str, Any]]) -> None:
    world = World.of(weighted(a=50, b=30, c=20), strategy=Strategy.STICKY)
    found = Counter[str]()
    for number in range(300):
        one, headers = told(pair[0], number, "hello")
        two, again = told(pair[1], number, "and then")
        where = world.keys(one, call="gw-1", headers=headers)
        assert world.keys(two, call=f"gw-{number}", headers=again) == where
        found[where[0]] += 1
    assert abs(percent(found)["a"] - 50) < 10, "and talks are spread by weight"
    assert world.plan().why == ("alias", "sticky")


def test_a_talk_is_its_callers_own() -> None:
    world = World.of(weighted(a=1, b=1), strategy=Strategy.STICKY)
    headers = {"x-sluice-conversation": "1"}
    found = {world.keys(caller=Caller(f"c{n}"), headers=headers)[0] for n in range(20)}
    assert found == {"a", "b"}


def test_what_is_no_talk_is_drawn_by_call() -> None:
    world = World.of(weighted(a=1, b=1), strategy=Strategy.STICKY)
    vectors = Embed("openai_chat", "chat", ("x",))
    assert {world.keys(vectors, call=f"gw-{n}")[0] for n in range(20)} == {"a", "b"}


def test_two_models_of_the_same_targets_are_drawn_apart() -> None:
    one = World.of(weighted(a=1, b=1), strategy=Strategy.WEIGHTED)
    other = World.of(weighted(a=1, b=1), strategy=Strategy.WEIGHTED, name="other")
    same = sum(
        one.keys(call=f"gw-{n}") == other.keys(chat(model="other"), call=f"gw-{n}")
        for n in range(500)
    )
    assert 200 < same < 300


def test_a_draw_is_the_same_for_ever() -> None:
    assert draw("chat", "gw-1") == draw("chat", "gw-1") == 222663128.0
    assert draw("a", "bc") != draw("ab", "c")
    assert draw("\ud800") >= 0


def test_all_in_turn_whatever_their_weights() -> None:
    world = World.of(weighted(a=90, b=5, c=5), strategy=Strategy.ROUND_ROBIN)
    assert all(abs(share - 100 / 3) < 2 * POINTS for share in percent(first(world)).values())


@pytest.mark.parametrize("many", [2, 20])
def test_the_quickest_is_asked_most_and_the_slow_now_and_then(many: int) -> None:
    names = [f"t{n}" for n in range(many)]
    world = World.of([target(n) for n in names], strategy=Strategy.LEAST_LATENCY)
    for n, name in enumerate(names):
        world.ended(KEY.format(name), seconds=0.1 if n == 0 else 1.0)
    found = percent(first(world))
    assert found["t0"] > (90 if many == 2 else 100 * 6 / many - 2 * POINTS)
    assert found["t1"] > 0, "or it would never be known to be quick again"


def test_a_target_that_gets_slow_loses_its_calls() -> None:
    world = World.of([target("a"), target("b")], strategy=Strategy.LEAST_LATENCY)
    assert abs(percent(first(world))["a"] - 50) < 2 * POINTS, "nothing is known yet"
    for name in ("a", "b"):
        world.ended(KEY.format(name), seconds=0.2)
    assert abs(percent(first(world))["a"] - 50) < 2 * POINTS
    for _ in range(20):
        world.ended("a/gpt-4o", seconds=0.6)
    assert percent(first(world))["a"] < 5


def test_the_one_with_most_tokens_a_second_is_asked_most() -> None:
    world = World.of([target("a"), target("b")], strategy=Strategy.MOST_THROUGHPUT)
    world.ended("a/gpt-4o", seconds=2.0, tokens=100)
    world.ended("b/gpt-4o", seconds=2.0, tokens=400)
    assert percent(first(world))["b"] > 95


def test_the_one_with_least_to_do_is_asked_first() -> None:
    world = World.of([target(n) for n in "abc"], strategy=Strategy.LEAST_BUSY)
    for name, times in (("a", 3), ("b", 1), ("c", 2)):
        for _ in range(times):
            world.health.begun(KEY.format(name))
    assert world.keys() == ["b", "c", "a"]
    world.health.begun("b/gpt-4o")
    assert {world.keys(call=f"gw-{n}")[0] for n in range(20)} == {"b", "c"}


def test_the_cheapest_that_can_is_asked_first() -> None:
    prices = {"a": 3e-6, "b": 1e-6, "c": 2e-6, "d": None}
    known = {n: provider(n, cost_per_token=price) for n, price in prices.items()}
    refs = [target("a"), target("b", when="!request.tools"), target("d"), target("c")]
    world = World.of(refs, strategy=Strategy.LEAST_COST, providers=known)
    assert world.keys() == ["b", "c", "a"]
    candidates = {one.provider: one for one in world.explain(chat("x" * 400)).candidates}
    assert candidates["b"].cost == pytest.approx((104 + 500) * 1e-6)
    assert candidates["d"].cost is None
    assert LOCAL.name not in candidates
