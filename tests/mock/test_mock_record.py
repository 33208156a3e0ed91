"""What the mock remembers of what it received."""

from __future__ import annotations

import base64
import json
from contextlib import ExitStack

import pytest

from extproc.mock import MockProvider
from extproc.mock.record import Recorded, Recorder
from tests.mock.raw import ask, chat, connect, request, send


def get(mock: MockProvider, path: str, method: str = "GET") -> dict[str, object]:
    return json.loads(send(mock, request(b"", path=path, method=method)).body)


def test_a_request_as_it_came(mock: MockProvider) -> None:
    body = chat()
    send(
        mock,
        request(body, path="/fault/gzip/v1/chat/completions?a=b", headers="X-A: 1\r\nx-a: 2\r\n"),
    )
    (seen,) = mock.requests
    assert (seen.method, seen.path) == ("POST", "/fault/gzip/v1/chat/completions?a=b")
    assert seen.body == body
    assert seen.json == json.loads(body)
    assert seen.headers["x-a"] == "1, 2"
    assert seen.status == 200


def test_over_http(mock: MockProvider) -> None:
    ask(mock, stream=True)
    send(mock, request(b"\xff\xfe"))
    first, second = get(mock, "/_mock/requests")["requests"]  # type: ignore[misc]
    assert (first["stream"], first["ended"], first["body_encoding"]) == (True, "whole", "text")
    assert first["events"] > 20
    assert ["host", "mock"] in first["headers"]
    assert (second["status"], second["body_encoding"]) == (400, "base64")
    assert base64.b64decode(second["body"]) == b"\xff\xfe"


def test_stats_and_clear(mock: MockProvider) -> None:
    ask(mock)
    ask(mock, "status=500")
    stats = get(mock, "/_mock/stats")
    assert stats["requests"] == 2
    assert stats["by_status"] == {"200": 1, "500": 1}
    assert get(mock, "/_mock/requests", "DELETE") == {"requests": []}
    assert get(mock, "/_mock/stats")["requests"] == 0
    assert mock.requests == ()


def test_a_client_that_hangs_up_midway(mock: MockProvider) -> None:
    with connect(mock) as sock:
        sock.sendall(request(chat(stream=True, prompt="[[mock pace=10 events=500]] hi")))
        mock.wait_for(lambda seen: bool(seen) and seen[-1].events >= 3)
    seen = mock.wait_for(lambda seen: seen[-1].ended == "client_gone")[-1]
    assert 3 <= seen.events < 500


def test_a_client_that_does_not_read_holds_the_writer_back(mock: MockProvider) -> None:
    with connect(mock) as sock:
        sock.sendall(request(chat(stream=True, prompt="[[mock giant=64m]] hi")))
        mock.wait_for(lambda seen: bool(seen) and seen[-1].events == 1)
        assert mock.requests[-1].ended == "open"
    mock.wait_for(lambda seen: seen[-1].ended == "client_gone")


def test_waiting_in_vain_says_what_was_there(mock: MockProvider) -> None:
    ask(mock)
    with pytest.raises(TimeoutError, match="POST /v1/chat/completions 200 whole 0"):
        mock.wait_for(lambda seen: len(seen) > 1, timeout=0.01)


def test_recording_can_be_off() -> None:
    with MockProvider.running(record=False) as mock:
        ask(mock)
        assert mock.requests == ()
        assert mock.stats()["requests"] == 1


def test_a_stop_ends_open_streams() -> None:
    with ExitStack() as stack:
        with MockProvider.running() as mock:
            # The client must outlive the mock, or it is the one who went first.
            sock = stack.enter_context(connect(mock))
            sock.sendall(request(chat(stream=True, prompt="[[mock stall=forever]] hi")))
            mock.wait_for(lambda seen: bool(seen) and seen[-1].events == 1)
        assert mock.requests[-1].ended == "stopped"


def recorded(number: int, size: int = 0) -> Recorded:
    return Recorded(number, 0.0, 1, "POST", "/", b"", b"x" * size)


def test_bounded_in_number_and_bytes() -> None:
    recorder = Recorder(keep=3)
    for number in range(10):
        recorder.add(recorded(number))
    assert [one.number for one in recorder.all()] == [7, 8, 9]
    recorder.add(recorded(10, 60 << 20))
    recorder.add(recorded(11, 10 << 20))
    assert [one.number for one in recorder.all()] == [11]
