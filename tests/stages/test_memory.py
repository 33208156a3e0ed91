"""What a conversation's turns become: put before the prompt, kept in the end, and seen by nobody else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from extproc.app import line
from extproc.config.schema import Key, Secret, Settings
from extproc.flow.messages import Continue, Outgoing, Reply
from extproc.flow.pipeline import Pipeline
from extproc.model.call import Call, Caller
from extproc.model.chat import Chat, Message, Options, Role, Text
from extproc.model.embed import Embed
from extproc.model.ports import Bounds, Conversations, Ports, Turn
from extproc.model.reply import Finished, TextDelta
from extproc.stages import memory
from extproc.stages.memory import Memory
from tests.flow.test_exchange import ANSWER, DONE, chunk, continued
from tests.kit import ALICE, CALL_ID, Dialogue, ports, provider, settings

WITHIN = Bounds(60.0, 20, 1000, 10)
STREAM = "text/event-stream"
NAMED = {"x-sluice-conversation": "c-1"}


@pytest.fixture
def doors(tmp_path: Path) -> Iterator[Ports]:
    made = ports(tmp_path)
    yield made
    made.conversations.close()  # type: ignore[attr-defined]


@pytest.fixture
def kept(doors: Ports) -> Conversations:
    return doors.conversations


def dialogue(doors: Ports, block: object = None, config: Settings | None = None) -> Dialogue:
    make = Memory.prepare(block or {}, doors)
    return Dialogue(config, stages=() if make is None else (make.make,))


async def asked(
    talk: Dialogue, prompt: str, name: str | None = "c-1", **members: Any
) -> tuple[Outgoing, Any]:
    """A turn in the simple language, and what leaves for the provider."""
    await talk.head("/chat")
    fields = {"prompt": prompt, **members, **({"conversation_id": name} if name else {})}
    answer = await talk.body(json.dumps(fields).encode())
    body = answer.body if isinstance(answer, Continue) else None
    return answer, json.loads(body) if body else None


async def turn(doors: Ports, prompt: str, said: str, name: str = "c-1") -> Mapping[str, Any]:
    """A whole turn; gives the reply."""
    talk = dialogue(doors)
    await asked(talk, prompt, name)
    body = ANSWER.replace(b'"hello"', json.dumps(said).encode())
    assert body != ANSWER
    await talk.reply_head(headers={"content-length": str(len(body))})
    last = continued(await talk.reply_body(body))
    assert last.body
    await talk.exchange.close()
    return json.loads(last.body)


def roles(sent: Any) -> list[tuple[str, str]]:
    return [(m["role"], m["content"]) for m in sent["messages"]]


async def test_earlier_turns_stand_before_the_prompt_and_behind_the_context(doors: Ports) -> None:
    """S1-44, S4-39"""
    answer = await turn(doors, "I am Ada", "Hello Ada")
    assert (answer["response"], answer["conversation_id"]) == ("Hello Ada", "c-1")
    await turn(doors, "I like rivers", "So do I")
    _, sent = await asked(dialogue(doors), "Who am I?", context="Be brief")
    assert roles(sent) == [
        ("system", "Be brief"),
        ("user", "I am Ada"),
        ("assistant", "Hello Ada"),
        ("user", "I like rivers"),
        ("assistant", "So do I"),
        ("user", "Who am I?"),
    ]


async def test_the_context_is_not_remembered(doors: Ports, kept: Conversations) -> None:
    talk = dialogue(doors)
    await asked(talk, "I am Ada", context="Be brief")
    await talk.reply_head()
    await talk.reply_body(ANSWER)
    assert kept.turns("local", "c-1", WITHIN) == (Turn("I am Ada", "hello"),)


async def test_without_a_name_nothing_is_kept_or_seen(doors: Ports, kept: Conversations) -> None:
    await turn(doors, "I am Ada", "Hello Ada")
    talk = dialogue(doors)
    _, sent = await asked(talk, "Who am I?", None)
    assert roles(sent) == [("user", "Who am I?")]
    await talk.reply_head()
    await talk.reply_body(ANSWER)
    assert len(kept.turns("local", "c-1", WITHIN)) == 1


async def test_another_key_s_same_name_sees_none(doors: Ports, kept: Conversations) -> None:
    """S1-44"""
    kept.add("alice", "c-1", Turn("I am Ada", "Hello Ada"), WITHIN)
    bob = Key(name="bob", key=Secret("bob-key-0123456789"), models=("*",))
    for secret, turns in (("alice-key-0123456789", 3), ("bob-key-0123456789", 1)):
        talk = dialogue(doors, config=settings(keys=(ALICE, bob)))
        await talk.head("/chat", headers={"authorization": f"Bearer {secret}"})
        left = await talk.body(b'{"prompt": "Who am I?", "conversation_id": "c-1"}')
        assert isinstance(left, Continue) and left.body
        assert len(json.loads(left.body)["messages"]) == turns


ASK = {"model": "gpt-4o", "messages": [{"role": "user", "content": "I am Ada"}]}


async def test_a_stream_of_an_sdk_is_read_while_its_bytes_pass(
    doors: Ports, kept: Conversations
) -> None:
    talk = dialogue(doors)
    await talk.head(headers=NAMED)
    await talk.body(json.dumps({**ASK, "stream": True}).encode())
    await talk.reply_head(content_type=STREAM)
    pieces = [chunk({"content": "Hello "}), chunk({"content": "Ada"}), chunk({}, "stop") + DONE]
    for piece in pieces:
        answer = continued(await talk.reply_body(piece, end=False))
        assert answer.body is None, "untouched"
    # Before the client can have seen the end of it, and ask again.
    assert kept.turns("local", "c-1", WITHIN) == (Turn("I am Ada", "Hello Ada"),)


async def test_a_whole_reply_of_an_sdk_passes_untouched(doors: Ports, kept: Conversations) -> None:
    talk = dialogue(doors)
    await talk.head(headers=NAMED)
    await talk.body(json.dumps(ASK).encode())
    await talk.reply_head(headers={"content-length": str(len(ANSWER))})
    answer = continued(await talk.reply_body(ANSWER))
    assert answer.body is None
    assert "x-sluice-dropped" not in dict(answer.set)
    assert kept.turns("local", "c-1", WITHIN) == (Turn("I am Ada", "hello"),)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", ASK),
        ("/v1/messages", {**ASK, "max_tokens": 9}),
        ("/v1/responses", {"model": "gpt-4o", "input": "I am Ada"}),
        (
            "/v1beta/models/gpt-4o:generateContent",
            {"contents": [{"parts": [{"text": "I am Ada"}]}]},
        ),
        (
            "/model/gpt-4o/converse",
            {"messages": [{"role": "user", "content": [{"text": "I am Ada"}]}]},
        ),
        ("/api/chat", {**ASK, "stream": False}),
        ("/v2/chat", ASK),
        ("/query", {"prompt": "I am Ada"}),
    ],
)
async def test_every_language_has_the_header(doors: Ports, path: str, body: object) -> None:
    doors.conversations.add("local", "c-1", Turn("before", "answered"), WITHIN)
    talk = dialogue(doors)
    await talk.head(path, headers=NAMED)
    left = await talk.body(json.dumps(body).encode())
    assert isinstance(left, Continue) and left.body, left
    assert roles(json.loads(left.body)) == [
        ("user", "before"),
        ("assistant", "answered"),
        ("user", "I am Ada"),
    ]
    assert not any("conversation" in name for name, _ in left.set)


async def test_a_counted_prompt_has_its_turns_and_is_none_itself(
    doors: Ports, kept: Conversations
) -> None:
    kept.add("local", "c-1", Turn("before", "answered"), WITHIN)
    config = settings(providers={"acme": provider(dialect="anthropic_messages")})
    talk = dialogue(doors, config=config)
    await talk.head(
        "/v1/messages/count_tokens", headers={**NAMED, "anthropic-version": "2023-06-01"}
    )
    left = await talk.body(json.dumps(ASK).encode())
    assert isinstance(left, Continue) and left.body
    assert len(json.loads(left.body)["messages"]) == 3
    await talk.reply_head()
    await talk.reply_body(b'{"input_tokens": 9}')
    assert len(kept.turns("local", "c-1", WITHIN)) == 1


# --- what is not remembered


@pytest.mark.parametrize("end", ["broken", "client gone", "provider's error"])
async def test_what_did_not_end_well_is_forgotten(
    doors: Ports, kept: Conversations, end: str
) -> None:
    talk = dialogue(doors)
    await talk.head(headers=NAMED)
    await talk.body(json.dumps({**ASK, "stream": True}).encode())
    if end == "provider's error":
        await talk.reply_head(500)
        await talk.reply_body(b'{"error": {"message": "no"}}')
    else:
        await talk.reply_head(content_type=STREAM)
        await talk.reply_body(chunk({"content": "Hello "}), end=end == "broken")
    await talk.exchange.close()
    assert kept.turns("local", "c-1", WITHIN) == ()


def seen(stage: Memory, *texts: str) -> None:
    for text in texts:
        stage.on_seen(TextDelta(text))
        stage.on_seen(TextDelta("another choice", choice=1))
    stage.on_seen(Finished())


async def begun(kept: Conversations, *parts: str, bytes_: int = 1000) -> Memory:
    stage = Memory(kept, Bounds(60.0, 20, bytes_, 10))
    messages = tuple(Message(Role.USER, (Text(part),)) for part in parts)
    chat = Chat("x", "m", messages, options=Options(conversation="c"))
    await stage.on_request(Call(CALL_ID, Caller("ann"), chat))
    return stage


async def test_an_empty_answer_or_question_is_no_turn(kept: Conversations) -> None:
    seen(await begun(kept, "hi"), " \n")
    assert kept.turns("ann", "c", WITHIN) == ()
    assert not (await begun(kept, " ")).watches
    seen(await begun(kept, "one", "two"), "a", "b")
    assert kept.turns("ann", "c", WITHIN) == (Turn("one\n\ntwo", "ab"),)


async def test_a_long_answer_is_not_held(kept: Conversations) -> None:
    stage = await begun(kept, "hi", bytes_=100)
    seen(stage, *["x" * 60] * 1000)
    assert len(stage._said) == 2  # type: ignore[reportPrivateUsage]
    assert kept.turns("ann", "c", WITHIN) == ()


# --- refusals


async def test_a_conversation_that_cannot_be_read_is_a_refusal() -> None:
    answer, _ = await asked(dialogue(ports()), "Who am I?")
    assert isinstance(answer, Reply) and answer.status == 503
    assert "earlier turns" in json.loads(answer.body)["error"]
    assert "retry-after" in answer.headers
    _, sent = await asked(dialogue(ports()), "Who am I?", None)
    assert sent, "others need no memory"


@pytest.mark.parametrize("role", ["assistant", "tool"])
async def test_a_client_that_repeats_the_conversation_is_told(doors: Ports, role: str) -> None:
    more = {"role": role, "content": "Hello", **({"tool_call_id": "t"} if role == "tool" else {})}
    talk = dialogue(doors)
    await talk.head(headers=NAMED)
    body = {**ASK, "messages": [*ASK["messages"], more]}
    answer = await talk.body(json.dumps(body).encode())
    assert isinstance(answer, Reply) and answer.status == 400
    assert "send only what is new" in json.loads(answer.body)["error"]["message"]


@pytest.mark.parametrize("path", ["/chat", "/v1/chat/completions"])
async def test_a_name_that_is_none_is_a_400_that_says_so(doors: Ports, path: str) -> None:
    talk = dialogue(doors)
    await talk.head(path, headers={"x-sluice-conversation": "a name with blanks"})
    answer = await talk.body(json.dumps(ASK if path != "/chat" else {"prompt": "x"}).encode())
    assert isinstance(answer, Reply) and answer.status == 400
    assert b"x-sluice-conversation must be 1 to 128" in answer.body
    assert "with blanks" not in str(line(await talk.exchange.close()))


# --- on and off


async def test_what_nobody_remembers_is_named() -> None:
    for path, body, word in (
        ("/chat", {"prompt": "x", "conversation_id": "c"}, "conversation_id"),
        ("/v1/chat/completions", ASK, "x-sluice-conversation"),
    ):
        talk = dialogue(ports(), memory.OFF)
        await talk.head(path, headers=NAMED)
        await talk.body(json.dumps(body).encode())
        await talk.reply_head()
        assert dict(continued(await talk.reply_body(ANSWER)).set)["x-sluice-dropped"] == word


async def test_a_vector_belongs_to_no_conversation(kept: Conversations) -> None:
    stage = Memory(kept, WITHIN)
    call = Call(CALL_ID, Caller("ann"), Embed("x", "m", ("a",), options=Options(conversation="c")))
    assert await stage.on_request(call) is call
    assert not stage.watches


async def test_it_is_on_by_default_and_costs_others_nothing() -> None:
    talk = Dialogue()
    assert any(isinstance(make(), Memory) for make in talk.machine.snapshot.stages)
    assert talk.machine.snapshot.standing == ()


@pytest.mark.parametrize("name", ["c", None])
async def test_it_only_looks_and_only_where_it_is_asked(
    kept: Conversations, name: str | None
) -> None:
    pipeline = Pipeline((partial(Memory, kept, WITHIN),))
    messages = (Message(Role.USER, (Text("x"),)),)
    chat = Chat("x", "m", messages, options=Options(conversation=name, why="a wish"))
    await pipeline.on_request(Call(CALL_ID, Caller("ann"), chat))
    assert (pipeline.looks, pipeline.touches) == (name is not None, False)
    assert not pipeline.settles
    assert not pipeline.reads_requests
