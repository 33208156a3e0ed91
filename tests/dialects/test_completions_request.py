"""Legacy completions requests: in and home again, away, and what conversations become."""

from __future__ import annotations

import json
from typing import Any

import pytest

from extproc.dialects.ollama_chat import DIALECT as OLLAMA
from extproc.dialects.openai_chat import DIALECT as OPENAI
from extproc.dialects.openai_completions import DIALECT
from extproc.model.call import Capabilities, OnLossy, Target
from extproc.model.chat import (
    CacheMark,
    Chat,
    Extra,
    Image,
    Message,
    OpaquePart,
    Output,
    OutputKind,
    Reasoning,
    Role,
    Sampling,
    Source,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
)
from extproc.model.embed import Embed
from extproc.model.errors import InvalidRequest, Unsupported

from . import kit_completions as kit

FULL: dict[str, Any] = {
    "model": "m",
    "prompt": "Once",
    "max_tokens": 16,
    "temperature": 0.7,
    "top_p": 1,
    "n": 2,
    "logprobs": 3,
    "stop": ["a", "b"],
    "seed": 5,
    "presence_penalty": 0,
    "frequency_penalty": 0.5,
    "logit_bias": {"50256": -100},
    "user": "u",
    "best_of": 3,
    "odd": {"a": [None]},
}
BODIES: list[dict[str, Any]] = [
    {"model": "m", "prompt": "x"},
    {"model": "m", "prompt": ""},
    {"model": "m", "prompt": ["x"]},
    {"model": "m", "prompt": ["x", "y"]},
    {"model": "m", "prompt": [1, 2, 3]},
    {"model": "m", "prompt": [[1, 2], [3]]},
    {"model": "m", "prompt": "x", "suffix": "y", "echo": True},
    {"model": "m", "prompt": ["x"], "suffix": "", "echo": False, "stream": False},
    {"model": "m", "prompt": "x", "stop": "one", "logprobs": 0, "logit_bias": {}},
    {"model": "m", "prompt": "x", "stop": [], "logprobs": False, "best_of": None},
    {"model": "m", "prompt": "x", "logprobs": True, "stop": None, "stream": None, "n": None},
    FULL,
]


@pytest.mark.parametrize("body", BODIES)
def test_a_request_comes_back(body: dict[str, Any]) -> None:
    chat = kit.parse(body)
    assert kit.rebuilt(chat) == body
    untouched = DIALECT.render_request(chat, kit.target("m"))
    assert untouched.body is chat.raw
    assert (untouched.path, untouched.dropped) == ("/completions", ())


def test_trap_24_usage_is_asked_for_and_withheld() -> None:
    """trap 24: we force `include_usage`; the decoder withholds it from who did not ask."""
    for options, wanted in ((None, False), ({}, False), ({"include_usage": True}, True)):
        body: dict[str, Any] = {"model": "m", "prompt": "x", "stream": True}
        body |= {} if options is None else {"stream_options": options}
        chat = kit.parse(body)
        forced = {**body, "stream_options": {"include_usage": True}}
        out = DIALECT.render_request(chat, kit.target("m"))
        assert json.loads(out.body) == kit.rebuilt(chat) == forced
        assert (out.stream, out.withhold_usage, chat.include_usage) == (True, not wanted, wanted)
    null = kit.parse({"model": "m", "prompt": "x", "stream": True, "stream_options": None})
    assert json.loads(DIALECT.render_request(null, kit.target("m")).body)["stream_options"]


def test_the_model_and_our_own_member_are_spliced() -> None:
    chat = kit.parse(b'{ "model":"mine",  "prompt":"x", "sluice":{"user":"u"} }')
    assert DIALECT.render_request(chat, kit.target("t")).body == b'{ "model":"t",  "prompt":"x" }'
    assert chat.options.user == "u"
    assert "sluice" not in kit.rebuilt(chat)


def test_azure() -> None:
    azure = Target(
        "az", "dep", "openai_completions", variant="azure", details=(("api_version", "2024-10-21"),)
    )
    path = DIALECT.render_request(kit.parse(FULL), azure).path
    assert path == "/deployments/dep/completions?api-version=2024-10-21"


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": 1}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["x", 1]}, "prompt"),
        ({"prompt": [True]}, "prompt"),
        ({"prompt": [["x"]]}, "prompt"),
        ({"logprobs": 99}, "logprobs"),
        ({"logprobs": "3"}, "logprobs"),
        ({"suffix": 1}, "suffix"),
        ({"echo": "yes"}, "echo"),
        ({"stop": 1}, "stop"),
        ({"logit_bias": {"a": "b"}}, "logit_bias.a"),
        ({"stream": "true"}, "stream"),
        ({"stream_options": []}, "stream_options"),
        ({"model": ""}, "model"),
    ],
)
def test_what_is_wrong_is_named(members: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        kit.parse({"model": "m", "prompt": "x", **members})
    assert caught.value.param == param


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"prompt":"x"}', b'{"\\u0000a":1}'])
def test_bad_bodies_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        kit.parse(body)


