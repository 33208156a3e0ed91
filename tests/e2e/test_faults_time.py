"""Time: each limit strikes when it is said to, the next target is asked where nothing has gone out,
and where something has, a stream never looks whole that is not."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from extproc.mock import MockProvider
from tests.e2e import raw
from tests.e2e.asking import events
from tests.e2e.faulty import (
    CALM,
    DIALECTS,
    PATHS,
    answered,
    ask,
    asking,
    elsewhere,
    model,
    provider,
    said,
    seconds,
    tried,
)
from tests.e2e.harness import Gateway, running
from tests.e2e.processes import eventually

LIMIT, SILENCE = 1.0, 2.0
"""seconds"""
LIMITED = {
    "full": ("connect", "timeout"),
    "late": ("timeout",),
    "silent": ("first_event",),
}
"""which failure each of them is told as"""
CASES = [(name, stream) for name in LIMITED for stream in (False, True)]
CASES.remove(("silent", False))  # a whole reply has no first content
MOST_BEHIND = 2
"""events that the provider has sent and the client has not got: one is on its way, one is ours"""
AFTER = {"clean": "end=6", "rst": "cut=rst@6", "fin": "cut=fin@6", "error": "error=6"}
WHERE = [(letter, fault) for letter in DIALECTS for fault in AFTER]


@pytest.fixture(scope="module")
def nobody() -> Iterator[int]:
    """A port that takes no connection and refuses none: who waits there is full."""
    with ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(2):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        yield full.getsockname()[1]


def blocks(mock: MockProvider, nobody: int) -> dict[str, Any]:
    window, limit = {"seconds": f"{LIMIT}s"}, f"{LIMIT}s"
    providers = {letter: provider(mock, letter) for letter in PATHS}
    providers |= {
        "a-full": elsewhere("a", f"http://127.0.0.1:{nobody}", timeout=limit),
        "a-late": provider(mock, "a", "delay=9s", timeout=limit),
        "a-silent": provider(mock, "a", "stall=9s@1"),
        "b-silent": provider(mock, "b", "stall=9s@1"),
        "a-pings": provider(mock, "a", "stall=300ms@1"),
        "a-stops": provider(mock, "a", "stall=9s@4"),
        "a-halves": provider(mock, "a", "stall=9s@0"),
        "b-halves": provider(mock, "b", "stall=9s@0"),
    }
    models = {
        "full": model("a-full", "b"),
        "late": model("a-late", "b"),
        "silent": model("a-silent", "b", window=window),
        "deadline": model("a-silent", "b-silent", deadline=limit, window={"seconds": "5s"}),
        "late-deadline": model("a-late", "b-silent", deadline="500ms"),
        "patient": model("a-pings", "b", window=window),
        "falls-silent": model("a-stops", "b", window=window),
        "halves": model("a-halves", "b-halves", "c"),
        "paced": model("a", "b", window={"seconds": "9s"}),
    }
    for letter, fault in WHERE:
        name = f"{letter}-{fault}"
        providers[name] = provider(mock, letter, f"{AFTER[fault]};words=20;pace=5")
        models[name] = model(name, "b" if letter != "b" else "c", window=window)
    return {
        "providers": providers,
        "models": models,
        "routing": CALM,
        "limits": {"idle_timeout": f"{SILENCE}s"},
    }


@pytest.fixture(scope="module")
def timed(
    shared_mock: MockProvider, nobody: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("timed")
    with running(folder, shared_mock, **blocks(shared_mock, nobody)) as gateway:
        yield gateway


@pytest.fixture
def gateway(timed: Gateway, mock: MockProvider) -> Gateway:
    del mock
    return timed


def near(found: float, wanted: float) -> bool:
    """Within a tenth."""
    return wanted - 0.01 <= found <= wanted * 1.1


@pytest.mark.parametrize(("name", "stream"), CASES)
def test_a_limit_strikes_in_time_and_the_next_one_answers(
    gateway: Gateway, name: str, stream: bool
) -> None:
    """Row C7: for the connection, for the head, and for silence before a stream's first content."""
    began = time.monotonic()
    answer = ask(gateway, name, stream=stream)
    took = time.monotonic() - began
    line = answered(gateway, answer, "b", 2)
    assert said(answer, stream=stream)
    assert tried(line)[0][1] in LIMITED[name], line
    assert near(seconds(line)[0], LIMIT), line
    assert near(took, LIMIT), took


