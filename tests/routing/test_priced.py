"""`least_cost`: by the price of each target, for prompt and answer, and what has no price."""

from __future__ import annotations

import json

import pytest

from extproc.config.schema import Provider, Routing, Strategy, Unpriced
from extproc.model.call import Price
from extproc.model.chat import Sampling
from extproc.model.errors import Overloaded
from extproc.routing.reasons import Why
from tests.kit import provider
from tests.routing.world import World, chat, target

NEVER = Routing(unpriced=Unpriced.NEVER)
LONG_PROMPT = chat("x" * 40_000, sampling=Sampling(max_tokens=10))
LONG_ANSWER = chat("hi", sampling=Sampling(max_tokens=10_000))


def priced(name: str, price: Price) -> Provider:
    return provider(name, prices={"*": price})


def cheapest(*names: str, routing: Routing | None = None, **providers: Provider) -> World:
    refs = [target(name) for name in names]
    return World.of(refs, strategy=Strategy.LEAST_COST, providers=providers, routing=routing)


def test_a_prompt_and_an_answer_have_different_prices() -> None:
    world = cheapest("a", "b", a=priced("a", Price(1, 100)), b=priced("b", Price(2, 10)))
    assert world.keys(LONG_PROMPT) == ["a", "b"]
    assert world.keys(LONG_ANSWER) == ["b", "a"]
    told = {one.provider: one for one in world.explain(LONG_ANSWER).candidates}
    tokens = world.explain(LONG_ANSWER).tokens
    assert told["a"].cost == pytest.approx((tokens + 100 * 10_000) / 1e6)
    assert told["b"].cost == pytest.approx((2 * tokens + 10 * 10_000) / 1e6)


def test_a_long_prompt_may_change_who_is_cheaper() -> None:
    dearer = Price(1, 1, long=Price(5, 5, above=5000))
    world = cheapest("a", "b", a=priced("a", dearer), b=priced("b", Price(2, 2)))
    assert world.keys(chat("hi")) == ["a", "b"]
    assert world.keys(LONG_PROMPT) == ["b", "a"]


def test_the_models_of_one_provider_differ() -> None:
    refs = [target("openai", name) for name in ("gpt-4o", "gpt-4o-mini", "o1")]
    known = {"openai": provider("openai", models=("*",))}
    world = World.of(refs, strategy=Strategy.LEAST_COST, providers=known)
    assert [one.target.model for one in world.plan().targets] == ["gpt-4o-mini", "gpt-4o", "o1"]


def test_what_has_no_price_comes_last() -> None:
    world = cheapest("a", "b", b=priced("b", Price(1000, 1000)))
    assert world.keys() == ["b", "a"]
    told = world.explain().candidates
    assert [(one.struck, one.cost is None) for one in told] == [(None, True), (None, False)]


def test_what_is_free_comes_first() -> None:
    world = cheapest("a", "vllm", a=priced("a", Price(0.01, 0.01)))
    assert world.keys() == ["vllm", "a"]


@pytest.mark.parametrize("names", ["ab", "abc"], ids=["one is left", "two are left"])
def test_or_is_never_asked_and_that_is_told(names: str) -> None:
    """B5: an unknown model is handled by policy."""
    known = {name: priced(name, Price(1, 1)) for name in names[1:]}
    world = cheapest(*names, routing=NEVER, **known)
    assert world.keys() == [*names[1:]]
    told = world.explain()
    first = told.candidates[0]
    assert (first.provider, first.struck, first.attempts) == ("a", Why.STRUCK_PRICE, ())
    assert first.detail == "no price of gpt-4o is known"
    assert [one.struck for one in told.candidates[1:]] == [None] * (len(names) - 1)
    said = json.loads(json.dumps(told.as_json()))["candidates"][0]
    assert (said["rule"], said["cost"], said["kept"]) == ("struck:price", None, False)


def test_where_none_has_a_price_nobody_is_asked() -> None:
    world = cheapest("a", "b", routing=NEVER)
    with pytest.raises(Overloaded, match="no price of gpt-4o is known"):
        world.plan()


@pytest.mark.parametrize("strategy", [s for s in Strategy if s is not Strategy.LEAST_COST])
def test_who_does_not_go_by_cost_asks_them_all(strategy: Strategy) -> None:
    world = World.of([target("a"), target("b")], strategy=strategy, routing=NEVER)
    assert sorted(world.keys()) == ["a", "b"]
