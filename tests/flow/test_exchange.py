"""One exchange as dialogue: what Envoy says, what it is told."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from extproc.config.names import FLOW_BUFFERS, FLOWS
from extproc.config.schema import Limits
from extproc.flow.exchange import OutOfTurn
from extproc.flow.messages import (
    CONTINUE,
    Continue,
    Mode,
    Outgoing,
    Reply,
    RequestBody,
    ResponseBody,
)
from extproc.model.call import Attempt, Call, Ending, Outcome
from extproc.model.errors import ContentBlocked
from extproc.model.reply import (
    ChoiceEnded,
    Event,
    Finished,
    PartEnded,
    PartKind,
    PartStarted,
    Reason,
    Started,
    TextDelta,
)
from extproc.model.stage import Answer, Stage
from tests.kit import ALICE, CALL_ID, Dialogue, provider, settings

ASK = b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}'
LEAST, MIDDLE, MOST = FLOW_BUFFERS
ASK_STREAM = ASK[:-1] + b',"stream":true}'
ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-2024",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hello", "refusal": None},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
    }
).encode()


def chunk(delta: dict[str, object], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    data = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return b"data: " + json.dumps({**data, "choices": [choice]}).encode() + b"\n\n"


USAGE_CHUNK = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[],'
    b'"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}\n\n'
)
DONE = b"data: [DONE]\n\n"


def continued(answer: Outgoing) -> Continue:
    assert isinstance(answer, Continue), answer
    return answer


def refused(answer: Outgoing, status: int) -> dict[str, object]:
    assert isinstance(answer, Reply), answer
    assert answer.status == status
    error = json.loads(answer.body)["error"]
    assert set(error) >= {"message", "type", "param", "code"}
    return error


async def sent(
    dialogue: Dialogue, body: bytes = ASK, path: str = "/v1/chat/completions"
) -> Continue:
    assert continued(await dialogue.head(path)).mode is Mode.REQUEST
    return continued(await dialogue.body(body))


async def test_whole_reply_passes_untouched() -> None:
    dialogue = Dialogue()
    out = await sent(dialogue)
    assert out.body is None, "nothing had to change, so no byte is touched"
    changes = dict(out.set)
    assert changes[":path"] == "/v1/chat/completions"
    assert changes[":authority"] == "127.0.0.1:9001"
    assert changes["authorization"] == "Bearer provider-secret-key"
    assert changes["content-length"] == str(len(ASK))
    assert out.route is not None
    assert out.route.clusters == ("provider-acme",)
    head = continued(await dialogue.reply_head(headers={"content-length": str(len(ANSWER))}))
    assert head.mode is Mode.WHOLE
    last = continued(await dialogue.reply_body(ANSWER))
    assert last.body is None
    assert ("x-sluice-provider", "acme") in last.set
    assert dialogue.exchange.over
    record = await dialogue.exchange.close()
    assert record.outcome is Outcome.OK
    assert record.usage is not None
    assert (record.usage.prompt, record.usage.output) == (9, 2)


async def test_client_headers_do_not_travel() -> None:
    dialogue = Dialogue()
    await dialogue.head(
        headers={
            "authorization": "Bearer client-key",
            "cookie": "a=b",
            "x-sluice-tags": "t",
            "x-forwarded-for": "1.2.3.4",
            "traceparent": "00-1-2-01",
            "x-request-id": "client",
        }
    )
    out = continued(await dialogue.body(ASK))
    assert {"cookie", "x-sluice-tags", "x-forwarded-for", "x-request-id"} <= set(out.remove)
    assert "traceparent" not in out.remove
    assert dict(out.set)["authorization"] == "Bearer provider-secret-key"
    assert "x-forwarded-proto" not in out.remove, "Envoy finds no route without it"


async def test_credential_of_the_client_goes_even_when_the_provider_has_none() -> None:
    config = settings(providers={"acme": provider(api_key=None)})
    dialogue = Dialogue(config)
    await dialogue.head(headers={"authorization": "Bearer client", "x-api-key": "client"})
    out = continued(await dialogue.body(ASK))
    assert {"authorization", "x-api-key"} <= set(out.remove)


async def test_stream_is_decided_by_the_head_and_passes_untouched() -> None:
    dialogue = Dialogue()
    out = await sent(dialogue, ASK_STREAM)
    assert out.body is not None
    assert json.loads(out.body)["stream_options"] == {"include_usage": True}
    assert dict(out.set)["content-length"] == str(len(out.body))
    head = continued(await dialogue.reply_head(content_type="text/event-stream"))
    assert head.mode is Mode.PIECES
    for piece in (chunk({"role": "assistant", "content": ""}), chunk({"content": "hi"})):
        assert await dialogue.reply_body(piece, end=False) == CONTINUE
    assert await dialogue.reply_body(chunk({}, "stop"), end=False) == CONTINUE
    withheld = continued(await dialogue.reply_body(USAGE_CHUNK + DONE, end=True))
    assert withheld.body == DONE, "the client did not ask for usage"
    record = await dialogue.exchange.close()
    assert record.outcome is Outcome.OK
    assert record.usage is not None
    assert record.usage.output == 1


async def test_stream_without_terminal_ends_in_an_error_event() -> None:
    dialogue = Dialogue()
    await sent(dialogue, ASK_STREAM)
    await dialogue.reply_head(content_type="text/event-stream")
    await dialogue.reply_body(chunk({"content": "half"}), end=False)
    last = continued(await dialogue.reply_body(b"", end=True))
    assert last.body is not None
    assert b"[DONE]" not in last.body
    assert "error" in json.loads(last.body.removeprefix(b"data: "))
    assert (await dialogue.exchange.close()).outcome in (Outcome.BROKEN, Outcome.PROVIDER_ERROR)


async def test_malformed_event_is_replaced_by_an_error_and_silence() -> None:
    dialogue = Dialogue()
    await sent(dialogue, ASK_STREAM)
    await dialogue.reply_head(content_type="text/event-stream")
    bad = continued(await dialogue.reply_body(b"data: {broken\n\n", end=False))
    assert bad.body is not None
    assert b"{broken" not in bad.body
    assert bad.body.count(b'"error"') == 1
    assert continued(await dialogue.reply_body(chunk({"content": "x"}) + DONE)).body == b""


async def test_event_over_the_limit_is_an_error_event() -> None:
    dialogue = Dialogue(settings(limits=Limits(body=2000)))
    await sent(dialogue, ASK_STREAM)
    await dialogue.reply_head(content_type="text/event-stream")
    most = 2000 + (512 << 10)
    giant = chunk({"content": "x" * most})
    for start in range(0, most, 100_000):
        await dialogue.reply_body(giant[start : min(start + 100_000, most)], end=False)
    last = continued(await dialogue.reply_body(giant[most:], end=False))
    assert last.body is not None
    assert b'"error"' in last.body
    assert b"xxxx" not in last.body
    assert continued(await dialogue.reply_body(DONE)).body == b""


async def test_a_piece_of_many_events_is_not_one_event_over_the_limit() -> None:
    """Envoy joins what it reads at once, and a message has room for it beside the limit."""
    dialogue = Dialogue(settings(limits=Limits(body=2000)))
    await sent(dialogue, ASK_STREAM)
    await dialogue.reply_head(content_type="text/event-stream")
    many = chunk({"content": "x"}) * 500
    assert continued(await dialogue.reply_body(many, end=False)).body is None
    record = await dialogue.exchange.close()
    assert record.outcome is Outcome.ABORTED


async def test_client_that_hangs_up_is_aborted_and_closed_once() -> None:
    dialogue = Dialogue()
    await sent(dialogue, ASK_STREAM)
    await dialogue.reply_head(content_type="text/event-stream")
    await dialogue.reply_body(chunk({"content": "x"}), end=False)
    assert not dialogue.exchange.over
    assert (await dialogue.exchange.close()).outcome is Outcome.ABORTED
    await dialogue.exchange.close()
    assert (dialogue.live.exchanges, dialogue.live.held) == (0, 0)


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("/nope", "POST", 404), ("/v1/chat/completions", "GET", 405), ("/query", "DELETE", 405)],
)
async def test_unknown_paths_and_methods(path: str, method: str, status: int) -> None:
    answer = await Dialogue().head(path, method, end=True)
    assert isinstance(answer, Reply)
    assert answer.status == status
    if status == 405:
        assert answer.headers["allow"]


async def test_refused_on_headers_before_any_body() -> None:
    dialogue = Dialogue(settings(keys=(ALICE,)))
    error = refused(await dialogue.head(peer="192.0.2.1"), 401)
    assert error["code"] == "missing_api_key"
    assert dialogue.exchange.over


async def test_strangers_do_not_learn_which_paths_exist() -> None:
    dialogue = Dialogue(settings(keys=(ALICE,)))
    assert isinstance(answer := await dialogue.head("/nope", peer="192.0.2.1"), Reply)
    assert answer.status == 401


async def test_body_over_the_limit_is_refused_by_its_length() -> None:
    dialogue = Dialogue(settings(limits=Limits(body=100)))
    refused(await dialogue.head(headers={"content-length": "101"}), 413)


async def test_compressed_request_is_refused() -> None:
    refused(await Dialogue().head(headers={"content-encoding": "gzip"}), 415)


async def test_bytes_in_flight_are_capped_and_released() -> None:
    dialogue = Dialogue(in_flight=len(ASK))
    dialogue.live.hold(1)
    await dialogue.head()
    assert refused(await dialogue.body(ASK), 503)["code"] == "gateway_busy"
    dialogue.live.release(1)
    again = Dialogue(in_flight=len(ASK))
    await sent(again)
    assert again.live.held == len(ASK)
    await again.reply_head()
    assert again.live.held == 0, "no attempt needs the request any more"


async def test_models_are_listed_without_a_provider() -> None:
    answer = await Dialogue().head("/v1/models", "GET", end=True)
    assert isinstance(answer, Reply)
    ids = [m["id"] for m in json.loads(answer.body)["data"]]
    assert ids == ["fast", "gpt-4o", "gpt-4o-mini"]


@pytest.mark.parametrize(("theirs", "ours"), [(401, 502), (403, 502), (429, 429), (400, 400)])
async def test_provider_errors(theirs: int, ours: int) -> None:
    dialogue = Dialogue()
    await sent(dialogue)
    await dialogue.reply_head(theirs, headers={"content-length": "100", "retry-after": "7"})
    body = b'{"error":{"message":"no","type":"t","param":null,"code":"c"}}'
    last = continued(await dialogue.reply_body(body))
    changes = dict(last.set)
    assert changes["x-sluice-error-origin"] == "provider"
    if theirs == ours:
        assert last.body is None, "faithful means the very bytes"
    else:
        assert changes[":status"] == str(ours)
        assert last.body is not None
        assert json.loads(last.body)["error"]["message"]


async def test_reply_that_envoy_made_is_explained() -> None:
    dialogue = Dialogue()
    await sent(dialogue)
    head = continued(await dialogue.reply_head(503, details="connection_failure", headers={}))
    assert head.mode is Mode.WHOLE
    last = continued(await dialogue.reply_body(b"upstream connect error"))
    assert last.body is not None
    error = json.loads(last.body)["error"]
    assert error["code"] == "provider_unreachable"
    assert dict(last.set)["x-sluice-error-origin"] == "network"
    assert dict(last.set)[":status"] == "502"


@pytest.mark.parametrize("length", [None, "5000"])
async def test_giant_reply_is_refused(length: str | None) -> None:
    dialogue = Dialogue(settings(limits=Limits(body=1000)))
    await sent(dialogue)
    headers = {"content-length": length} if length else {}
    answer = await dialogue.reply_head(headers=headers)
    if length is None:
        assert continued(answer).mode is Mode.BOUNDED
        answer = await dialogue.reply_body(b"x" * 1000, end=False)
    refused(answer, 502)


@pytest.mark.parametrize(("body", "flows"), [(ASK, False), (ASK_STREAM, True)])
async def test_envoy_is_told_whether_the_reply_will_flow(body: bytes, flows: bool) -> None:
    """By this it holds little of one: no more than of the request, or the least it can."""
    out = await sent(Dialogue(), body)
    assert out.route is not None
    assert dict(out.route.plan).get(FLOWS) == (str(LEAST) if flows else None)


@pytest.mark.parametrize(
    ("size", "held"), [(LEAST, LEAST), (LEAST + 1, MIDDLE), (MOST, MOST), (MOST + 1, None)]
)
async def test_the_request_fits_into_what_is_held(size: int, held: int | None) -> None:
    """Envoy refuses what does not (413)."""
    added = len((await sent(Dialogue(), ASK_STREAM)).body or b"") - len(ASK_STREAM)
    out = await sent(Dialogue(), ASK_STREAM.ljust(size - added))
    assert out.body is not None
    assert len(out.body) == size
    assert out.route is not None
    assert dict(out.route.plan).get(FLOWS) == (None if held is None else str(held))


async def test_large_whole_reply_where_a_stream_was_asked_for() -> None:
    """Envoy would not hold it, so it is taken in pieces; the client gets its stream."""
    text = "x" * LEAST
    whole = ANSWER.replace(b"hello", text.encode())
    dialogue = Dialogue()
    await sent(dialogue, ASK_STREAM)
    head = continued(await dialogue.reply_head(headers={"content-length": str(len(whole))}))
    assert head.mode is Mode.PIECES
    assert dict(head.set)["content-type"].startswith("text/event-stream")
    assert "content-length" in head.remove
    half = len(whole) // 2
    out = b"".join(
        [
            continued(await dialogue.reply_body(whole[:half], end=False)).body or b"",
            continued(await dialogue.reply_body(whole[half:])).body or b"",
        ]
    )
    assert text.encode() in out
    assert out.endswith(DONE)
    assert (await dialogue.exchange.close()).outcome is Outcome.OK


@pytest.mark.parametrize("length", [None, LEAST + 1])
async def test_large_error_where_a_stream_was_asked_for(length: int | None) -> None:
    """What Envoy could not hold is not waited for: it would hang until the idle timeout."""
    dialogue = Dialogue()
    await sent(dialogue, ASK_STREAM)
    headers = {} if length is None else {"content-length": str(length)}
    answer = await dialogue.reply_head(status=500, headers=headers)
    if length is None:
        assert continued(answer).mode is Mode.BOUNDED
        answer = await dialogue.reply_body(b"x" * (LEAST + 1), end=False)
    assert str(LEAST) in str(refused(answer, 502)["message"])


async def test_compressed_reply_is_refused() -> None:
    dialogue = Dialogue()
    await sent(dialogue)
    refused(await dialogue.reply_head(headers={"content-encoding": "gzip"}), 502)


async def test_two_dialects_meet() -> None:
    dialogue = Dialogue()
    out = await sent(dialogue, b'{"prompt": "hi", "context": "be brief"}', "/query")
    assert out.body is not None
    asked = json.loads(out.body)
    assert asked["model"] == "gpt-4o"
    assert [m["role"] for m in asked["messages"]] == ["system", "user"]
    await dialogue.reply_head()
    last = continued(await dialogue.reply_body(ANSWER))
    assert last.body is not None
    reply = json.loads(last.body)
    assert reply["response"] == "hello"
    assert reply["provider"] == "acme"
    assert reply["tokens_used"] == 11
    assert reply["correlation_id"] == CALL_ID


async def test_out_of_turn_is_an_error_of_its_own() -> None:
    for message in (RequestBody(ASK), ResponseBody(b"", True)):
        with pytest.raises(OutOfTurn):
            await Dialogue().tell(message)


async def test_envoy_refuses_an_upload_by_itself() -> None:
    dialogue = Dialogue()
    await dialogue.head()
    assert await dialogue.reply_head(413, details="request_payload_too_large") == CONTINUE
    assert (await dialogue.exchange.close()).outcome is Outcome.REFUSED


# --- stages ---


class Raises(Stage):
    async def on_request(self, call: Call) -> Call | Answer:
        raise RuntimeError("a defect with a secret in it")


class Blocks(Stage):
    async def on_attempt(self, call: Call, attempt: Attempt) -> None:
        raise ContentBlocked("no")


class Knows(Stage):
    async def on_request(self, call: Call) -> Call | Answer:
        return Answer(
            (
                Started("s", "m"),
                PartStarted(PartKind.TEXT),
                TextDelta("from a stage"),
                PartEnded(),
                ChoiceEnded(Reason.STOP),
                Finished(),
            )
        )


class Shouts(Stage):
    def on_event(self, event: Event) -> Sequence[Event]:
        return (TextDelta(event.text.upper()) if isinstance(event, TextDelta) else event,)


class BreaksInTheStream(Stage):
    def on_event(self, event: Event) -> Sequence[Event]:
        if isinstance(event, TextDelta) and event.text == "two":
            raise RuntimeError("defect")
        return (event,)


class Ends(Stage):
    seen: list[Ending] = []

    async def on_end(self, ending: Ending) -> None:
        self.seen.append(ending)
        raise RuntimeError("a defect at the very end")


async def test_stage_that_raises_refuses_and_tells_nothing() -> None:
    dialogue = Dialogue(stages=(Raises,))
    await dialogue.head()
    answer = await dialogue.body(ASK)
    refused(answer, 500)
    assert isinstance(answer, Reply)
    assert b"secret" not in answer.body


async def test_stage_that_blocks_an_attempt() -> None:
    dialogue = Dialogue(stages=(Blocks,))
    await dialogue.head()
    refused(await dialogue.body(ASK), 400)


async def test_stage_that_knows_the_answer() -> None:
    dialogue = Dialogue(stages=(Knows,))
    await dialogue.head()
    answer = await dialogue.body(ASK)
    assert isinstance(answer, Reply)
    assert json.loads(answer.body)["choices"][0]["message"]["content"] == "from a stage"


async def test_stage_that_changes_events_changes_the_bytes() -> None:
    dialogue = Dialogue(stages=(Shouts,))
    await sent(dialogue)
    await dialogue.reply_head()
    last = continued(await dialogue.reply_body(ANSWER))
    assert last.body is not None
    assert json.loads(last.body)["choices"][0]["message"]["content"] == "HELLO"


async def test_stage_that_breaks_in_a_stream_is_an_error_event_then_silence() -> None:
    dialogue = Dialogue(stages=(BreaksInTheStream,))
    await sent(dialogue, ASK_STREAM)
    await dialogue.reply_head(content_type="text/event-stream")
    one = continued(await dialogue.reply_body(chunk({"content": "one"}), end=False))
    assert one.body is not None
    assert b"one" in one.body
    two = continued(await dialogue.reply_body(chunk({"content": "two"}), end=False))
    assert two.body is not None
    assert b'"error"' in two.body
    assert b"two" not in two.body
    rest = continued(await dialogue.reply_body(chunk({"content": "three"}) + DONE))
    assert rest.body == b""
    assert (await dialogue.exchange.close()).outcome is Outcome.FAILED


async def test_on_end_comes_once_and_its_defect_harms_nobody() -> None:
    Ends.seen.clear()
    dialogue = Dialogue(stages=(Ends,))
    await sent(dialogue)
    await dialogue.exchange.close()
    await dialogue.exchange.close()
    assert [e.outcome for e in Ends.seen] == [Outcome.ABORTED]
