"""Every fault, seen from the client's socket."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest

from extproc.mock import MockProvider
from tests.mock.raw import PROMPT, ask, chat, connect, read_all, request, send

TEXT = "You said: Hello wörld 日本"


def unbroken(mock: MockProvider, events: list[str]) -> list[str]:
    """The same events of an unbroken stream, with the ids of `events`."""
    own = json.loads(events[0])["id"]
    whole = ask(mock, stream=True).events[: len(events)]
    return [event.replace(json.loads(whole[0])["id"], own) for event in whole]


def test_without_fault_a_stream_is_whole(mock: MockProvider) -> None:
    reply = ask(mock, stream=True)
    assert reply.status == 200
    assert reply.complete
    assert reply.events[-1] == "[DONE]"
    parts = [json.loads(event)["choices"][0]["delta"] for event in reply.events[:-1]]
    assert "".join(part.get("content", "") for part in parts).startswith(TEXT)


@pytest.mark.parametrize("status", [400, 401, 403, 429, 500, 503, 529])
def test_status(mock: MockProvider, status: int) -> None:
    reply = ask(mock, f"status={status} retry-after=3", stream=True)
    assert reply.status == status
    assert reply.header("retry-after") == "3"
    assert set(json.loads(reply.body)["error"]) == {"message", "type", "param", "code"}


def test_status_with_a_web_page(mock: MockProvider) -> None:
    reply = ask(mock, "status=502 body=html")
    assert reply.status == 502
    assert reply.header("content-type") == "text/html; charset=utf-8"
    assert b"<title>502 Bad Gateway</title>" in reply.body


def test_status_with_an_empty_body(mock: MockProvider) -> None:
    reply = ask(mock, "status=503 body=empty")
    assert (reply.status, reply.body) == (503, b"")


def test_status_that_is_no_error_keeps_the_answer(mock: MockProvider) -> None:
    reply = ask(mock, "status=201")
    assert reply.status == 201
    assert json.loads(reply.body)["choices"]


def test_delay(mock: MockProvider) -> None:
    assert ask(mock, "delay=150ms").seconds >= 0.15


def test_reset_before_the_reply(mock: MockProvider) -> None:
    reply = ask(mock, "reset")
    assert (reply.data, reply.was_reset) == (b"", True)
    assert mock.wait_for(lambda seen: seen[-1].ended == "fault")


def test_cut_by_fin_after_three_events(mock: MockProvider) -> None:
    reply = ask(mock, "cut=fin@3", stream=True)
    assert len(reply.chunks) == 3
    assert not reply.complete
    assert not reply.was_reset
    assert reply.events == unbroken(mock, reply.events)


def test_cut_by_rst_after_three_events(mock: MockProvider) -> None:
    reply = ask(mock, "cut=rst@3", stream=True)
    assert len(reply.chunks) == 3
    assert reply.was_reset


def test_cut_inside_a_chunk(mock: MockProvider) -> None:
    reply = ask(mock, "cut=chunk@2", stream=True)
    assert len(reply.chunks) == 2
    rest = reply.body.partition(reply.chunks[1] + b"\r\n")[2]
    size, _, part = rest.partition(b"\r\n")
    assert 0 < len(part) < int(size, 16)


def test_cut_before_the_first_event(mock: MockProvider) -> None:
    reply = ask(mock, "cut=fin@0", stream=True)
    assert (reply.status, reply.body) == (200, b"")


@pytest.mark.parametrize("kind", ["fin", "rst", "chunk"])
def test_cut_in_a_whole_reply(mock: MockProvider, kind: str) -> None:
    reply = ask(mock, f"cut={kind}")
    assert 0 < len(reply.body) < int(reply.header("content-length") or 0)
    assert reply.was_reset is (kind == "rst")


def test_end_without_terminal(mock: MockProvider) -> None:
    reply = ask(mock, "end=4", stream=True)
    assert len(reply.events) == 4
    assert reply.complete


def test_stall_then_go_on(mock: MockProvider) -> None:
    reply = ask(mock, "stall=120ms@2", stream=True)
    assert reply.seconds >= 0.12
    assert reply.events[-1] == "[DONE]"


def test_stall_forever_until_the_client_goes(mock: MockProvider) -> None:
    body = chat(stream=True, prompt="[[mock stall=forever@2]] hi")
    with connect(mock) as sock:
        sock.sendall(request(body))
        assert mock.wait_for(lambda seen: bool(seen) and seen[-1].events == 2)
        assert mock.requests[-1].ended == "open"
    assert mock.wait_for(lambda seen: seen[-1].ended == "client_gone")[-1].events == 2


def test_stall_in_a_whole_reply(mock: MockProvider) -> None:
    reply = ask(mock, "stall=120ms")
    assert reply.seconds >= 0.12
    assert json.loads(reply.body)["choices"]


def test_malformed_event(mock: MockProvider) -> None:
    events = ask(mock, "malformed=3", stream=True).events
    broken = events.pop(2)
    with pytest.raises(json.JSONDecodeError):
        json.loads(broken)
    assert all(json.loads(event) for event in events[:-1])
    assert events[-1] == "[DONE]"


def test_malformed_whole_reply(mock: MockProvider) -> None:
    reply = ask(mock, "malformed=1")
    assert len(reply.body) == int(reply.header("content-length") or 0)
    with pytest.raises(json.JSONDecodeError):
        json.loads(reply.body)


@pytest.mark.parametrize("after", [0, 3])
def test_error_event(mock: MockProvider, after: int) -> None:
    reply = ask(mock, f"error={after}", stream=True)
    assert reply.status == 200
    assert reply.complete
    assert len(reply.events) == after + 1
    assert json.loads(reply.events[-1])["error"]["type"] == "server_error"


def test_slow_headers(mock: MockProvider) -> None:
    reply = ask(mock, "slow-headers=1")
    head = reply.data.partition(b"\r\n\r\n")[0]
    assert reply.seconds >= len(head) * 0.001
    assert reply.reads > len(head) // 4
    assert json.loads(reply.body)["choices"]


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_giant_whole_reply(mock: MockProvider, framing: str) -> None:
    reply = ask(mock, f"giant=3m framing={framing}")
    body = reply.stream if framing == "chunked" else reply.body
    assert (reply.header("content-length") is None) is (framing == "chunked")
    assert len(json.loads(body)["choices"][0]["message"]["content"]) == 3 << 20


def test_giant_event(mock: MockProvider) -> None:
    reply = ask(mock, "giant=1m", stream=True)
    assert len(json.loads(reply.events[1])["choices"][0]["delta"]["content"]) == 1 << 20


def test_gzip_whole_reply(mock: MockProvider) -> None:
    reply = ask(mock, "gzip")
    assert reply.header("content-encoding") == "gzip"
    assert json.loads(gzip.decompress(reply.body))["choices"]


def test_gzip_stream_can_be_read_event_by_event(mock: MockProvider) -> None:
    reply = ask(mock, "gzip", stream=True)
    unpack = zlib.decompressobj(wbits=31)
    pieces = [unpack.decompress(chunk) for chunk in reply.chunks]
    assert all(piece.startswith(b"data: ") and piece.endswith(b"\n\n") for piece in pieces)
    assert unpack.eof


def test_no_usage(mock: MockProvider) -> None:
    assert "usage" not in json.loads(ask(mock, "no-usage").body)
    options = {"include_usage": True}
    events = ask(mock, "no-usage", stream=True, stream_options=options).events
    assert all(json.loads(event)["choices"] for event in events[:-1])


def test_usage(mock: MockProvider) -> None:
    usage = json.loads(ask(mock, "usage=1000,50").body)["usage"]
    assert [usage[f"{part}_tokens"] for part in ("prompt", "completion", "total")] == [
        1000,
        50,
        1050,
    ]


def test_content_type(mock: MockProvider) -> None:
    reply = ask(mock, "content-type=text/plain%3B%20charset=x", stream=True)
    assert reply.header("content-type") == "text/plain; charset=x"


def test_extra_headers(mock: MockProvider) -> None:
    fault = "header=set-cookie:a%3D1 header=set-cookie:b%3D2 header=x-sluice-foo:1 header=server:x"
    headers = ask(mock, fault).headers
    assert [v for k, v in headers if k == "set-cookie"] == ["a=1", "b=2"]
    assert [v for k, v in headers if k in ("server", "x-sluice-foo")] == ["1", "x"]


def test_pace_sends_the_first_event_before_the_last(mock: MockProvider) -> None:
    body = chat(stream=True, prompt="[[mock pace=20 events=5]] hi")
    with connect(mock) as sock:
        sock.sendall(request(body))
        while b"data: " not in sock.recv(1 << 16):
            pass
        assert mock.requests[-1].ended == "open"
        rest = read_all(sock)
    assert rest.seconds >= 0.08
    assert mock.wait_for(lambda seen: seen[-1].ended == "whole")[-1].events == 8


@pytest.mark.parametrize(
    ("fault", "words", "events"),
    [("words=7", 7, 7), ("events=9", 9, 9), ("words=9 events=2", 9, 2)],
)
def test_words_and_events(mock: MockProvider, fault: str, words: int, events: int) -> None:
    deltas = [
        json.loads(event)["choices"][0]["delta"]
        for event in ask(mock, fault, stream=True).events[1:-2]
    ]
    assert len(deltas) == events
    assert len("".join(delta["content"] for delta in deltas).split()) == words


def test_split_cuts_inside_characters(mock: MockProvider) -> None:
    reply = ask(mock, "split=1", stream=True)
    assert {len(chunk) for chunk in reply.chunks} == {1}
    assert reply.reads > 20
    assert reply.events[-1] == "[DONE]"
    assert "wörld" in reply.stream.decode()


def test_split_of_a_whole_reply(mock: MockProvider) -> None:
    reply = ask(mock, "split=3 framing=chunked")
    assert max(map(len, reply.chunks)) == 3
    assert json.loads(reply.stream)["choices"]


def test_crlf(mock: MockProvider) -> None:
    reply = ask(mock, "crlf", stream=True)
    assert reply.stream.count(b"\r\n") == reply.stream.count(b"\n") == 2 * len(reply.events)


def test_times_strikes_only_so_often(mock: MockProvider) -> None:
    statuses = [ask(mock, "status=500 times=2").status for _ in range(3)]
    assert statuses == [500, 500, 200]
    assert ask(mock, "status=500 times=2 tag=other").status == 500
    mock.clear()
    assert ask(mock, "status=500 times=2").status == 500


def test_a_fault_by_path(mock: MockProvider) -> None:
    path = "/fault/status=429;retry-after=3/v1/chat/completions"
    reply = send(mock, request(chat(), path=path))
    assert (reply.status, reply.header("retry-after")) == (429, "3")


def test_a_fault_by_model_name(mock: MockProvider) -> None:
    reply = send(mock, request(chat(model="gpt-4o;status=429;retry-after=3")))
    assert (reply.status, reply.header("retry-after")) == (429, "3")
    reply = send(mock, request(chat(model="gpt-4o;usage=1,2")))
    assert json.loads(reply.body)["model"] == "gpt-4o"


@pytest.mark.parametrize(
    "headers",
    ["x-mock: status=429;retry-after=3\r\n", "X-Mock-Status: 429\r\nX-Mock-Retry-After: 3\r\n"],
)
def test_a_fault_by_header(mock: MockProvider, headers: str) -> None:
    reply = send(mock, request(chat(), headers=headers))
    assert (reply.status, reply.header("retry-after")) == (429, "3")


def test_an_unknown_fault_is_refused(mock: MockProvider) -> None:
    reply = ask(mock, "statsu=429")
    assert reply.status == 400
    assert "no fault 'statsu'" in json.loads(reply.body)["error"]["message"]


def test_the_answer_is_the_same_with_and_without_a_directive(mock: MockProvider) -> None:
    plain, marked = ask(mock), ask(mock, "usage=1,1")
    texts = [json.loads(r.body)["choices"][0]["message"]["content"] for r in (plain, marked)]
    assert texts[0] == texts[1]
    assert PROMPT in texts[0]


def test_every_strikes_now_and_then(mock: MockProvider) -> None:
    statuses = [ask(mock, "status=500 every=3").status for _ in range(7)]
    assert statuses == [200, 200, 500, 200, 200, 500, 200]


@pytest.mark.parametrize("stream", [False, True])
def test_a_good_status_with_an_empty_body(mock: MockProvider, stream: bool) -> None:
    reply = ask(mock, "status=200 body=empty", stream=stream)
    assert (reply.status, reply.body) == (200, b"")


def test_what_is_said_whatever_was_asked_for(mock: MockProvider) -> None:
    body = chat(prompt="[[mock say=no%20JSON]] hi", response_format={"type": "json_object"})
    said = json.loads(send(mock, request(body)).body)
    assert said["choices"][0]["message"]["content"] == "no JSON"


GOOGLE = "/v1beta/models/g:"
REFUSALS = {
    ("/v1/chat/completions", "context_length"): (400, "context_length_exceeded"),
    ("/v1/chat/completions", "content_filter"): (400, '"code":"content_filter"'),
    ("/v1/chat/completions", "quota"): (429, '"type":"insufficient_quota"'),
    ("/v1/chat/completions", "unknown_key"): (401, '"code":"invalid_api_key"'),
    ("/v1/messages", "context_length"): (400, "prompt is too long"),
    ("/v1/messages", "content_filter"): (400, "blocked by content filtering"),
    ("/v1/messages", "quota"): (402, "billing_error"),
    ("/v1/messages", "unknown_key"): (401, "authentication_error"),
    (GOOGLE + "generateContent", "context_length"): (400, "exceeds the maximum number of tokens"),
    (GOOGLE + "generateContent", "content_filter"): (200, '{"promptFeedback":{"blockReason"'),
    (GOOGLE + "generateContent", "quota"): (429, "RESOURCE_EXHAUSTED"),
    (GOOGLE + "generateContent", "unknown_key"): (400, '"reason":"API_KEY_INVALID"'),
    (GOOGLE + "streamGenerateContent?alt=sse", "content_filter"): (200, 'data: {"promptFeedback"'),
}


@pytest.mark.parametrize(("path", "kind"), REFUSALS)
def test_refusals_in_a_providers_own_words(mock: MockProvider, path: str, kind: str) -> None:
    headers = "anthropic-version: 2023-06-01\r\n"
    reply = send(mock, request(b"{}", path=f"/fault/refuse={kind}{path}", headers=headers))
    status, words = REFUSALS[path, kind]
    assert reply.status == status
    assert words in reply.body.decode()


def test_a_fault_of_one_key(mock: MockProvider) -> None:
    def status(credential: str, directive: str = "status=401 key=aaaa") -> int:
        headers = f"authorization: Bearer {credential}\r\nx-mock: {directive}\r\n"
        return send(mock, request(chat(), headers=headers)).status

    assert [status("k-aaaa"), status("k-bbbb"), status("k-aaaa")] == [401, 200, 401]
    path = "/fault/status=401;key=aaaa;times=1/v1/chat/completions"
    asked = [
        send(mock, request(chat(), path=path, headers=f"api-key: {key}\r\n")).status
        for key in ("bbbb", "aaaa", "aaaa")
    ]
    assert asked == [200, 401, 200], "only its own requests are counted"
