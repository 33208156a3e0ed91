"""Streams that go wrong once they have begun: never a clean end."""

from __future__ import annotations

import json

import pytest

from tests.e2e import raw
from tests.e2e.asking import CHAT, chat, ended, events, query, refused, text_of
from tests.e2e.harness import Gateway
from tests.e2e.processes import eventually


@pytest.mark.parametrize("faults", ["end=5", "end=1", "end=5 split=7", "end=5 crlf", "cut=fin@0"])
def test_a_clean_end_without_the_terminal(gateway: Gateway, faults: str) -> None:
    """S3-32"""
    if faults.startswith("cut"):
        faults = "end=0"
    answer = chat(gateway, f"{faults} words=20", stream=True)
    last = events(answer.body)[-1]
    assert last["error"].keys() >= {"message", "type", "code"}
    assert answer.headers["x-sluice-call-id"] in json.dumps(last)
    assert b"[DONE]" not in answer.body
    line = gateway.wait_exchange(answer.headers["x-sluice-call-id"])
    assert line["outcome"] != "ok"


def test_the_same_in_the_simple_language(gateway: Gateway) -> None:
    answer = query(gateway, "end=5 words=20", "/stream")
    *_, last = found = events(answer.body)
    assert last["error"]
    assert not any(event["finished"] for event in found)
    assert b"[DONE]" not in answer.body


def test_a_missing_done_after_the_finish_is_forgiven(gateway: Gateway) -> None:
    whole = chat(gateway, "words=4 events=2", stream=True)
    count = len(events(whole.body))
    # With the usage that we ask for the provider sends one event more than the client sees.
    answer = chat(gateway, f"words=4 events=2 end={count}", stream=True)
    assert not any("error" in e for e in events(answer.body) if e != "[DONE]")


@pytest.mark.parametrize("faults", ["cut=rst@5", "cut=fin@5", "cut=chunk@5"])
@pytest.mark.parametrize("path", [CHAT, "/stream"])
def test_cut_inside_the_framing(gateway: Gateway, faults: str, path: str) -> None:
    with pytest.raises(raw.Cut) as caught:
        if path == CHAT:
            chat(gateway, f"{faults} words=20 pace=20", stream=True)
        else:
            query(gateway, f"{faults} words=20 pace=20", path)
    assert b"data:" in caught.value.seen
    assert b"[DONE]" not in caught.value.seen


@pytest.mark.parametrize("faults", ["cut=rst@0", "cut=fin@1", "cut=chunk@0"])
def test_cut_at_once(gateway: Gateway, faults: str) -> None:
    """As long as nothing went out, it can still be an error."""
    try:
        answer = chat(gateway, faults, stream=True)
    except raw.Cut:
        return
    refused(answer, 502, answer.headers["x-sluice-error-origin"])


@pytest.mark.parametrize("faults", ["cut=rst@5", "cut=fin@5", "cut=chunk@5"])
def test_the_sdk_raises_for_a_cut(gateway: Gateway, faults: str) -> None:
    """S3-32"""
    stream = gateway.openai().chat.completions.create(
        model="gpt-4o",
        messages=[{"role": "user", "content": f"[[mock {faults} words=20 pace=20]] hi"}],
        stream=True,
    )
    got: list[object] = []
    with pytest.raises(Exception) as caught:
        got.extend(stream)
    assert type(caught.value).__module__.partition(".")[0] in ("httpx", "httpcore", "openai")
    assert stream.response.headers["x-sluice-call-id"]
    line = gateway.wait_exchange(stream.response.headers["x-sluice-call-id"])
    assert line["outcome"] == "broken"


@pytest.mark.parametrize("path", [CHAT, "/stream"])
def test_silence_in_a_stream(tight: Gateway, path: str) -> None:
    with pytest.raises(raw.Cut) as caught:
        if path == CHAT:
            chat(tight, "stall=forever@4 words=20", stream=True)
        else:
            query(tight, "stall=forever@4 words=20", path)
    assert b"data:" in caught.value.seen
    assert b"[DONE]" not in caught.value.seen
    eventually(lambda: tight.mock.requests[-1].ended == "client_gone", 2.0)


def test_letters_that_are_cut_in_two(gateway: Gateway) -> None:
    """S4-64, trap 4: the provider's pieces end inside of characters; the other language is made of whole ones."""
    prompt = "gr\u00fc\u00df \u4f60\u597d \U0001f30d"
    body = json.dumps({"prompt": f"[[mock split=1]] {prompt}"}, ensure_ascii=False).encode()
    answer = raw.exchange(gateway.port, raw.request("POST", "/stream", body, gateway.auth))
    text = "".join(event["chunk"] for event in events(answer.body) if event != "[DONE]")
    assert text.startswith(f"You said: {prompt}")


@pytest.mark.parametrize("number", [1, 4])
def test_a_malformed_event(gateway: Gateway, number: int) -> None:
    answer = chat(gateway, f"malformed={number} words=20", stream=True)
    last = events(answer.body)[-1]
    assert last["error"]["message"]
    assert b"[DONE]" not in answer.body


def test_an_error_event_of_the_providers(gateway: Gateway) -> None:
    answer = chat(gateway, "error=4 words=20", stream=True)
    last = events(answer.body)[-1]
    assert last["error"]["type"] == "server_error"
    assert b"[DONE]" not in answer.body
    ended(gateway, answer, "provider_error")


@pytest.mark.parametrize("faults", ["split=1", "split=3 crlf", "crlf", "split=5 pace=1"])
def test_however_a_stream_is_cut_up_the_text_is_the_same(gateway: Gateway, faults: str) -> None:
    answer = chat(gateway, f"words=12 {faults}", stream=True)
    assert events(answer.body)[-1] == "[DONE]"
    assert text_of(answer) == text_of(chat(gateway, "words=12", stream=True))
