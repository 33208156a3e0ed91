"""`sluice explain`, as a person or a script meets it. Of gateways that run: tests/e2e/test_explain.py."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from tests.test_cli import SLUICE

CONFIG = """
providers:
  acme: {dialect: openai_chat, endpoint: http://127.0.0.1:9/v1, api_key: "${ACME_KEY}", models: [m], cost_per_token: 0.001}
  other: {dialect: anthropic_messages, endpoint: http://127.0.0.1:9, api_key: k, models: [m]}
  absent: {dialect: openai_chat, endpoint: http://127.0.0.1:9/v1, api_key: "${NOT_SET}", models: [m]}
models:
  chat:
    groups:
      - [{provider: acme, model: m, weight: 9, label: old}, {provider: other, model: m, label: new}]
      - [{provider: absent, model: m}, {provider: acme, model: big, when: "request.tokens > 100"}]
    retry: {attempts: 4, same: 1}
    by: caller
keys:
  - {name: alice, key: alice-key-0123456789, models: [chat]}
  - {name: bob, key: bob-key-0123456789, models: [acme/m]}
"""
CHAT = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "sluice.yaml").write_text(CONFIG)
    (tmp_path / "request.json").write_text(json.dumps(CHAT))
    return tmp_path


def explain(
    place: Path, *arguments: object, said: str | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SLUICE), "explain", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        input=said or "",
        env={"PATH": "/usr/bin:/bin", "ACME_KEY": "acme-secret-1234"},
        cwd=place,
    )


def as_json(place: Path, *arguments: object, said: str | None = None) -> dict[str, Any]:
    done = explain(place, *arguments, "--json", said=said)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_a_person_reads_a_table(place: Path) -> None:
    done = explain(place, "request.json", "--call-id", "gw-1")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "chat, strategy weighted, drawn by caller"
    assert lines[1] == "call gw-1 of local, openai_chat at /v1/chat/completions"
    assert "struck:provider" in done.stdout
    assert "NOT_SET is not set" in done.stdout
    assert "struck:condition: its `when` does not hold (request.tokens > 100)" in done.stdout
    assert re.search(r"^attempt 2: (acme|other)/m, after a pause of 0\.\d+ s$", done.stdout, re.M)
    assert "weighted:" in done.stdout
    assert "No gateway was asked" in done.stdout
    assert "acme-secret-1234" not in done.stdout


def test_nothing_is_written_and_nobody_is_asked(place: Path) -> None:
    before = sorted(place.iterdir())
    explain(place, "request.json")
    assert sorted(place.iterdir()) == before


def test_the_callers_draw_is_the_same_each_time(place: Path) -> None:
    told = [as_json(place, "request.json", "--caller", "alice") for _ in range(2)]
    assert told[0]["attempts"][0]["provider"] == told[1]["attempts"][0]["provider"]
    assert told[0]["call_id"] != told[1]["call_id"]
    assert told[0]["caller"] == "alice"


def test_the_scope_of_a_key_is_kept(place: Path) -> None:
    told = as_json(place, "request.json", "--caller", "bob")
    assert told["error"]["status"] == 403
    done = explain(place, "request.json", "--caller", "bob")
    assert done.returncode == 0
    assert "It would be refused: 403" in done.stdout


def test_another_path_headers_and_standard_input(place: Path) -> None:
    body = json.dumps({**CHAT, "max_tokens": 5})
    arguments = ("-", "--path", "/v1/messages", "--header", "X-Sluice-Timeout: 3")
    told = as_json(place, *arguments, said=body)
    assert (told["dialect"], told["deadline"], told["output"]) == ("anthropic_messages", 3.0, 5)


def test_the_file_may_be_a_whole_question(place: Path) -> None:
    question = {"path": "/v1/messages", "call_id": "gw-9", "body": {**CHAT, "max_tokens": 5}}
    told = as_json(place, "-", said=json.dumps(question))
    assert (told["call_id"], told["dialect"]) == ("gw-9", "anthropic_messages")
    told = as_json(place, "-", "--call-id", "gw-8", said=json.dumps(question))
    assert told["call_id"] == "gw-8"


def test_another_configuration(place: Path, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("models: {chat: acme/x}\n" + CONFIG.split("\nmodels:")[0])
    told = as_json(place, "request.json", "--config", "other.yaml")
    assert [one["model"] for one in told["candidates"]] == ["x"]


@pytest.mark.parametrize(
    ("arguments", "said", "status"),
    [
        (("request.json", "--config", "none.yaml"), "none.yaml: cannot be read", 2),
        (("none.json",), "none.json: cannot be read", 1),
        (("request.json", "--caller", "carol"), "there is no key `carol`", 1),
        (("request.json", "--path", "/nowhere"), "nothing at POST /nowhere", 1),
        (("request.json", "--header", "x"), "expected `name: value`", 1),
        (("request.json", "--url", "localhost:1"), "expected http://HOST:PORT", 1),
        (("request.json", "--url", "http://x", "--config", "sluice.yaml"), "exclude each other", 2),
        (("sluice.yaml",), "not a JSON object", 1),
        ((), "usage:", 2),
    ],
)
def test_what_cannot_be_told(
    place: Path, arguments: tuple[str, ...], said: str, status: int
) -> None:
    done = explain(place, *arguments)
    assert done.returncode == status
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_errors_of_the_configuration_have_their_place(place: Path) -> None:
    (place / "sluice.yaml").write_text("server: {prot: 1}\n")
    done = explain(place, "request.json")
    assert done.returncode == 2
    assert "sluice.yaml:1:10:" in done.stderr


# --- of a gateway that is none


@contextmanager
def server(status: int, body: bytes, **headers: str) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Answers each POST so; gives its URL, and the headers that came."""
    seen: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append({name.lower(): value for name, value in self.headers.items()})
            self.rfile.read(int(self.headers["content-length"]))
            self.answer(status)

        def do_GET(self) -> None:
            seen.append({name.lower(): value for name, value in self.headers.items()})
            self.answer(200)

        def answer(self, code: int) -> None:
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}", seen
        finally:
            listening.shutdown()
            thread.join()


def test_nobody_listens(place: Path) -> None:
    done = explain(place, "request.json", "--url", f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 1
    assert "cannot be asked" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, b'{"error": {"message": "The API key is not valid here."}}', "401: The API key"),
        (502, b"<html>bad gateway</html>", "502: <html>bad gateway"),
        (200, b"<html>hello</html>", "cannot be asked"),
        (200, b"[]", "cannot be asked"),
        (200, b'{"error": null}', "no explanation"),
    ],
)
def test_somebody_else_answers(place: Path, status: int, body: bytes, said: str) -> None:
    with server(status, body) as (url, _):
        done = explain(place, "request.json", "--url", url)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_key_does_not_follow_a_redirect(place: Path) -> None:
    (place / "key").write_text("  alice-key-0123456789\n")
    with server(200, b"[]") as (elsewhere, seen), server(302, b"", location=elsewhere) as (url, at):
        explain(place, "request.json", "--url", url, "--key-file", "key")
    assert at[0]["authorization"] == "Bearer alice-key-0123456789"
    assert all("authorization" not in headers for headers in seen)
