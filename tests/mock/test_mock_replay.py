"""Recorded exchanges, played again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from extproc.mock import Faults, MockProvider
from extproc.mock.answer import Answer, Asked
from extproc.mock.replay import BadTranscripts, Transcripts
from tests import transcripts
from tests.mock.raw import Reply, request, send

FILE = Path(__file__).with_name("fixtures_replay.jsonl")
HI = {"temperature": 0, "messages": [{"content": "Hi", "role": "user"}], "model": "gpt-4o"}
PATH = "/v1/chat/completions"


@pytest.fixture(scope="module")
def replaying() -> Iterator[MockProvider]:
    with MockProvider.running(replay=Transcripts.load(FILE)) as mock:
        yield mock


def post(mock: MockProvider, body: object, path: str = PATH, headers: str = "") -> Reply:
    return send(mock, request(json.dumps(body).encode(), path=path, headers=headers))


def test_equal_requests_in_turn_whatever_base_and_order(replaying: MockProvider) -> None:
    ids = [json.loads(post(replaying, HI, f"/base{PATH}").body)["id"] for _ in range(3)]
    assert ids == ["first", "second", "first"]


def test_headers_are_the_recorded_ones_but_for_framing(replaying: MockProvider) -> None:
    reply = post(replaying, HI, headers="x-mock-id: chat-one\r\n")
    assert [v for k, v in reply.headers if k == "x-request-id"] == ["req_recorded"]
    assert [v for k, v in reply.headers if k == "content-length"] == [str(len(reply.body))]


def test_a_stream_goes_out_event_by_event(replaying: MockProvider) -> None:
    body = {**HI, "stream": True, "stream_options": {"include_usage": True}}
    del body["temperature"]
    reply = post(replaying, body)
    assert reply.header("content-type") == "text/event-stream"
    assert len(reply.chunks) == 3
    assert reply.events[-1] == "[DONE]"


def test_an_error_and_a_fault_on_top(replaying: MockProvider) -> None:
    reply = post(replaying, {"model": "busy"})
    assert (reply.status, reply.header("retry-after")) == (429, "7")
    reply = post(replaying, {**HI, "stream": True}, headers="x-mock: id=chat-stream;end=1\r\n")
    assert len(reply.chunks) == 1


def test_binary_frames(replaying: MockProvider) -> None:
    reply = post(replaying, {"messages": []}, "/model/m-1/converse-stream")
    assert [len(chunk) for chunk in reply.chunks] == [16, 18]


@pytest.mark.parametrize(
    ("body", "path", "said"),
    [
        ({**HI, "temperature": 1}, PATH, "nearest is chat-one, which differs in temperature"),
        ({"model": "other"}, PATH, "nearest is refused, which differs in model"),
        (HI, "/v1/messages", "recorded are POST .../chat/completions, POST .../m-1/converse"),
    ],
)
def test_a_miss_says_what_was_nearest(
    replaying: MockProvider, body: object, path: str, said: str
) -> None:
    reply = post(replaying, body, path)
    assert reply.status == 404
    assert said in json.loads(reply.body)["error"]["message"]


def test_an_unknown_id(replaying: MockProvider) -> None:
    reply = post(replaying, HI, headers="x-mock-id: nobody\r\n")
    assert reply.status == 404
    assert "nobody" in json.loads(reply.body)["error"]["message"]


@pytest.mark.parametrize("line", ["{", "[]", '{"id": "x"}', '{"response": 5}'])
def test_a_bad_file_names_the_line(tmp_path: Path, line: str) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text(f"\n{line}\n")
    with pytest.raises(BadTranscripts, match=r"bad\.jsonl:2: "):
        Transcripts.load(file)


@transcripts.needed
def test_every_recorded_exchange_finds_its_reply() -> None:
    for file in sorted(transcripts.FOLDER.glob("*.jsonl")):
        recorded = Transcripts.load(file)
        for line in map(json.loads, file.read_text().splitlines()):
            by_id = recorded.find(Asked("POST", "/", b"", Faults(id=line["id"])))
            assert isinstance(by_id, Answer)
            sent = b"".join(by_id.events) if by_id.events is not None else by_id.body
            assert sent == transcripts.body_of(line)
            body = json.dumps(line["request"]).encode() if line["request"] is not None else b""
            found = recorded.find(Asked(line["method"], line["path"], body, Faults()))
            assert isinstance(found, Answer), (line["id"], found)
