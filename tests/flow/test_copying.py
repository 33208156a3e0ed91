"""A shadow copy leaves, comes back as another exchange, and is known: both sides of it, as dialogue."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from extproc.app import line, measured
from extproc.config.names import SHADOW_HEADER
from extproc.config.schema import Key, Secret, Settings, Shadow
from extproc.flow.copying import LIFE, LONGEST_NAME, Copying, Tokens
from extproc.flow.copying import Shadow as Told
from extproc.flow.messages import Continue, Outgoing, Reply
from extproc.model.call import CallId
from extproc.model.errors import Unauthenticated
from extproc.model.ports import Bounds, Copy, Ports
from extproc.stages.memory import Memory
from tests.flow.test_exchange import ANSWER
from tests.kit import ALICE, CALL_ID, Dialogue, FakeClock, ports, provider, route, settings

KEY = b"k" * 32
SENT = {
    "authorization": "Bearer alice-key-0123456789",
    "x-api-key": "alice-key-0123456789",
    "cookie": "c=1",
    "content-length": "70",
    "transfer-encoding": "chunked",
    "x-sluice-tags": "t",
    "anthropic-beta": "b",
}
ASK = b'{"model":"chat","messages":[{"role":"user","content":"hi"}]}'


@dataclass
class Posted:
    """Keeps what is posted."""

    copies: list[Copy] = field(default_factory=list[Copy])

    def post(self, copy: Copy) -> None:
        self.copies.append(copy)


def configured(**changes: Any) -> Settings:
    """`chat` goes to acme, and all of it once more to shade, which speaks another language."""
    shade = provider("shade", dialect="anthropic_messages", models=("claude",))
    shadow = Shadow(provider="shade", model="claude", percent=100.0)
    fields: dict[str, Any] = {
        "providers": {"acme": provider(), "shade": shade},
        "models": {"chat": route(("acme", "gpt-4o"), shadow=shadow)},
        "keys": (ALICE,),
    }
    return settings(**{**fields, **changes})


@dataclass
class House:
    """Workers of one gateway: each exchange is with another one, who has the same key."""

    posted: Posted = field(default_factory=Posted)
    clock: FakeClock = field(default_factory=FakeClock)
    config: Settings = field(default_factory=configured)
    key: bytes = KEY

    def worker(self, config: Settings | None = None, stages: Any = None) -> Dialogue:
        talk = Dialogue(config or self.config, stages, self.clock)
        talk.machine.copying = Copying(Tokens(self.key, self.clock), self.posted)
        return talk

    async def asked(self, body: bytes = ASK, path: str = "/v1/chat/completions") -> Outgoing:
        talk = self.worker()
        await talk.head(path, headers=SENT)
        return await talk.body(body)

    @property
    def only(self) -> Copy:
        (copy,) = self.posted.copies
        return copy


async def arrives(talk: Dialogue, copy: Copy) -> Outgoing:
    """What the private listener makes of it."""
    peer = "/run/sluice/copies.sock"
    answer = await talk.head(copy.target, copy.method, peer=peer, headers=dict(copy.headers))
    return answer if isinstance(answer, Reply) else await talk.body(copy.body)


async def test_a_copy_is_the_client_s_request_without_its_credentials() -> None:
    house = House()
    answer = await house.asked(path="/v1/chat/completions?a=1&key=alice-key-0123456789")
    assert isinstance(answer, Continue)
    assert (":authority", "127.0.0.1:9001") in answer.set
    copy = house.only
    assert (copy.provider, copy.method, copy.body) == ("shade", "POST", ASK)
    assert copy.target == "/v1/chat/completions?a=1"
    headers = dict(copy.headers)
    assert headers.pop(SHADOW_HEADER)
    assert headers == {
        "content-type": "application/json",
        "x-sluice-tags": "t",
        "anthropic-beta": "b",
    }
    assert "alice-key" not in repr(copy)


async def test_it_goes_to_its_one_target_in_the_caller_s_name_and_is_not_copied_again() -> None:
    house = House()
    await house.asked()
    other = house.worker()
    answer = await arrives(other, house.only)
    assert isinstance(answer, Continue) and answer.body is not None
    assert json.loads(answer.body)["model"] == "claude"
    assert answer.route is not None and answer.route.clusters == ("provider-shade",)
    assert not [name for name, _ in answer.set if name.startswith("x-sluice")]
    assert SHADOW_HEADER in answer.remove
    assert len(house.posted.copies) == 1
    assert other.machine.running == {}

    record = await other.exchange.close()
    assert record.caller is not None and record.caller.name == "alice"
    assert (record.shadow, record.model, record.asked) == (CALL_ID, "chat", "chat")
    assert line(record)["shadow"] == CALL_ID
    assert measured(record).shadow


async def test_the_client_s_exchange_says_nothing_of_it() -> None:
    house = House()
    talk = house.worker()
    await talk.head(headers=SENT)
    await talk.body(ASK)
    head = await talk.reply_head(headers={"content-length": str(len(ANSWER))})
    assert isinstance(head, Continue)
    await talk.reply_body(ANSWER)
    record = await talk.exchange.close()
    assert not record.shadow
    assert "shadow" not in line(record)
    assert not measured(record).shadow
    assert not [pair for pair in head.set if "shad" in "".join(pair)]


async def test_a_token_is_good_once() -> None:
    house = House()
    await house.asked()
    worker = house.worker()
    assert isinstance(await arrives(worker, house.only), Continue)
    again = Dialogue(house.config, clock=house.clock)
    again.machine.copying = worker.machine.copying
    assert refused(await arrives(again, house.only))


async def test_a_token_is_good_for_a_short_time() -> None:
    house = House()
    await house.asked()
    house.clock.advance(LIFE - 1)
    assert isinstance(await arrives(house.worker(), house.only), Continue)
    house.clock.advance(2)
    assert refused(await arrives(house.worker(), house.only))


@pytest.mark.parametrize("at", [0, 40, -1])
async def test_a_token_that_was_changed_is_none(at: int) -> None:
    house = House()
    await house.asked()
    *headers, (name, token) = house.only.headers
    at %= len(token)
    changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
    copy = Copy("shade", "POST", house.only.target, (*headers, (name, changed)), ASK)
    assert refused(await arrives(house.worker(), copy))


@pytest.mark.parametrize("token", ["", ".", "a", "a.b", "é.é", 5000 * "x"])
async def test_words_of_strangers_are_no_tokens(token: str) -> None:
    house = House()
    copy = Copy("shade", "POST", "/v1/chat/completions", ((SHADOW_HEADER, token),), ASK)
    assert refused(await arrives(house.worker(), copy))


async def test_another_gateway_s_token_is_none() -> None:
    house = House()
    await house.asked()
    assert refused(await arrives(House(key=b"o" * 32, clock=house.clock).worker(), house.only))


async def test_without_a_key_there_are_no_copies() -> None:
    talk = Dialogue(configured())
    await talk.head(headers={**SENT, SHADOW_HEADER: "a.b"})
    assert (await talk.exchange.close()).status == 401
    with pytest.raises(ValueError, match="guessed"):
        Tokens(b"short", FakeClock())


async def test_whoever_is_gone_asks_nothing_more() -> None:
    house = House()
    await house.asked()
    bob = Key(name="bob", key=Secret("bob-key-9876543210"))
    assert refused(await arrives(house.worker(configured(keys=(bob,))), house.only))


async def test_whoever_is_gone_is_asked_nothing_more() -> None:
    house = House()
    await house.asked()
    answer = await arrives(house.worker(configured(providers={"acme": provider()})), house.only)
    assert isinstance(answer, Reply)
    assert answer.status == 503


async def test_a_gateway_without_keys_copies_too() -> None:
    house = House(config=configured(keys=()))
    talk = house.worker()
    await talk.head()
    await talk.body(ASK)
    other = house.worker()
    assert isinstance(await arrives(other, house.only), Continue)
    caller = (await other.exchange.close()).caller
    assert caller is not None and caller.name == "local"


async def test_a_caller_need_not_be_allowed_the_target() -> None:
    """It asked for `chat`, and whose word it is that `chat` has a shadow is the configuration's."""
    alice = Key(name="alice", key=ALICE.key, models=("chat",))
    house = House(config=configured(keys=(alice,)))
    await house.asked()
    assert isinstance(await arrives(house.worker(), house.only), Continue)