# --- away from home -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"prompt": ["x", "y"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"suffix": "y"}, "suffix"),
        ({"echo": True}, "echo"),
    ],
)
def test_what_means_nothing_elsewhere_is_refused(members: dict[str, Any], param: str) -> None:
    """Token ids and several prompts cannot leave: 400 with the field and the provider."""
    chat = kit.parse({"model": "m", "prompt": "x", **members})
    for dialect, name in ((OPENAI, "openai_chat"), (OLLAMA, "ollama_chat")):
        with pytest.raises(Unsupported) as caught:
            dialect.render_request(chat, Target("acme", "gpt-4o", name))
        assert caught.value.param == param
        assert "acme" in caught.value.message


def test_a_prompt_becomes_a_users_message() -> None:
    chat = kit.parse({"model": "m", "prompt": ["Hi"], "max_tokens": 5, "logprobs": 2, "best_of": 4})
    out = OPENAI.render_request(chat, Target("acme", "gpt-4o", "openai_chat"))
    body = json.loads(out.body)
    assert body["messages"] == [{"role": "user", "content": "Hi"}]
    assert (body["max_tokens"], body["logprobs"], body["top_logprobs"]) == (5, True, 2)
    assert out.dropped == ("best_of",)


# --- from other languages -------------------------------------------------------------------


def elsewhere(*messages: Message, **fields: Any) -> Chat:
    return Chat("elsewhere", "m", messages or (Message(Role.USER, (Text("Hi"),)),), **fields)


def test_one_question_is_a_prompt() -> None:
    assert kit.rebuilt(elsewhere()) == {"model": "m", "prompt": "Hi", "max_tokens": 1024}
    system = Message(Role.SYSTEM, (Text("Be"), Text("brief.")))
    asked = Message(Role.USER, (Text("Hi", CacheMark()),), name="Ada")
    out = kit.rendered(elsewhere(system, asked), kit.target("m", Capabilities(max_output=99)))
    assert json.loads(out.body) == {"model": "m", "prompt": "Be\nbrief.\n\nHi", "max_tokens": 99}
    assert out.dropped == ("cache", "messages.name", "system")


def test_turns_become_words_and_that_is_named() -> None:
    chat = elsewhere(
        Message(Role.USER, (Text("One?"),)),
        Message(Role.ASSISTANT, (Thinking("hm"), Text("Two."))),
        Message(Role.USER, (Text("Three?"),)),
        sampling=Sampling(0.5, 0.9, 40, 100, ("a",), 7, 0.1, 0.2, 2, logit_bias={"5": 1.0}),
        stream=True,
        include_usage=False,
        user="u",
        metadata={"a": "b"},
        service_tier="flex",
        reasoning=Reasoning("high"),
        tools=(Tool("f"),),
        tool_choice=ToolChoice(ToolMode.NONE),
    )
    out = kit.rendered(chat)
    assert json.loads(out.body) == {
        "model": "m",
        "prompt": "User: One?\n\nAssistant: Two.\n\nUser: Three?\n\nAssistant:",
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 100,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 7,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.2,
        "n": 2,
        "user": "u",
        "stop": ["a", "\nUser:"],
        "logit_bias": {"5": 1.0},
    }
    assert out.dropped == (
        "metadata",
        "service_tier",
        "top_k",
        "tools",
        "thinking",
        "messages.role",
        "reasoning.effort",
    )
    assert out.withhold_usage
    with pytest.raises(Unsupported) as caught:
        kit.rendered(chat, kit.target("m", on_lossy=OnLossy.REJECT))
    assert caught.value.param == "messages.role"


@pytest.mark.parametrize(
    ("chat", "param"),
    [
        (elsewhere(tools=(Tool("f"),)), "tools"),
        (elsewhere(output=Output(OutputKind.JSON)), "response_format"),
        (elsewhere(sampling=Sampling(logprobs=True)), "logprobs"),
        (elsewhere(sampling=Sampling(stop=("a", "b", "c", "d", "e"))), "stop"),
        (elsewhere(Message(Role.USER, (Image(Source(data="A")),))), "image"),
        (elsewhere(Message(Role.ASSISTANT, (ToolCall("c", "f", "{}"),))), "tools"),
        (elsewhere(Message(Role.USER, (OpaquePart(Extra("elsewhere", {})),))), "messages.content"),
        (elsewhere(store=True), "store"),
    ],
)
def test_what_a_prompt_cannot_say_is_refused(chat: Chat, param: str) -> None:
    with pytest.raises(Unsupported) as caught:
        kit.rendered(chat)
    assert caught.value.param == param


def test_other_requests_are_refused() -> None:
    with pytest.raises(Unsupported):
        DIALECT.render_request(Embed("elsewhere", "m", ("x",)), kit.target())
