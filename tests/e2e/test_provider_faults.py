"""Everything that a provider can do wrong, and what its clients see of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e import raw
from tests.e2e.harness import PROVIDER_KEY, Gateway
from tests.e2e.processes import eventually

CHAT = "/v1/chat/completions"


def chat(
    gateway: Gateway, faults: str, *, stream: bool = False, model: str = "gpt-4o"
) -> raw.Answer:
    """One exchange with faults, over a connection of its own. Raises raw.Cut."""
    fields: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": f"[[mock {faults}]] hi"}],
    }
    if stream:
        fields["stream"] = True
    body = json.dumps(fields).encode()
    return raw.exchange(gateway.port, raw.request("POST", CHAT, body, gateway.auth))


def query(gateway: Gateway, faults: str, path: str = "/query") -> raw.Answer:
    body = json.dumps({"prompt": f"[[mock {faults}]] hi"}).encode()
    return raw.exchange(gateway.port, raw.request("POST", path, body, gateway.auth))


def direct(gateway: Gateway, faults: str) -> raw.Answer:
    """The same, asked of the provider itself."""
    fields = {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": f"[[mock {faults}]] hi"}],
    }
    port = int(gateway.mock.url.rpartition(":")[2])
    return raw.exchange(port, raw.request("POST", CHAT, json.dumps(fields).encode()))


def refused(answer: raw.Answer, status: int, origin: str) -> dict[str, Any]:
    assert answer.status == status, answer
    assert answer.headers["x-sluice-error-origin"] == origin
    assert answer.headers["x-sluice-call-id"].startswith("gw-")
    error = answer.json["error"]
    assert error.keys() >= {"message", "type", "param", "code"}
    return error


def ended(gateway: Gateway, answer: raw.Answer, outcome: str) -> None:
    assert gateway.wait_exchange(answer.headers["x-sluice-call-id"])["outcome"] == outcome


def events(body: bytes) -> list[Any]:
    lines = [line[6:] for line in body.decode().splitlines() if line.startswith("data: ")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def text_of(answer: raw.Answer) -> str:
    """What a stream of the chat language says."""
    return "".join(
        event["choices"][0]["delta"].get("content") or ""
        for event in events(answer.body)
        if event != "[DONE]" and event["choices"]
    )


# Errors that the provider itself reports.


@pytest.mark.parametrize("status", [400, 404, 409, 413, 422, 429, 500, 502, 503, 529])
@pytest.mark.parametrize("stream", [False, True])
def test_passed_on_faithfully(gateway: Gateway, status: int, stream: bool) -> None:
    faults = f"status={status} retry-after=7"
    answer = chat(gateway, faults, stream=stream)
    assert answer.status == status
    assert answer.body == direct(gateway, faults).body
    assert answer.headers["retry-after"] == "7"
    refused(answer, status, "provider")
    ended(gateway, answer, "provider_error")


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("stream", [False, True])
def test_our_credential_failed(gateway: Gateway, status: int, stream: bool) -> None:
    answer = chat(gateway, f"status={status} header=www-authenticate:Bearer", stream=stream)
    error = refused(answer, 502, "provider")
    assert "www-authenticate" not in answer.headers
    assert PROVIDER_KEY not in answer.body.decode()
    assert "credential" in error["message"]
    assert answer.headers["x-sluice-provider"] == "acme"


@pytest.mark.parametrize("status", [400, 429, 500, 529])
def test_in_another_language(gateway: Gateway, status: int) -> None:
    for path in ("/query", "/stream"):
        answer = query(gateway, f"status={status} retry-after=7", path)
        assert answer.status == status
        assert answer.headers["retry-after"] == "7"
        assert answer.json["error"]
        assert answer.headers["x-sluice-call-id"] in answer.body.decode()


@pytest.mark.parametrize("status", [400, 429, 500, 502, 503, 529])
@pytest.mark.parametrize("body", ["html", "empty"])
def test_an_error_without_an_envelope(gateway: Gateway, status: int, body: str) -> None:
    for stream in (False, True):
        answer = chat(gateway, f"status={status} body={body} retry-after=7", stream=stream)
        refused(answer, status, "provider")
        assert answer.headers["retry-after"] == "7"


# Connections that fail before a reply.


@pytest.mark.parametrize("stream", [False, True])
def test_reset_before_headers(gateway: Gateway, stream: bool) -> None:
    answer = chat(gateway, "reset", stream=stream)
    refused(answer, 502, "network")
    ended(gateway, answer, "broken")


def test_refused_connection(gateway: Gateway) -> None:
    answer = chat(gateway, "", model="absent-model")
    assert refused(answer, 502, "network")["code"] == "provider_unreachable"
    ended(gateway, answer, "broken")


@pytest.mark.parametrize("faults", ["delay=30", "slow-headers=100"])
@pytest.mark.parametrize("stream", [False, True])
def test_no_headers_in_time(gateway: Gateway, faults: str, stream: bool) -> None:
    answer = chat(gateway, faults, stream=stream, model="quick-model")
    refused(answer, 504, "network")
    ended(gateway, answer, "broken")
    eventually(lambda: gateway.mock.requests[-1].ended == "client_gone", 2.0)


# Replies that cannot be used.


@pytest.mark.parametrize("faults", ["gzip", "gzip framing=chunked"])
@pytest.mark.parametrize("stream", [False, True])
def test_compressed_reply(gateway: Gateway, faults: str, stream: bool) -> None:
    answer = chat(gateway, faults, stream=stream)
    refused(answer, 502, "provider")
    assert "content-encoding" not in answer.headers


def test_the_provider_is_asked_for_plain_bytes(gateway: Gateway) -> None:
    chat(gateway, "words=3")
    assert gateway.mock.requests[-1].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_giant_reply(tight: Gateway, framing: str) -> None:
    answer = chat(tight, f"giant=200k framing={framing}")
    refused(answer, 502, "provider")


def test_a_large_reply_passes(gateway: Gateway) -> None:
    for framing in ("length", "chunked"):
        answer = chat(gateway, f"giant=3m framing={framing}")
        assert answer.status == 200
        assert len(answer.json["choices"][0]["message"]["content"]) == 3 << 20


def test_giant_event(tight: Gateway) -> None:
    """An event that never ends is not kept; whatever the client gets, it is no clean end."""
    try:
        answer = chat(tight, "giant=2m", stream=True)
    except raw.Cut:
        return
    assert b"[DONE]" not in answer.body
    assert b'"error"' in answer.body


@pytest.mark.parametrize("faults", ["content-type=text/html", "malformed=1", "end=1", "status=204"])
def test_a_reply_that_is_none(gateway: Gateway, faults: str) -> None:
    answer = chat(gateway, faults)
    if faults == "content-type=text/html":
        # The body is a good one, whatever its label says.
        assert answer.status in (200, 502)
        return
    refused(answer, 502, "provider")


@pytest.mark.parametrize("status", [302, 304, 307])
@pytest.mark.parametrize("stream", [False, True])
def test_a_redirect(gateway: Gateway, status: int, stream: bool) -> None:
    """Nobody follows it, the client least of all: its prompt would go with it."""
    faults = f"status={status} header=location:http://evil.example/"
    answer = chat(gateway, faults, stream=stream)
    refused(answer, 502, "provider")
    assert "location" not in answer.headers
    assert len(gateway.mock.requests) == 1


def test_a_length_that_is_a_lie(gateway: Gateway) -> None:
    refused(chat(gateway, "header=content-length:5"), 502, "provider")
    assert chat(gateway, "words=3").status == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_web_page(gateway: Gateway, stream: bool) -> None:
    """What a captive portal or a wrong endpoint answers: 200, and HTML."""
    answer = chat(gateway, "content-type=text/html malformed=1 events=1", stream=stream)
    refused(answer, 502, "provider")
    assert answer.headers["x-sluice-provider"] == "acme"
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("kind", ["rst@0", "fin@0"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_whole_reply_that_breaks_off(gateway: Gateway, kind: str, framing: str) -> None:
    """Envoy tells the client by the framing, or answers an error: never half a body as a whole one."""
    try:
        answer = chat(gateway, f"cut={kind} framing={framing}")
    except raw.Cut:
        return
    assert answer.status == 502


def test_json_where_a_stream_was_asked(gateway: Gateway) -> None:
    """Whatever the label says, the client gets the stream that it asked for."""
    answer = chat(gateway, "content-type=application/json words=6", stream=True)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert text_of(answer) == text_of(chat(gateway, "words=6", stream=True))
    assert events(answer.body)[-1] == "[DONE]"


def test_a_stream_where_json_was_asked(gateway: Gateway) -> None:
    answer = chat(gateway, "content-type=text/event-stream words=6")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json["choices"][0]["message"]["content"].startswith("You said: hi")


def test_headers_of_the_providers_own_stay_behind(gateway: Gateway) -> None:
    ours = ("x-sluice-call-id", "x-sluice-provider", "x-sluice-model")
    forged = " ".join(f"header={name}:forged" for name in ours)
    plain = (
        "header=set-cookie:a=b header=x-powered-by:x header=www-authenticate:Basic "
        "header=x-envoy-upstream-service-time:1 header=alt-svc:h3 header=x-sluice-cost:9 "
        f"header=x-api-key:{PROVIDER_KEY} header=authorization:{PROVIDER_KEY} "
        "header=openai-organization:org-secret header=access-control-allow-origin:*"
    )
    for stream in (False, True):
        answer = chat(gateway, f"{forged} {plain}", stream=stream)
        assert answer.status == 200
        assert "forged" not in str(answer.headers)
        assert PROVIDER_KEY not in str(answer.headers)
        kept = {n for n in answer.headers if n in plain or n.startswith("x-envoy")}
        assert kept <= {"openai-organization"}, kept
        assert answer.headers.get("x-sluice-cost") != "9"


# Streams that go wrong once they have begun.


@pytest.mark.parametrize("faults", ["end=5", "end=1", "end=5 split=7", "end=5 crlf", "cut=fin@0"])
def test_a_clean_end_without_the_terminal(gateway: Gateway, faults: str) -> None:
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
    last = events(answer.body)[-1]
    assert last["error"]
    assert last["finished"] is True
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
    assert line["outcome"] in ("broken", "aborted")


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
    """The provider's pieces end inside of characters; the other language is made of whole ones."""
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
