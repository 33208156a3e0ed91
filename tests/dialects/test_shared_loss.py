"""Losses: named, or refused with the field's name and the target's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import pytest

from extproc.dialects._extras import BOUND, CARRIED
from extproc.dialects._loss import Losses, field_of
from extproc.discover import registry
from extproc.model.call import OnLossy, Target
from extproc.model.chat import (
    Audio,
    Chat,
    Document,
    Extra,
    Image,
    Message,
    OpaquePart,
    Part,
    Refusal,
    Role,
    Sampling,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from extproc.model.dialect import RequestHead
from extproc.model.errors import Unsupported
from extproc.model.fields import Field

DROP = Target("acme", "m", "d")
REJECT = Target("acme", "m", "d", on_lossy=OnLossy.REJECT)
NONE: frozenset[Field] = frozenset()
ALL = frozenset(Field)


def test_hints_are_named_once_in_order() -> None:
    losses = Losses(REJECT)
    for name in (Field.SEED, Field.USER, Field.SEED):
        losses.drop(name)
    assert losses.names == ("seed", "user")


def test_the_middle_is_the_backends_to_decide() -> None:
    losses = Losses(DROP)
    losses.lossy(Field.THINKING, "it has none")
    assert losses.names == ("thinking",)
    with pytest.raises(Unsupported) as caught:
        Losses(REJECT).lossy(Field.THINKING, "it has none")
    assert caught.value.param == "thinking"
    assert caught.value.message == "Provider acme cannot take `thinking`: it has none."
    assert caught.value.status == 400


# --- settings


def asked(**settings: Any) -> Chat:
    sampling = {field.name for field in fields(Sampling)}
    own = {name: value for name, value in settings.items() if name not in sampling}
    others = {name: value for name, value in settings.items() if name in sampling}
    return Chat("other", "m", **{"messages": (), "sampling": Sampling(**others), **own})


HINTS: tuple[tuple[Field, str, Any], ...] = (
    (Field.USER, "user", "u"),
    (Field.METADATA, "metadata", {"a": "b"}),
    (Field.SERVICE_TIER, "service_tier", "flex"),
    (Field.CACHE_KEY, "cache_key", "k"),
    (Field.CACHE_RETENTION, "cache_retention", "24h"),
    (Field.VERBOSITY, "verbosity", "low"),
    (Field.SAFETY_IDENTIFIER, "safety_identifier", "s"),
    (Field.TEMPERATURE, "temperature", 0.0),
    (Field.TOP_P, "top_p", 0.5),
    (Field.TOP_K, "top_k", 1),
    (Field.SEED, "seed", 0),
    (Field.FREQUENCY_PENALTY, "frequency_penalty", -0.1),
    (Field.PRESENCE_PENALTY, "presence_penalty", 0.1),
)
SHAPING: tuple[tuple[Field, str, Any], ...] = (
    (Field.STORE, "store", True),
    (Field.STOP, "stop", ("END",)),
    (Field.LOGPROBS, "logprobs", True),
    (Field.LOGPROBS, "top_logprobs", 3),
    (Field.LOGIT_BIAS, "logit_bias", {"5": 1.0}),
    (Field.N, "n", 2),
)


@pytest.mark.parametrize(("field", "name", "value"), HINTS)
def test_a_hint_that_is_not_carried_is_named(field: Field, name: str, value: Any) -> None:
    losses = Losses(REJECT)
    losses.settings(asked(**{name: value}), ALL - {field})
    assert losses.names == (field,)


@pytest.mark.parametrize(("field", "name", "value"), SHAPING)
def test_what_shapes_the_answer_is_refused(field: Field, name: str, value: Any) -> None:
    with pytest.raises(Unsupported) as caught:
        Losses(DROP).settings(asked(**{name: value}), ALL - {field})
    assert caught.value.param == field
    assert f"`{field}`" in caught.value.message


@pytest.mark.parametrize(("field", "name", "value"), HINTS + SHAPING)
def test_what_is_carried_is_no_loss(field: Field, name: str, value: Any) -> None:
    losses = Losses(REJECT)
    losses.settings(asked(**{name: value}), frozenset({field}))
    assert losses.names == ()


def test_silence_is_no_loss() -> None:
    losses = Losses(REJECT)
    losses.settings(Chat("other", "m", ()), NONE)
    losses.settings(asked(n=1, logprobs=False, top_logprobs=0, logit_bias={}, metadata={}), NONE)
    losses.settings(asked(frequency_penalty=0, presence_penalty=0.0), NONE)
    assert losses.names == ()


def test_all_settings_are_asked_for() -> None:
    """A setting that the model learns is named by every language that has not learned it."""
    known = {name for _, name, _ in HINTS + SHAPING}
    of_a_chat = {
        "dialect", "model", "messages", "stream", "provider", "tools", "tool_choice",
        "parallel_tools", "sampling", "output", "reasoning", "include_usage", "options",
        "extra", "raw",
    }  # fmt: skip
    assert {field.name for field in fields(Sampling)} - known == {"max_tokens"}
    assert {field.name for field in fields(Chat)} - known == of_a_chat


# --- what only one language knows


def test_members_of_another_dialect() -> None:
    members = {
        "a": 1,
        "b": None,
        "c": False,
        "d": [],
        "e": {"f": {"g": None}},
        "f": "",
        "\0shape": 1,
        "stream": True,
        "id": "msg_1",
        "status": "completed",
        "type": "message",
        "kept": 1,
        CARRIED: ["kept"],
    }
    losses = Losses(DROP)
    losses.foreign(Extra("other", members), "home")
    losses.foreign(Extra("home", {"z": 1}), "home")
    assert losses.names == ("a",)


@pytest.mark.parametrize("name", ["background", "conversation", "previous_response_id"])
def test_state_that_a_provider_keeps_is_refused(name: str) -> None:
    with pytest.raises(Unsupported) as caught:
        Losses(DROP).foreign(Extra("other", {name: True}), "home")
    assert caught.value.param == name
    Losses(DROP).foreign(Extra("other", {name: False}), "home")


def test_what_stands_for_more_is_refused() -> None:
    with pytest.raises(Unsupported, match="item_reference"):
        Losses(DROP).foreign(Extra("other", {BOUND: ["item_reference"]}), "home")


PARTS: Mapping[Field, Part] = {
    Field.IMAGE: Image(Source(url="u")),
    Field.AUDIO: Audio(Source(data="")),
    Field.DOCUMENT: Document(Source(data="")),
    Field.THINKING: Thinking("hm"),
    Field.TOOLS: ToolCall("1", "f", ""),
    Field.RESULT: ToolResult("1", ()),
    Field.REFUSAL: Refusal("no"),
    Field.CONTENT: OpaquePart(Extra("other", {})),
}


@pytest.mark.parametrize("field", PARTS, ids=str)
def test_a_part_that_is_lost_whole_has_a_name(field: Field) -> None:
    assert field_of(PARTS[field]) is field
    assert field_of(Text("x")) is Field.CONTENT


# --- in whose words


@pytest.mark.parametrize(
    ("client", "word"),
    [
        ("openai_chat", "verbosity"),
        ("openai_responses", "text.verbosity"),
        ("anthropic_messages", "verbosity"),
    ],
)
def test_a_refusal_speaks_the_clients_words(client: str, word: str) -> None:
    words = registry().dialects[client].field_names
    refused = Losses(DROP).refusal(Field.VERBOSITY, "it has one length")
    told = refused.named(words.get(Field.VERBOSITY, Field.VERBOSITY))
    assert (told.param, told.message) == (
        word,
        f"Provider acme cannot take `{word}`: it has one length.",
    )


SET = asked(
    messages=(Message(Role.USER, (Text("Hi"),)),),
    store=False, cache_key="k", cache_retention="24h", verbosity="low", safety_identifier="s",
    user="u", metadata={"a": "b"}, service_tier="flex", logprobs=True, top_logprobs=2,
)  # fmt: skip


@pytest.mark.parametrize("there", ["openai_chat", "openai_responses"])
@pytest.mark.parametrize("here", ["openai_chat", "openai_responses"])
def test_openais_two_languages_say_the_same(here: str, there: str) -> None:
    """What one of them has, the other takes; neither names a loss."""
    dialects = registry().dialects
    target = Target("openai", "gpt-5.1", here)
    body = dialects[here].render_request(SET, target).body
    head = RequestHead("POST", "", "", {})
    first = dialects[here].parse_request(head, body)
    assert isinstance(first, Chat)
    made = dialects[there].render_request(replace(first, raw=b""), replace(target, dialect=there))
    again = dialects[there].parse_request(head, made.body)
    assert made.dropped == ()
    assert isinstance(again, Chat)
    for name in ("store", "cache_key", "cache_retention", "verbosity", "safety_identifier",
                 "user", "metadata", "service_tier", "sampling"):  # fmt: skip
        assert getattr(again, name) == getattr(SET, name), name


@pytest.mark.parametrize("there", ["anthropic_messages", "cohere_chat"])
def test_to_store_is_refused_elsewhere(there: str) -> None:
    """Silence asks for nothing, though OpenAI's Responses then stores."""
    dialects = registry().dialects
    head = RequestHead("POST", "", "", {})
    for store in (b"", b',"store":null', b',"store":false', b',"store":true'):
        body = b'{"model":"m","input":"x"%b}' % store
        chat = dialects["openai_responses"].parse_request(head, body)
        if store.endswith(b"true"):
            with pytest.raises(Unsupported, match="`store`"):
                dialects[there].render_request(chat, Target("acme", "m", there))
        else:
            made = dialects[there].render_request(chat, Target("acme", "m", there))
            assert made.dropped == ()


@pytest.mark.parametrize("host", ["api.mistral.ai", "api.groq.com", "api.cerebras.ai:443"])
def test_strict_hosts_get_nothing_that_they_do_not_know(host: str) -> None:
    """Each answers 400 or 422 to a member that it has no word for."""
    chat = registry().dialects["openai_chat"]
    target = Target("acme", "m", "openai_chat", authority=host)
    made = chat.render_request(replace(SET, sampling=Sampling()), target)
    lost = {"prompt_cache_retention", "verbosity"}
    # Of these, Mistral has learnt one.
    lost |= set() if "mistral" in host else {"prompt_cache_key"}
    assert lost | {"safety_identifier", "metadata"} <= set(made.dropped)
    assert not any(f'"{name}"'.encode() in made.body for name in (*lost, "store"))
    with pytest.raises(Unsupported, match="`store`"):
        chat.render_request(asked(store=True), target)