async def test_no_share_no_copy() -> None:
    shadow = Shadow(provider="shade", model="claude", percent=0.0)
    models = {"chat": route(("acme", "gpt-4o"), shadow=shadow)}
    house = House(config=configured(models=models))
    assert isinstance(await house.asked(), Continue)
    assert house.posted.copies == []


async def test_what_would_do_harm_or_no_good_is_not_copied() -> None:
    acme = provider(models=("chat",), dialect="anthropic_messages")
    shadow = Shadow(provider="acme", model="chat", percent=100.0)
    models = {"*": route(("acme", "*"), shadow=shadow)}
    house = House(config=configured(providers={"acme": acme}, models=models))
    count = b'{"model":"x","messages":[{"role":"user","content":"hi"}]}'
    assert isinstance(await house.asked(count, "/v1/messages/count_tokens"), Continue)
    batches = b'{"requests":[]}'
    await house.asked(batches, "/v1/messages/batches")
    assert house.posted.copies == []


async def test_a_name_that_is_longer_than_any_is_not_copied() -> None:
    shadow = Shadow(provider="shade", model="*", percent=100.0)
    house = House(config=configured(models={"*": route(("acme", "*"), shadow=shadow)}))
    for size in (LONGEST_NAME, LONGEST_NAME + 1):
        await house.asked(ASK.replace(b"chat", size * b"x"))
    assert isinstance(await arrives(house.worker(), house.only), Continue)