@pytest.mark.parametrize(("name", "limit"), [("deadline", LIMIT), ("late-deadline", 0.5)])
def test_the_deadline_is_for_all_attempts(gateway: Gateway, name: str, limit: float) -> None:
    """Row C7."""
    began = time.monotonic()
    answer = ask(gateway, name, stream=True)
    took = time.monotonic() - began
    assert answer.status == 504, answer
    line = gateway.wait_exchange(answer.headers["x-sluice-call-id"])
    assert [what for _, what in tried(line)] == ["timeout"], line
    assert near(took, limit), took


def test_a_clients_own_patience(gateway: Gateway) -> None:
    began = time.monotonic()
    answer = ask(gateway, "late", headers={"x-sluice-timeout": "0.8"})
    assert answer.status == 504, answer
    assert near(time.monotonic() - began, 0.8)


def test_silence_after_the_first_content(gateway: Gateway) -> None:
    """Row C7: what is on its way is cut by the limit on silence, and never looks whole."""
    with pytest.raises(raw.Cut) as caught:
        ask(gateway, "falls-silent", stream=True)
    assert b'"content":"You' in caught.value.seen
    assert b"[DONE]" not in caught.value.seen
    line = gateway.wait_log(lambda line: line.get("asked") == "falls-silent")
    assert near(line["ms"] / 1000, SILENCE), line
    assert line["outcome"] != "ok"
    assert len(tried(line)) == 1


def test_silence_in_the_midst_of_whole_replies(gateway: Gateway) -> None:
    """Row C7: nothing has gone out, so the next one is asked; each has the limit for itself."""
    line = answered(gateway, ask(gateway, "halves"), "c", 3)
    assert [what for _, what in tried(line)] == ["timeout", "timeout", "ok"]
    assert all(near(took, SILENCE) for took in seconds(line)[:2]), line


def test_a_slow_first_content_is_waited_for(gateway: Gateway) -> None:
    line = answered(gateway, ask(gateway, "patient", stream=True), "a-pings", 1)
    assert line["first_ms"] >= 300


def test_nothing_is_held_once_there_is_content(gateway: Gateway, mock: MockProvider) -> None:
    """Row C8: its first word is here while the last ones are still to be said, and so is each."""
    text = "[[mock words=40 pace=30]] count"
    with raw.connected(gateway.port) as line:
        line.sendall(asking(gateway, "paced", stream=True, text=text))
        seen = b""
        while b'"content":"You' not in seen:
            seen += line.recv(65536)
        assert mock.requests[-1].events <= 6
        behind: list[int] = []
        while not seen.endswith(b"0\r\n\r\n"):
            piece = line.recv(65536)
            assert piece
            seen += piece
            behind.append(mock.requests[-1].events - seen.count(b"data: "))
    assert b"[DONE]" in seen
    assert max(behind) <= MOST_BEHIND, behind


@pytest.mark.parametrize(("letter", "fault"), WHERE)
def test_after_the_first_content_nothing_is_begun_anew(
    gateway: Gateway, mock: MockProvider, letter: str, fault: str
) -> None:
    """Row C8: a clean close becomes an error in the stream, what broke stays broken."""
    name = f"{letter}-{fault}"
    broken = fault in ("rst", "fin")
    since = len(gateway.log_lines())
    try:
        answer = ask(gateway, name, stream=True)
    except raw.Cut as cut:
        assert broken, cut
        assert b'"content":' in cut.seen
        assert b"[DONE]" not in cut.seen
    else:
        assert not broken, answer
        assert answer.status == 200
        found = events(answer.body)
        assert found[-1] != "[DONE]"
        assert found[-1]["error"]["message"]
    line = eventually(
        lambda: next((n for n in gateway.log_lines()[since:] if n.get("asked") == name), None),
        5.0,
        "its line",
    )
    assert line["outcome"] != "ok"
    assert line["attempts"] == len(line["tried"]) == 1
    assert tried(line)[0][1] != "ok", line
    assert len(mock.requests) == 1
