"""Which targets a request gets, and what is said where it gets none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from extproc.config.schema import Retry, Routing, Shadow, Strategy, Window
from extproc.model.call import LOCAL, Caller, CallId, Capabilities, Failure
from extproc.model.chat import (
    Chat,
    Image,
    Message,
    Output,
    OutputKind,
    Role,
    Sampling,
    Source,
    Tool,
)
from extproc.model.embed import Embed, Opaque
from extproc.model.errors import (
    ContextTooLong,
    InvalidRequest,
    NotFound,
    Overloaded,
    PermissionDenied,
    Unsupported,
)
from extproc.routing.decide import copied
from extproc.routing.reasons import Why
from tests.kit import provider, route, settings
from tests.routing.world import World, chat, target

A, B, C = (target(name) for name in "abc")


def able(name: str, **can: Any) -> Any:
    return provider(name, capabilities={"*": Capabilities(**can)})


def test_groups_come_in_order_and_attempts_are_bounded() -> None:
    assert World.of([A, B], [C]).keys() == ["a", "b", "c"]
    assert World.of([A, B], [C], retry=Retry(attempts=2)).keys() == ["a", "b"]
    assert World.of([A], [B], [C], routing=Routing(retry=Retry(attempts=1))).keys() == ["a"]


def test_a_target_may_be_asked_again_before_the_next_with_pauses_that_double() -> None:
    world = World.of([A], [B], retry=Retry(attempts=5, same=2, base=1.0, longest=1.5))
    made = world.plan()
    assert [one.target.provider for one in made.targets] == list("aaabb")
    assert made.pauses[0] == made.pauses[3] == 0.0
    for pause, most in zip(
        (made.pauses[1], made.pauses[2], made.pauses[4]), (1, 1.5, 1), strict=True
    ):
        assert most / 2 <= pause <= most
    assert world.plan().pauses == made.pauses
    assert world.plan(call="gw-2").pauses != made.pauses, "many calls would come again at once"


def test_what_the_model_says_goes_into_the_plan() -> None:
    window = Window(seconds=1.0)
    said = {"window": window, "deadline": 5.0, "retry": Retry(on=(Failure.RESET,))}
    for groups in ([[A]], [[A], [B]]):
        made = World.of(*groups, routing=Routing(deadline=9.0), **said).plan()
        assert (made.window, made.deadline, made.triggers) == (window, 5.0, {Failure.RESET})
        made = World.of(*groups, routing=Routing(deadline=9.0)).plan()
        assert (made.window, made.deadline) == (None, 9.0)


def test_one_target_is_a_plain_plan_and_always_the_same() -> None:
    world = World.of([A])
    assert world.plan().plain
    assert world.plan(call="gw-2") is world.plan()
    world.open("a/gpt-4o")
    assert world.keys() == ["a"], "nobody else can be asked"


def test_targets_at_rest_are_passed_over_and_come_back() -> None:
    world = World.of([A], [B], [C])
    world.open("a/gpt-4o")
    world.cool("b/gpt-4o", 60.0)
    made = world.plan()
    assert [one.target.provider for one in made.targets] == ["c"]
    assert made.why == ("alias", "order", "struck:breaker", "struck:cooldown")
    world.clock.advance(20)
    assert world.keys() == ["a", "c"], "a trial"
    world.clock.advance(60)
    assert world.keys() == ["a", "b", "c"]


def test_all_at_rest_is_told_with_the_time_of_the_first_to_return() -> None:
    world = World.of([A], [B])
    world.cool("a/gpt-4o", 60.0)
    world.cool("b/gpt-4o", 40.0)
    with pytest.raises(Overloaded, match="chat") as caught:
        world.plan()
    assert caught.value.retry_after == pytest.approx(40.0)


TOOLS = chat(tools=(Tool("t"),))
PICTURE = Chat(
    "openai_chat", "chat", (Message(Role.USER, (Image(Source(url="https://x.example/y")),)),)
)
SCHEMA = chat(output=Output(OutputKind.SCHEMA, {"type": "object"}))
LONG = chat("word " * 1000)


@pytest.mark.parametrize(
    ("lacks", "request_", "why"),
    [
        ({"tools": False}, TOOLS, Why.STRUCK_TOOLS),
        ({"vision": False}, PICTURE, Why.STRUCK_VISION),
        ({"json_schema": False}, SCHEMA, Why.STRUCK_SCHEMA),
        ({"context": 1000}, LONG, Why.STRUCK_CONTEXT),
        ({"context": 100}, chat(sampling=Sampling(max_tokens=101)), Why.STRUCK_CONTEXT),
        ({"max_output": 100}, chat(sampling=Sampling(max_tokens=101)), Why.STRUCK_OUTPUT),
    ],
)
def test_who_cannot_do_it_is_passed_over(lacks: Any, request_: Chat, why: Why) -> None:
    has = {
        "tools": True,
        "vision": True,
        "json_schema": True,
        "context": 10**6,
        "max_output": 10**6,
    }
    world = World.of(
        [A], [B], providers={"a": able("a", **{**has, **lacks}), "b": able("b", **has)}
    )
    assert world.keys(request_) == ["b"]
    assert why in world.plan(request_).why
    assert world.keys(chat()) == ["a", "b"]
    assert world.explain(request_).candidates[0].struck is why
    unknown = World.of([A], [B], providers={"a": able("a"), "b": able("b", **has)})
    if "context" not in lacks:
        assert unknown.keys(request_) == ["a", "b"], "what is not known is thought to be there"


@pytest.mark.parametrize(
    ("lacks", "request_", "error", "says"),
    [
        ({"tools": False}, TOOLS, Unsupported, "tools"),
        ({"vision": False}, PICTURE, Unsupported, "images"),
        ({"context": 900}, LONG, ContextTooLong, r"about 1254 tokens, where 900 is the longest"),
        (
            {"context": 100},
            chat(sampling=Sampling(max_tokens=101)),
            ContextTooLong,
            r"about 5 tokens and 101 more for the answer, where 100",
        ),
        (
            {"max_output": 100},
            chat(sampling=Sampling(max_tokens=101)),
            Unsupported,
            "101 tokens of output, where 100",
        ),
    ],
)
def test_a_need_that_nobody_meets_is_named(
    lacks: Any, request_: Chat, error: type[InvalidRequest], says: str
) -> None:
    both = {"a": able("a", **lacks), "b": able("b", **lacks)}
    with pytest.raises(error, match=says) as caught:
        World.of([A], [B], providers=both).plan(request_)
    assert caught.value.status == 400


def test_a_need_is_named_in_the_clients_words() -> None:
    small = Capabilities(max_output=10)
    both = {name: provider(name, capabilities={"*": small}) for name in "ab"}
    world = World.of([A], [B], providers=both)
    asked = Chat("gemini_generate", "chat", (), sampling=Sampling(max_tokens=11))
    with pytest.raises(Unsupported) as caught:
        world.plan(asked)
    assert caught.value.param == "generationConfig.maxOutputTokens"


def test_where_nobody_has_schemas_each_does_what_it_can() -> None:
    both = {name: able(name, json_schema=False) for name in "ab"}
    assert World.of([A], [B], providers=both).keys(SCHEMA) == ["a", "b"]


def test_what_a_target_caps_is_not_too_much_for_it() -> None:
    capped = target("a", cap={"max_tokens": 100})
    small = able("a", max_output=100, context=200)
    world = World.of([capped], [B], providers={"a": small})
    assert world.keys(chat(sampling=Sampling(max_tokens=5000))) == ["a", "b"]
    wide = target("a", set={"max_tokens": 300})
    world = World.of([wide], [B], providers={"a": able("a", context=200)})
    assert world.keys(chat(raw=b"x")) == ["b"], "it asks for more than fits"


def test_a_body_short_enough_need_not_be_estimated() -> None:
    small = able("a", context=1000)
    world = World.of([A], [B], providers={"a": small})
    assert world.keys(chat("x" * 40, raw=b"x" * 60)) == ["a", "b"]
    assert world.keys(chat("x" * 4001, raw=b"x" * 4100)) == ["b"]
    assert world.keys(chat("x", raw=b"x" * 20, sampling=Sampling(max_tokens=1000))) == ["b"]


def test_conditions_choose() -> None:
    gold = target("a", when='headers["x-tier"] == "gold"')
    large = target("b", when="request.tokens > 500")
    world = World.of([gold], [large], [C])
    assert world.keys() == ["c"]
    assert world.keys(headers={"x-tier": "gold"}) == ["a", "c"]
    assert world.keys(LONG) == ["b", "c"]
    assert world.plan().why == ("alias", "order", "struck:condition")


def test_conditions_that_leave_nobody_are_a_clients_error() -> None:
    world = World.of([target("a", when="request.tools")], [target("b", when="request.images")])
    with pytest.raises(InvalidRequest, match="no condition") as caught:
        world.plan()
    assert caught.value.code == "no_target"
    world.open("a/gpt-4o")
    with pytest.raises(Overloaded):
        world.plan(TOOLS)


def test_wildcards_stand_for_the_rest_of_the_name() -> None:
    world = World.of([target("a", "*")], [target("b", "fixed")], name="house/*")
    made = world.plan(chat(model="house/gpt-9"))
    assert [one.target.model for one in made.targets] == ["gpt-9", "fixed"]
    assert (made.name, made.why) == ("house/*", ("wildcard", "order"))
    with pytest.raises(NotFound):
        world.plan(chat(model="house/"))


def test_the_longest_beginning_wins_and_a_star_comes_last() -> None:
    names = ("gpt-*", "gpt-4*", "gpt-4o", "*")
    routes = {name: route(("a", f"for-{name}")) for name in names}
    world = World(settings(providers={"a": provider("a", models=("own",))}, models=routes))
    asked = ("gpt-4o", "gpt-4o-mini", "gpt-5", "own", "a/own", "else")
    found = [world.plan(chat(model=name)).targets[0].target.model for name in asked]
    assert found == ["for-gpt-4o", "for-gpt-4*", "for-gpt-*", "own", "own", "for-*"]


def test_names_that_clients_make_up_do_not_fill_memory() -> None:
    world = World.of([target("a", "*")], [target("b", "*")], name="x/*")
    for number in range(600):
        world.plan(chat(model=f"x/{number}"))
    assert len(world.atlas.choices) <= 512
    assert world.plan(chat(model="x/599")).targets[1].target.model == "599"


def test_a_provider_that_is_not_there_is_left_out() -> None:
    gone = provider("a", unavailable="api_key: A_KEY is not set")
    assert World.of([A], [B], [C], providers={"a": gone}).keys() == ["b", "c"]
    with pytest.raises(Overloaded, match="A_KEY is not set"):
        World.of([A], providers={"a": gone}).plan()


def test_a_key_that_may_not_use_the_model_gets_nobody() -> None:
    world = World.of([A], [B])
    carol = Caller("carol", models=frozenset({"gpt-4o"}))
    with pytest.raises(PermissionDenied, match="carol"):
        world.plan(caller=carol)
    assert {one.struck for one in world.explain(caller=carol).candidates} == {Why.STRUCK_CALLER}


def test_what_is_not_translated_stays_in_its_language() -> None:
    other = provider("a", dialect="anthropic_messages")
    world = World.of([A], [B], providers={"a": other})
    speech = Opaque("openai_chat", "POST", "/audio/speech", "application/json", model="chat")
    assert world.keys(speech) == ["b"]
    assert world.keys() == ["a", "b"]
    with pytest.raises(Unsupported, match="speaks cohere_chat"):
        world.plan(Opaque("cohere_chat", "POST", "/x", "application/json", model="chat"))


def test_what_names_no_model_and_is_not_translated_is_done_once() -> None:
    world = World.of([A], [B], routing=Routing(retry=Retry(attempts=4, same=3)))
    files = Opaque("openai_chat", "POST", "/files", "multipart/form-data")
    made = world.plan(files)
    assert len(made.targets) == 1
    assert made.why == ("path",)


def test_a_plain_name_is_asked_again_where_the_configuration_says_so() -> None:
    world = World.of([A], routing=Routing(retry=Retry(attempts=3, same=1), deadline=3.0))
    made = world.plan(chat(model="gpt-4o"))
    assert [one.target.provider for one in made.targets] == ["a", "a"]
    assert made.deadline == 3.0
    assert {one.ref for one in made.targets} == {None}


def test_vectors_of_no_model_come_from_one_that_makes_them() -> None:
    embedder = target("b", "text-embedding-3-small")
    world = World.of([embedder], [target("a", "text-embedding-3-small")])
    assert world.keys(Embed("openai_chat", "", ("x",))) == ["b", "a"]


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (chat(), "alias"),
        (chat(model="gpt-4o"), "name"),
        (chat(model="a/gpt-4o"), "name"),
        (chat(model=""), "default"),
        (chat(model="gpt-4o", provider="a"), "pinned"),
    ],
)
def test_how_the_name_led_to_it_is_told(request_: Chat, why: str) -> None:
    world = World.of([A])
    assert world.plan(request_).why == (why,)
    assert (world.plan(request_).targets[0].ref is None) is (why != "alias")


def test_shadows_get_their_share_of_the_calls() -> None:
    world = World.of([A], shadow=Shadow(provider="a", model="gpt-5", percent=30))
    calls = [CallId(f"gw-{number}") for number in range(1000)]
    made = [copied(world.plan(call=call), call) for call in calls]
    found = [one.target.model for one in made if one is not None]
    assert 260 < len(found) < 340
    assert set(found) == {"gpt-5"}
    always = World.of([A], [B], shadow=Shadow(provider="a", model="m"))
    assert all(copied(always.plan(call=call), call) for call in calls[:100])


def test_a_shadow_changes_nothing_for_the_client() -> None:
    """No health is asked and nothing is drawn for who has nobody to give way to."""
    alone, shadowed = World.of([A]), World.of([A], shadow=Shadow(provider="a", model="m"))
    assert shadowed.plan() is shadowed.plan(call="gw-2")
    same = replace(shadowed.plan(), shadow=None, shadow_percent=0.0, targets=alone.plan().targets)
    assert same == alone.plan()


def test_the_callers_of_all_strategies_are_asked_as_written_when_alone() -> None:
    for strategy in Strategy:
        assert World.of([A], [B], strategy=strategy).keys(caller=LOCAL) == ["a", "b"]
