"""Which provider answers."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from extproc.model.call import LOCAL, Caller, Capabilities
from extproc.model.chat import Chat
from extproc.model.embed import Embed
from extproc.model.errors import InvalidRequest, NotFound, Overloaded, PermissionDenied
from tests.kit import provider, route, settings, snapshot
from tests.routing.world import chosen

TWO = settings(
    providers={
        "acme": provider(),
        "zeta": provider("zeta", models=("z-*",), model="z-1", endpoint="https://z.example/api/v1"),
        "gone": provider("gone", models=("g",), unavailable="api_key: GONE_KEY is not set"),
    },
    models={
        "fast": route(("gone", "g"), ("zeta", "z-9")),
        "lost": route(("gone", "g")),
    },
)


def ask(model: str = "", provider: str | None = None, caller: Caller = LOCAL) -> tuple[str, str]:
    request = Chat("openai_chat", model, (), provider=provider)
    target = chosen(snapshot(TWO).atlas, caller, request).targets[0].target
    return target.provider, target.model


@pytest.mark.parametrize(
    ("model", "provider", "expected"),
    [
        ("gpt-4o", None, ("acme", "gpt-4o")),
        ("z-77", None, ("zeta", "z-77")),
        ("fast", None, ("zeta", "z-9")),
        ("zeta/z-3", None, ("zeta", "z-3")),
        ("", None, ("acme", "gpt-4o")),
        ("auto", None, ("acme", "gpt-4o")),
        ("auto", "auto", ("acme", "gpt-4o")),
        ("", "zeta", ("zeta", "z-1")),
        ("z-5", "zeta", ("zeta", "z-5")),
    ],
)
def test_target(model: str, provider: str | None, expected: tuple[str, str]) -> None:
    assert ask(model, provider) == expected


def test_the_most_exact_name_wins_whatever_the_order() -> None:
    config = settings(
        providers={
            "any": provider("any", models=("*",)),
            "some": provider("some", models=("gpt-*",)),
            "one": provider("one", models=("gpt-4o",)),
        },
        models={},
    )

    def who(model: str) -> str:
        request = Chat("openai_chat", model, ())
        return chosen(snapshot(config).atlas, LOCAL, request).targets[0].target.provider

    assert [who(m) for m in ("gpt-4o", "gpt-5", "other")] == ["one", "some", "any"]


def vectors(model: str = "", provider: str | None = None, **config: Any) -> tuple[str, str]:
    request = Embed("simple_query", model, ("x",), provider=provider)
    pinned = snapshot(settings(**config))
    # What a chat was answered with must not be remembered for vectors.
    with suppress(InvalidRequest):
        chosen(pinned.atlas, LOCAL, Chat("simple_query", "", ()))
    target = chosen(pinned.atlas, LOCAL, request).targets[0].target
    return target.provider, target.model


CHATS = provider("chats", models=("gpt-4o", "gpt-*"), model="gpt-4o")
OWN = {"house-*": Capabilities(embedding=True)}


def test_vectors_come_from_a_model_that_makes_them() -> None:
    own = provider(
        "own",
        models=("house-chat", "house-e"),
        capabilities=OWN | {"house-chat": Capabilities(embedding=False)},
    )
    wide = provider("wide", models=("gpt-*", "text-embedding-*"), model="gpt-4o")
    both = {"chats": CHATS, "wide": wide, "own": own}
    assert vectors(
        providers=both,
        models={"fast": route(("chats", "gpt-4o")), "v": route(("wide", "text-embedding-3-large"))},
    ) == ("wide", "text-embedding-3-large")
    assert vectors("auto", providers=both, models={}) == ("own", "house-e")
    assert vectors(providers={"chats": CHATS, "wide": wide}, models={}) == (
        "wide",
        "text-embedding-ada-002",
    )
    assert vectors(provider="wide", providers=both, models={}) == ("wide", "text-embedding-ada-002")
    assert vectors(provider="own", providers=both, models={}) == ("own", "house-e")
    assert vectors("gpt-4o", providers=both, models={}) == ("chats", "gpt-4o")


@pytest.mark.parametrize(
    ("dialect", "pattern", "model"),
    [
        ("openai_chat", "*", "text-embedding-ada-002"),
        ("openai_chat", "mistral-*", "mistral-embed"),
        ("gemini_generate", "gemini-*", "gemini-embedding-001"),
        ("cohere_chat", "embed-*", "embed-v4.0"),
        ("ollama_chat", "nomic-embed*", "nomic-embed-text"),
        ("bedrock_converse", "amazon.*", "amazon.titan-embed-text-v2:0"),
    ],
)
def test_a_provider_s_usual_model_for_vectors(dialect: str, pattern: str, model: str) -> None:
    one = provider("one", dialect=dialect, models=(pattern,), endpoint="https://one.example")
    assert vectors(providers={"one": one}, models={}) == ("one", model)


def test_no_model_makes_vectors() -> None:
    with pytest.raises(InvalidRequest, match="embedding: true") as error:
        vectors(providers={"chats": CHATS}, models={})
    assert error.value.param == "model"
    with pytest.raises(InvalidRequest, match="no default model for vectors"):
        vectors(provider="chats", providers={"chats": CHATS}, models={})
    with pytest.raises(Overloaded):
        vectors(providers={}, models={})


def test_a_model_that_makes_vectors_answers_no_chat() -> None:
    one = provider("one", models=("text-embedding-3-small", "gpt-4o"))
    config = settings(providers={"one": one}, models={})
    found = chosen(snapshot(config).atlas, LOCAL, Chat("openai_chat", "", ()))
    assert found.targets[0].target.model == "gpt-4o"


def test_unknown_model_is_404_and_says_where_to_look() -> None:
    for name in ("nope", "acme/nope", "/", "nope/gpt-4o"):
        with pytest.raises(NotFound, match="v1/models") as error:
            ask(name)
        assert (error.value.code, error.value.param) == ("model_not_found", "model")


@pytest.mark.parametrize(
    ("client", "path"),
    [
        ("openai_chat", "/v1/models"),
        ("openai_responses", "/v1/models"),
        ("anthropic_messages", "/v1/models"),
        ("cohere_chat", "/v1/models"),
        ("gemini_generate", "/v1beta/models"),
        ("ollama_chat", "/api/tags"),
        ("bedrock_converse", "/foundation-models"),
        ("simple_query", "/v1/models"),
    ],
)
def test_a_client_is_sent_to_its_own_model_list(client: str, path: str) -> None:
    limited = Caller("carol", models=frozenset({"fast"}))
    for caller, model, error in ((LOCAL, "nope", NotFound), (limited, "gpt-4o", PermissionDenied)):
        with pytest.raises(error, match=f" GET {path} lists those"):
            chosen(snapshot(TWO).atlas, caller, Chat(client, model, ()))
    assert snapshot(TWO).paths.find(path), "the gateway answers there"


def test_unknown_provider_lists_those_there_are() -> None:
    with pytest.raises(InvalidRequest, match="acme, zeta"):
        ask("", "nope")


def test_unavailable_provider_says_why() -> None:
    for model, name in (("lost", None), ("", "gone")):
        with pytest.raises(Overloaded, match="GONE_KEY is not set"):
            ask(model, name)


def test_key_may_use_only_its_models() -> None:
    carol = Caller("carol", models=frozenset({"fast", "gpt-4o-mini", "z-7*"}))
    assert ask("fast", caller=carol) == ("zeta", "z-9")
    assert ask("acme/gpt-4o-mini", caller=carol) == ("acme", "gpt-4o-mini")
    assert ask("z-77", caller=carol) == ("zeta", "z-77")
    for model in ("gpt-4o", "", "acme/gpt-4o", "z-9"):
        with pytest.raises(PermissionDenied, match="carol"):
            ask(model, caller=carol)


def test_metric_label_is_a_configured_name() -> None:
    made = chosen(snapshot(TWO).atlas, LOCAL, Chat("openai_chat", "z-anything-a-client-types", ()))
    assert made.name == "zeta/*"


def test_model_list_shows_only_what_the_caller_may_use() -> None:
    carol = Caller("carol", models=frozenset({"fast"}))
    assert [c.id for c in snapshot(TWO).models_for(carol)] == ["fast"]
    everything = [c.id for c in snapshot(TWO).models_for(LOCAL)]
    assert everything == ["fast", "gpt-4o", "gpt-4o-mini", "z-1"]
