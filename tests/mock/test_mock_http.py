"""HTTP/1.1 as clients speak it."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from extproc.mock import MockProvider
from tests.mock.raw import chat, connect, read_all, request, send

PATH = "/v1/chat/completions"


def client(mock: MockProvider) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(mock.url.removeprefix("http://"), timeout=10)


def test_keep_alive_over_whole_and_streamed_replies(mock: MockProvider) -> None:
    connection = client(mock)
    for stream in (False, True, True, False):
        connection.request("POST", PATH, chat(stream=stream))
        assert b"said" in connection.getresponse().read()
    connection.close()
    assert len({one.connection for one in mock.requests}) == 1
    assert [one.stream for one in mock.requests] == [False, True, True, False]


def test_chunked_request_body_in_many_writes(mock: MockProvider) -> None:
    body = chat()

    def pieces() -> Iterator[bytes]:
        for at in range(0, len(body), 7):
            yield body[at : at + 7]

    connection = client(mock)
    connection.request("POST", PATH, pieces(), encode_chunked=True)
    assert connection.getresponse().status == 200
    connection.close()
    assert mock.requests[-1].body == body


def test_chunked_request_with_trailers_byte_by_byte(mock: MockProvider) -> None:
    body = chat()
    head = f"POST {PATH} HTTP/1.1\r\nTransfer-Encoding: Chunked\r\nConnection: close\r\n\r\n"
    data = head.encode() + b"%X;x=y\r\n%b\r\n0\r\na: b\r\n\r\n" % (len(body), body)
    with connect(mock) as sock:
        for at in range(len(data)):
            sock.sendall(data[at : at + 1])
        assert read_all(sock).status == 200
    assert mock.requests[-1].body == body


def test_expect_100_continue(mock: MockProvider) -> None:
    data = request(chat(), headers="Expect: 100-continue\r\n")
    head, _, body = data.partition(b"\r\n\r\n")
    with connect(mock) as sock:
        sock.sendall(head + b"\r\n\r\n")
        assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(body)
        assert read_all(sock).status == 200


def test_a_second_request_waits_for_the_first_reply(mock: MockProvider) -> None:
    slow = request(chat(prompt="[[mock delay=30ms]] one")).replace(b"connection: close\r\n", b"")
    reply = send(mock, slow + request(chat(prompt="two")))
    assert reply.data.count(b"HTTP/1.1 200 OK") == 2
    assert reply.data.index(b"said: one") < reply.data.index(b"said: two")


def test_a_body_of_5_mb(mock: MockProvider) -> None:
    reply = send(mock, request(chat(prompt="many words " * (5 << 20 >> 4))))
    assert reply.status == 200
    assert json.loads(reply.body)["usage"]["prompt_tokens"] > 600_000


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/2.0\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: x\r\n\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n-5\r\n",
        b"GET / HTTP/1.1\r\nx: " + b"y" * (300 << 10),
    ],
)
def test_what_is_no_request_gets_400_and_a_closed_connection(
    mock: MockProvider, data: bytes
) -> None:
    assert send(mock, data).status == 400


def test_a_unix_socket(tmp_path: Path) -> None:
    path = f"{tmp_path}/mock.sock"
    with MockProvider.running(path=path) as mock, socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        sock.sendall(request(chat()))
        assert read_all(sock).status == 200
        assert mock.wait_for(lambda seen: seen[-1].ended == "whole")
    with pytest.raises(FileNotFoundError), socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
