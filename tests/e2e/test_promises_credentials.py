"""Credentials that expire, through the real gateway: nobody notices a refresh, and a lack is explained."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import openai

from extproc.mock import MockProvider
from tests.e2e.harness import Gateway
from tests.e2e.processes import eventually

Make = Callable[..., Gateway]
MODEL = "anthropic.claude-sonnet-4-5-20250929-v1:0"
LIFE = 7
"""seconds; the last five of them are not used, so that a request has time to arrive"""


class Keys:
    """Gives AWS's keys as a container's metadata does: each lives for `LIFE` seconds."""

    def __init__(self) -> None:
        self.given: list[str] = []
        self.broken = False

    def answer(self) -> tuple[int, bytes]:
        if self.broken:
            return 500, b"{}"
        self.given.append(f"ASIA{len(self.given):012}")
        end = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=LIFE)
        keys = {
            "AccessKeyId": self.given[-1],
            "SecretAccessKey": "s" * 40,
            "Token": "t" * 40,
            "Expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        return 200, json.dumps(keys).encode()


@contextmanager
def serving(keys: Keys) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = keys.answer()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/keys"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def gateway_of(make_gateway: Make, mock: MockProvider, url: str) -> Gateway:
    bedrock = {"endpoint": mock.url, "auth": "aws", "region": "us-east-1"}
    return make_gateway(
        workers=1,
        providers={"bedrock": bedrock},
        models={},
        env={"AWS_CONTAINER_CREDENTIALS_FULL_URI": url},
    )


def ask(gateway: Gateway) -> str | None:
    chat = gateway.openai().chat.completions
    return (
        chat.create(model=MODEL, messages=[{"role": "user", "content": "Hello"}])
        .choices[0]
        .message.content
    )


def works(gateway: Gateway) -> bool:
    try:
        return bool(ask(gateway))
    except openai.APIStatusError:
        return False


def test_a_refresh_under_load_fails_nobody(make_gateway: Make, mock: MockProvider) -> None:
    """B2: calls all the time, until the second pair of keys after the first is in use."""
    keys = Keys()
    with serving(keys) as url, ThreadPoolExecutor(2) as pool:
        gateway = gateway_of(make_gateway, mock, url)
        assert eventually(lambda: works(gateway), 10.0)

        def call(_: int) -> bool:
            return works(gateway)

        answered: list[bool] = []

        def signers() -> set[str]:
            answered.extend(pool.map(call, range(20)))
            heads = [one.headers["authorization"] for one in mock.requests]
            return {head.partition("Credential=")[2].partition("/")[0] for head in heads}

        assert eventually(lambda: len(signers()) >= 3, 30.0, "three pairs of keys in use")
        assert all(answered), f"{answered.count(False)} of {len(answered)} calls failed"
        assert all(one.headers["x-amz-security-token"] for one in mock.requests)


def test_without_a_credential_nothing_leaves_and_the_reason_is_told(
    make_gateway: Make, mock: MockProvider
) -> None:
    """B2: an explained 503, and no restart is needed once there is one."""
    keys = Keys()
    keys.broken = True
    with serving(keys) as url:
        gateway = gateway_of(make_gateway, mock, url)
        try:
            ask(gateway)
        except openai.InternalServerError as error:
            assert error.status_code == 503
            assert error.code == "credential_unavailable"
            assert "answered 500" in error.message
        else:
            raise AssertionError("it was answered")
        assert not mock.requests
        keys.broken = False
        assert eventually(lambda: works(gateway), 15.0)
