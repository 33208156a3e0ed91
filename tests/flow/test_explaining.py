"""What would become of a request, as a client asks it: questions, answers, and what a question may not do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from extproc.config.schema import (
    Key,
    KeyRole,
    ModelRoute,
    Retry,
    Secret,
    Strategy,
    TargetRef,
    Window,
)
from extproc.flow.explaining import PATH
from extproc.flow.messages import Continue, Mode, Reply
from extproc.model.call import Capabilities
from tests.kit import CALL_ID, Dialogue, provider, settings

ALICE, ROOT = "alice-key-0123456789", "root-key-0123456789"
KEYS = (
    Key(name="alice", key=Secret(ALICE), models=("chat", "fast"), team="red"),
    Key(name="root", key=Secret(ROOT), role=KeyRole.ADMIN),
)
HI = {"role": "user", "content": "hi"}
CHAT: Mapping[str, Any] = {"model": "chat", "messages": [HI]}


def target(name: str, **more: Any) -> TargetRef:
    return TargetRef(provider=name, model="m", **more)


def house(**more: Any) -> Dialogue:
    """`chat` has two arms, a third target for the red, and a fourth in another language."""
    arms = (target("a", weight=3, label="old"), target("b", label="new"))
    rest = (target("c", when='caller.team == "red" && headers["x-tier"] == "gold"'), target("d"))
    route = ModelRoute(groups=(arms, rest), retry=Retry(attempts=4), deadline=9.0)
    single = ModelRoute(groups=((target("d"),),))
    known = {name: provider(name, models=("m",)) for name in "abc"}
    known["d"] = provider("d", dialect="anthropic_messages", models=("m",))
    models = {"chat": route, "fast": single, "secret": route}
    return Dialogue(settings(providers=known, models=models, **more))


async def told(
    dialogue: Dialogue, question: object, *, key: str = "", **headers: str
) -> dict[str, Any]:
    reply = await asked(dialogue, question, key=key, **headers)
    assert reply.status == 200, reply
    return json.loads(reply.body)


async def asked(dialogue: Dialogue, question: object, *, key: str = "", **headers: str) -> Reply:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if key:
        given["authorization"] = f"Bearer {key}"
    head = await dialogue.head(PATH, headers=given)
    if isinstance(head, Reply):
        return head
    assert head == Continue(mode=Mode.REQUEST)
    body = question if isinstance(question, bytes) else json.dumps(question).encode()
    reply = await dialogue.body(body)
    assert isinstance(reply, Reply)
    assert dialogue.exchange.over
    record = await dialogue.exchange.close()
    assert record.target is None, "nobody is asked"
    return reply


def rules(answer: Mapping[str, Any]) -> dict[str, str | None]:
    return {one["provider"]: one["rule"] for one in answer["candidates"]}


async def test_a_bare_body_is_a_chat() -> None:
    answer = await told(house(), CHAT)
    assert answer["object"] == "route.explanation"
    assert (answer["call_id"], answer["caller"]) == (CALL_ID, "local")
    assert (answer["dialect"], answer["model"], answer["strategy"]) == (
        "openai_chat",
        "chat",
        "weighted",
    )
    assert rules(answer) == {"a": None, "b": None, "c": "struck:condition", "d": None}
    assert [one["number"] for one in answer["attempts"]] == [1, 2, 3]
    assert {one["provider"] for one in answer["attempts"][:2]} == {"a", "b"}
    assert answer["attempts"][2]["provider"] == "d"
    assert answer["deadline"] == 9.0
    assert answer["why"][0] == {"code": "alias", "means": "`models` has this name"}
    assert answer["why"][1]["code"] == f"weighted:{answer['label']}"
    assert (answer["error"], answer["notes"]) == (None, [])


async def test_a_wrapped_request_of_another_language() -> None:
    question = {
        "path": "/v1/messages?beta=true",
        "headers": {"X-Tier": "gold", "x-sluice-timeout": "5"},
        "as": "alice",
        "call_id": "gw-other",
        "body": {**CHAT, "max_tokens": 7, "stream": True},
    }
    answer = await told(house(keys=KEYS), question, key=ROOT)
    assert (answer["caller"], answer["call_id"]) == ("alice", "gw-other")
    assert (answer["dialect"], answer["path"], answer["output"]) == (
        "anthropic_messages",
        "/v1/messages",
        7,
    )
    assert rules(answer) == {"a": None, "b": None, "c": None, "d": None}
    assert answer["deadline"] == 5.0


async def test_the_call_id_decides_what_is_drawn() -> None:
    found = set()
    for number in range(30):
        one = f"gw-{number}"
        answers = [await told(house(), {"call_id": one, "body": CHAT}) for _ in range(2)]
        first = [answer["attempts"][0]["provider"] for answer in answers]
        assert first[0] == first[1]
        found.add(first[0])
    assert found == {"a", "b"}


async def test_it_is_the_plan_of_the_exchange_itself() -> None:
    """The same id, configuration and health: what is told is what is done."""
    config = replace_retry(house().config, 1)
    answer = await told(Dialogue(config), CHAT)
    real = Dialogue(config)
    await real.head()
    left = await real.body(json.dumps(CHAT).encode())
    assert isinstance(left, Continue)
    record = real.exchange.record
    assert record.target is not None
    assert record.target.provider == answer["attempts"][0]["provider"]
    assert list(record.why) == [one["code"] for one in answer["why"]]
    assert record.label == answer["label"]
    assert rules(answer)["d"] == "struck:attempts"


def replace_retry(config: Any, attempts: int) -> Any:
    models = dict(config.models)
    route = models["chat"]
    models["chat"] = ModelRoute(
        groups=route.groups, strategy=route.strategy, retry=Retry(attempts=attempts)
    )
    return settings(providers=config.providers, models=models)


async def test_a_window_is_for_streams() -> None:
    route = ModelRoute(groups=((target("a"),), (target("b"),)), window=Window(seconds=3.0))
    known = {name: provider(name, models=("m",)) for name in "ab"}
    config = settings(providers=known, models={"chat": route})
    assert (await told(Dialogue(config), CHAT))["window"] is None
    stream = await told(Dialogue(config), {**CHAT, "stream": True})
    assert stream["window"] == {"seconds": 3.0, "bytes": 65536}


async def test_bytes_count_as_the_client_wrote_them() -> None:
    raw = b'{ "model" : "chat",   "messages":[{"role":"user","content":"hi"}] }'
    when = f"request.bytes == {len(raw)}"
    route = ModelRoute(groups=((target("a", when=when),), (target("b"),)))
    config = settings(
        providers={n: provider(n, models=("m",)) for n in "ab"}, models={"chat": route}
    )
    wrapped = b'{"body":  ' + raw + b' , "path": "/v1/chat/completions"}'
    for question in (raw, wrapped):
        answer = await told(Dialogue(config), question)
        assert rules(answer)["a"] is None
    answer = await told(Dialogue(config), {"body": json.loads(raw)})
    assert rules(answer)["a"] == "struck:condition"


async def test_what_a_language_cannot_carry_strikes_a_target() -> None:
    route = ModelRoute(groups=((target("d"),), (target("a"),)))
    known = {"a": provider("a", models=("m",))}
    known["d"] = provider("d", dialect="anthropic_messages", models=("m",))
    config = settings(providers=known, models={"chat": route})
    lost = {**CHAT, "seed": 1}
    answer = await told(Dialogue(config), lost)
    assert [one["dropped"] for one in answer["attempts"]] == [["seed"], []]
    answer = await told(Dialogue(config), lost, x_sluice_strict="1")
    assert rules(answer) == {"d": "struck:unsupported", "a": None}
    assert [(one["number"], one["provider"]) for one in answer["attempts"]] == [(1, "a")]
    assert "seed" in answer["candidates"][0]["detail"]
    assert answer["why"][-1]["code"] == "struck:unsupported"
    real = Dialogue(config)
    await real.head(headers={"x-sluice-strict": "1"})
    await real.body(json.dumps(lost).encode())
    assert real.exchange.record.why == tuple(one["code"] for one in answer["why"][:-1])


async def test_a_request_that_nobody_can_carry_is_refused_as_it_would_be() -> None:
    answer = await told(house(), {**CHAT, "model": "fast", "logit_bias": {"1": 1}})
    assert answer["error"]["status"] == 400
    assert "`logit_bias`" in answer["error"]["message"]
    assert (answer["attempts"], answer["why"]) == ([], [])
    assert rules(answer) == {"d": "struck:unsupported"}


async def test_an_over_long_prompt_is_told_with_its_sizes() -> None:
    able = {"*": Capabilities(context=100)}
    known = {name: provider(name, models=("m",), capabilities=able) for name in "ab"}
    route = ModelRoute(groups=((target("a"), target("b")),), strategy=Strategy.ROUND_ROBIN)
    config = settings(providers=known, models={"chat": route})
    long = {**CHAT, "messages": [{"role": "user", "content": "x" * 4000}]}
    answer = await told(Dialogue(config), long)
    assert set(rules(answer).values()) == {"struck:context"}
    assert answer["error"]["kind"] == "context_too_long"
    assert "about 1004 tokens" in answer["error"]["message"]
    assert "100 is the longest" in answer["error"]["message"]


async def test_policies_are_named_and_not_run() -> None:
    answer = await told(house(), {**CHAT, "sluice": {"format": "plain"}})
    (note,) = answer["notes"]
    assert "format" in note
    assert "memory" in note
    assert (await told(house(), CHAT))["notes"] == []


async def test_what_the_client_said_is_not_in_the_answer() -> None:
    reply = await asked(house(), {**CHAT, "messages": [{"role": "user", "content": "hush9"}]})
    assert b"hush9" not in reply.body


async def test_whoever_may_not_use_a_model_learns_nothing_of_it() -> None:
    secret = {**CHAT, "model": "secret"}
    answer = await told(house(keys=KEYS), secret, key=ALICE)
    assert answer["error"]["status"] == 403
    assert (answer["candidates"], answer["model"], answer["strategy"]) == ([], "", "")
    answer = await told(house(keys=KEYS), {"as": "alice", "body": secret}, key=ROOT)
    assert answer["error"]["status"] == 403
    assert set(rules(answer).values()) == {"struck:caller"}


@pytest.mark.parametrize(
    ("key", "status"), [("", 401), ("nonsense", 401), (ALICE, 200), (ROOT, 200)]
)
async def test_it_takes_the_callers_own_key(key: str, status: int) -> None:
    assert (await asked(house(keys=KEYS), CHAT, key=key)).status == status


async def test_only_an_admin_asks_for_somebody_else() -> None:
    question = {"as": "root", "body": CHAT}
    assert (await asked(house(keys=KEYS), question, key=ALICE)).status == 403
    own = {"as": "alice", "body": CHAT}
    assert (await told(house(keys=KEYS), own, key=ALICE))["caller"] == "alice"
    reply = await asked(house(keys=KEYS), {"as": "nobody", "body": CHAT}, key=ROOT)
    assert reply.status == 400
    assert b"nobody" in reply.body


BAD: Mapping[str, tuple[object, str]] = {
    "empty": (b"", "not a JSON object"),
    "text": (b'"hi"', "not a JSON object"),
    "list": (b"[]", "not a JSON object"),
    "cut": (b'{"body": {"model": "chat"', "not a JSON object"),
    "comma": (b'{"body": {},}', "a key is expected"),
    "more": (b'{"body": {}} x', "more behind its end"),
    "twice": (b'{"body": {}, "body": {}}', "each once"),
    "key": (b"{1: 2}", "each once"),
    "utf8": (b'{"body": "\xff"}', "not UTF-8"),
    "deep": (b'{"body": ' + b"[" * 100_000, "nested too deeply"),
    "unknown": ({"body": CHAT, "model": "chat"}, "'model' is not known"),
    "path": ({"path": "/nowhere", "body": CHAT}, "nothing at POST /nowhere"),
    "path-kind": ({"path": 7, "body": CHAT}, "path must be a string"),
    "path-form": ({"path": "v1/messages", "body": CHAT}, "must begin with `/`"),
    "method": ({"method": "GET", "body": CHAT}, "POST, not GET"),
    "list-models": ({"path": "/v1/models", "method": "GET"}, "nothing is routed"),
    "headers": ({"headers": {"a": 1}, "body": CHAT}, "object of strings"),
    "call": ({"call_id": "a b", "body": CHAT}, "call_id"),
    "call-kind": ({"call_id": 1, "body": CHAT}, "call_id must be a string"),
    "no-body": ({"path": "/v1/messages"}, ""),
    "request": ({"body": {"model": "chat"}}, "messages"),
    "bare": ({"model": "chat"}, "messages"),
    "number": (b'{"body": ' + b"9" * 5000 + b"}", "not a JSON object"),
    "itself": ({"path": PATH, "body": CHAT}, "nothing at POST"),
}


@pytest.mark.parametrize("name", BAD)
async def test_bad_questions_are_refused_and_say_why(name: str) -> None:
    question, said = BAD[name]
    reply = await asked(house(), question)
    assert reply.status == 400, reply
    error = json.loads(reply.body)["error"]
    assert error["type"] == "invalid_request_error"
    assert said in error["message"], error


async def test_other_methods_and_no_body() -> None:
    dialogue = house()
    reply = await dialogue.head(PATH, "GET", end=True)
    assert isinstance(reply, Reply)
    assert (reply.status, reply.headers["allow"]) == (405, "POST")
    dialogue = house()
    reply = await dialogue.head(PATH, end=True)
    assert isinstance(reply, Reply)
    assert reply.status == 400
    dialogue = house()
    reply = await dialogue.head(PATH + "/more", end=True)
    assert isinstance(reply, Reply)
    assert reply.status == 404


async def test_a_question_holds_its_body_only_while_it_is_asked() -> None:
    dialogue = house()
    await asked(dialogue, CHAT)
    assert (dialogue.live.held, dialogue.live.exchanges) == (0, 0)
    await asked(broken := house(), b"{")
    assert (broken.live.held, broken.live.exchanges) == (0, 0)


async def test_health_strikes_and_is_not_touched() -> None:
    dialogue = house()
    health = dialogue.machine.health
    before = dict(health.view())
    await told(dialogue, CHAT)
    assert dict(health.view()) == before


async def reply_headers(dialogue: Dialogue, model: str, **headers: str) -> Mapping[str, str]:
    """What the gateway adds to the reply of a chat."""
    await dialogue.head(headers={name.replace("_", "-"): said for name, said in headers.items()})
    left = await dialogue.body(json.dumps({**CHAT, "model": model}).encode())
    assert isinstance(left, Continue)
    answer = await dialogue.reply_head(headers={"content-type": "text/event-stream"})
    assert isinstance(answer, Continue)
    if answer.mode is not Mode.PIECES:
        body = {"choices": [{"message": {"role": "assistant", "content": "yo"}}]}
        answer = await dialogue.reply_body(json.dumps(body).encode())
        assert isinstance(answer, Continue)
    return dict(answer.set)


async def test_a_plain_exchange_tells_its_codes_where_they_are_asked_for() -> None:
    said = await reply_headers(house(), "a/m", x_sluice_why="verbose")
    assert (said["x-sluice-attempts"], said["x-sluice-why"]) == ("1", "name")
    for headers in ({}, {"x_sluice_why": "x"}):
        said = await reply_headers(house(), "a/m", **headers)
        assert said["x-sluice-provider"] == "a"
        assert not {"x-sluice-attempts", "x-sluice-why"} & said.keys()


async def test_a_choice_without_a_hop_tells_its_codes() -> None:
    said = await reply_headers(Dialogue(replace_retry(house().config, 1)), "chat")
    assert said["x-sluice-attempts"] == "1"
    assert said["x-sluice-why"].startswith("alias,weighted:")