def test_what_was_taken_is_forgotten_when_it_is_good_no_more() -> None:
    clock = FakeClock()
    tokens = Tokens(KEY, clock)
    copying = Copying(tokens, Posted())
    for number in range(100):
        told = Told(CallId(f"gw-{number}"), "alice", "chat", "shade", "claude")
        token = tokens.issue(told)
        assert copying.known(token) == told
        with pytest.raises(Unauthenticated):
            copying.known(token)
        clock.advance(1.0)
    assert len(tokens._taken) <= LIFE + 2  # pyright: ignore[reportPrivateUsage]


# --- stages ---


@pytest.fixture
def doors(tmp_path: Path) -> Iterator[Ports]:
    made = ports(tmp_path)
    yield made
    made.conversations.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("copied", [False, True])
async def test_a_copy_leaves_no_turn_in_a_conversation(doors: Ports, copied: bool) -> None:
    made = Memory.prepare({}, doors)
    assert made is not None
    shadow = Shadow(provider="acme", model="gpt-4o-mini", percent=100.0)
    models = {"chat": route(("acme", "gpt-4o"), shadow=shadow)}
    house = House(config=configured(models=models))
    talk = house.worker(stages=(made.make,))
    await talk.head(headers={**SENT, "x-sluice-conversation": "c-1"})
    await talk.body(ASK)
    if copied:
        talk = house.worker(stages=(made.make,))
        assert isinstance(await arrives(talk, house.only), Continue)
    await talk.reply_head(headers={"content-length": str(len(ANSWER))})
    await talk.reply_body(ANSWER)
    await talk.exchange.close()
    turns = doors.conversations.turns("alice", "c-1", Bounds(60.0, 20, 1000, 10))
    assert [turn.answered for turn in turns] == ([] if copied else ["hello"])


def refused(answer: Outgoing) -> bool:
    return isinstance(answer, Reply) and answer.status == 401
