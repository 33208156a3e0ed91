"""Nothing undecided leaves, and no reply that was not looked at comes in.

Envoy and its configuration are real; the worker misbehaves at one of the four
messages of an exchange: request head, request body, reply head, reply body.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable

import pytest

from extproc.mock import MockProvider
from tests.e2e import raw
from tests.e2e.bare_envoy import MakeWorker, ends_ok, envoy_before, fails, hangs, is_cut
from tests.e2e.harness import Gateway
from tests.e2e.processes import eventually, is_alive

RAW = "header=x-raw:1"
REQUESTS = {
    "/v1/chat/completions": {
        "model": "gpt-4o",
        "messages": [{"role": "user", "content": f"[[mock {RAW}]] hi"}],
    },
    "/query": {"prompt": f"[[mock {RAW}]] hi"},
}


def post(port: int, path: str, **more: object) -> raw.Answer:
    body = json.dumps({**REQUESTS[path], **more}).encode()
    return raw.exchange(port, raw.request("POST", path, body))


def closed(answer: raw.Answer, path: str, *statuses: int) -> None:
    """An error in the language of the path, and nothing of the provider's."""
    assert answer.status in statuses, answer
    assert "x-raw" not in answer.headers
    call_id = answer.headers["x-sluice-call-id"]
    assert call_id.startswith("gw-")
    assert answer.headers["x-sluice-error-origin"] == "gateway"
    error = answer.json["error"]
    if path.startswith("/v1"):
        assert error.keys() >= {"message", "type", "param", "code"}
    else:
        assert call_id in answer.body.decode()
        assert "response" not in answer.json


@pytest.mark.parametrize("last", [1, 2])
@pytest.mark.parametrize(
    ("how", "statuses"),
    [(ends_ok, (502, 503)), (fails, (503,)), (is_cut, (503,)), (hangs, (503, 504))],
)
def test_a_request_that_nobody_decided_stays_here(
    mock: MockProvider, how: Callable[[int], MakeWorker], statuses: tuple[int, ...], last: int
) -> None:
    with envoy_before(how(last), mock) as port:
        for path in REQUESTS:
            closed(post(port, path), path, *statuses)
        closed(post(port, "/v1/chat/completions", stream=True), "/v1/chat/completions", *statuses)
    assert mock.requests == ()


@pytest.mark.parametrize("last", [3, 4])
@pytest.mark.parametrize(
    ("how", "statuses"), [(fails, (503,)), (is_cut, (503,)), (hangs, (503, 504))]
)
def test_a_reply_that_nobody_looked_at_is_not_given_out(
    mock: MockProvider, how: Callable[[int], MakeWorker], statuses: tuple[int, ...], last: int
) -> None:
    with envoy_before(how(last), mock) as port:
        for path in REQUESTS:
            closed(post(port, path), path, *statuses)
        closed(post(port, "/v1/chat/completions", stream=True), "/v1/chat/completions", *statuses)
    assert len(mock.requests) == 3


def stream_until_cut(port: int, words: int) -> bytes:
    """What came of a stream of so many events, 30 ms apart, until it was cut."""
    prompt = f"[[mock pace=30 words={words}]] hi"
    messages = [{"role": "user", "content": prompt}]
    with pytest.raises(raw.Cut) as caught:
        post(port, "/v1/chat/completions", messages=messages, stream=True)
    return caught.value.seen


@pytest.mark.parametrize("last", [5, 7])
@pytest.mark.parametrize("how", [fails, is_cut])
def test_a_stream_that_nobody_looks_at_any_more_is_cut(
    mock: MockProvider, how: Callable[[int], MakeWorker], last: int
) -> None:
    with envoy_before(how(last), mock) as port:
        seen = stream_until_cut(port, 100)
        assert 0 < seen.count(b"data:") <= last - 3
        mock.wait_for(lambda seen: seen[0].ended == "client_gone", 1.0)


def test_a_worker_that_hangs_in_a_stream(mock: MockProvider) -> None:
    """Each further piece restarts Envoy's timer, so it is noticed when the provider pauses or ends."""
    with envoy_before(hangs(5), mock) as port:
        seen = stream_until_cut(port, 10)
    assert 0 < seen.count(b"data:") <= 2
    assert b"[DONE]" not in seen


@pytest.mark.parametrize("last", [3, 4])
def test_why_no_transport_of_ours_may_end_ok_early(mock: MockProvider, last: int) -> None:
    """What Envoy does when a processor ends its stream OK: the rest passes, unseen."""
    with envoy_before(ends_ok(last), mock) as port:
        answer = post(port, "/query")
    assert answer.status == 200
    assert "choices" in answer.json


# With the whole gateway.


def test_all_workers_gone(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway()
    parts = gateway.pids()
    # A stopped supervisor restarts nobody.
    gateway.signal(signal.SIGSTOP)
    for name in ("worker-1", "worker-2"):
        os.kill(parts[name], signal.SIGKILL)
        eventually(lambda pid=parts[name]: not is_alive(pid))
    for path in REQUESTS:
        closed(post(gateway.port, path), path, 503)
    with gateway.http() as client:
        eventually(lambda: client.get("/health/ready").status_code == 503)
        assert client.get("/health").status_code == 200
    assert gateway.mock.requests == ()
    gateway.signal(signal.SIGCONT)
    eventually(lambda: post(gateway.port, "/query").status == 200)


def test_all_workers_frozen(make_gateway: Callable[..., Gateway]) -> None:
    gateway = make_gateway(limits={"stage_timeout": "500ms"})
    frozen = [pid for name, pid in gateway.pids().items() if name.startswith("worker")]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        for path in REQUESTS:
            closed(post(gateway.port, path), path, 503, 504)
        assert gateway.mock.requests == ()
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    eventually(lambda: post(gateway.port, "/query").status == 200)
