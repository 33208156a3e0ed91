"""Log lines: what they say, what they hide, and what happens when nobody takes them."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from extproc.telemetry.log import Log, bridge_stdlib
from extproc.telemetry.sink import MAX_PENDING


class Still:
    def monotonic(self) -> float:
        return 5.0

    def time(self) -> float:
        return 1_700_000_000.25


@pytest.fixture
def file(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    path = tmp_path / "log"
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    yield fd, path
    os.close(fd)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_has_time_level_part_event_and_fields_in_order(file: tuple[int, Path]):
    fd, path = file
    Log(fd, "worker-1", "info", "json", Still()).info("started", port=5055, host=None)
    assert path.read_text() == (
        '{"time":"2023-11-14T22:13:20.250Z","level":"info","part":"worker-1",'
        '"event":"started","port":5055,"host":null}\n'
    )


def test_an_event_without_fields_is_json_too(file: tuple[int, Path]):
    fd, path = file
    Log(fd, "w", "info", "json", Still()).info("stopped")
    assert lines(path)[0]["event"] == "stopped"


@pytest.mark.parametrize(
    ("level", "written"),
    [
        ("debug", ["debug", "info", "info", "warning", "error"]),
        ("info", ["info", "info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_levels(file: tuple[int, Path], level: str, written: list[str]):
    fd, path = file
    log = Log(fd, "w", level, "json", Still())
    log.debug("a")
    log.info("a")
    log.exchange({})
    log.warning("a")
    log.error("a")
    assert [line["level"] for line in lines(path)] == written


@pytest.mark.parametrize(
    "name",
    [
        *("authorization", "Authorization", "api_key", "x-api-key", "apikey", "key", "token"),
        *("access_token", "client_secret", "password", "set-cookie", "credential"),
    ],
)
@pytest.mark.parametrize("format", ["json", "console"])
def test_a_field_named_like_a_credential_is_masked(file: tuple[int, Path], name: str, format: str):
    fd, path = file
    log = Log(fd, "w", "info", format, Still())
    log.exchange({name: "hunter2"})
    log.info("x", **{name: "hunter2", "inside": {name: "hunter2", "key": "hunter2"}})
    text = path.read_text()
    assert "hunter2" not in text
    assert "***" in text


@pytest.mark.parametrize("name", ["tokens", "input_tokens", "caller", "model", "key_name"])
def test_other_names_are_not_masked(file: tuple[int, Path], name: str):
    fd, path = file
    Log(fd, "w", "info", "json", Still()).info("x", **{name: "plain"})
    assert lines(path)[0][name] == "plain"


@pytest.mark.parametrize(
    "text",
    [
        "sent Authorization: Bearer hunter2-abc to it",
        "GET /v1?key=hunter2 failed",
        "Incorrect API key provided: sk-hunter2",
        "x-api-key: hunter2",
    ],
)
def test_text_that_looks_like_a_credential_is_masked(file: tuple[int, Path], text: str):
    fd, path = file
    log = Log(fd, "w", "info", "json", Still())
    log.exchange({"message": text})
    log.exchange({"message": text})
    assert "hunter2" not in path.read_text()


def test_a_field_cannot_stand_in_for_the_head(file: tuple[int, Path]):
    fd, path = file
    Log(fd, "w", "info", "json", Still()).exchange({"level": "error", "time": "never"})
    assert lines(path)[0]["level"] == "info"
    assert lines(path)[0]["level_"] == "error"


@pytest.mark.parametrize("evil", ["a\nb", "a\r\nb", "a\x1b[2Jb", "a\x85b", "a\u2028b", "a\u202eb"])
def test_control_characters_cannot_forge_a_console_line(file: tuple[int, Path], evil: str):
    fd, path = file
    log = Log(fd, "w", "info", "console", Still())
    log.info(evil, **{"field": evil, evil: 1})
    text = path.read_text()
    assert text.endswith("\n")
    assert text[:-1].isprintable()


def test_a_quote_in_a_console_value_stays_inside(file: tuple[int, Path]):
    fd, path = file
    Log(fd, "w", "info", "console", Still()).info("x", a='b" level=error')
    assert path.read_text() == '22:13:20.250 INFO    w x a="b\\" level=error"\n'


class Rude:
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    "value",
    [
        "\ud800",
        1 << 90,
        Rude(),
        b"body",
        {1: {2: {3: {4: {5: 6}}}}},
        float("nan"),
        {"a"},
        "x" * 10**6,
    ],
)
@pytest.mark.parametrize("format", ["json", "console"])
def test_nothing_that_is_logged_raises_or_makes_a_long_line(
    file: tuple[int, Path], value: object, format: str
):
    fd, path = file
    log = Log(fd, "w", "info", format, Still())
    log.exchange({"value": value})
    log.info("x", **{f"f{n}": value for n in range(100)})
    text = path.read_bytes()
    assert text.count(b"\n") == 2
    assert b"body" not in text
    assert len(text) < 1 << 19


def test_bytes_are_told_by_their_size_only(file: tuple[int, Path]):
    fd, path = file
    Log(fd, "w", "info", "json", Still()).info("x", body=b"secret words")
    assert lines(path)[0]["body"] == "<12 bytes>"


def test_a_full_disk_costs_lines_and_nothing_else():
    fd = os.open("/dev/full", os.O_WRONLY)
    told: list[int] = []
    log = Log(fd, "w", "info", "json", Still(), on_lost=told.append)
    for _ in range(3):
        log.info("x")
    os.close(fd)
    assert log.lost == 3
    assert sum(told) == 3


def test_a_closed_pipe_and_a_closed_descriptor_cost_lines():
    reader, writer = os.pipe()
    log = Log(writer, "w", "info", "json", Still())
    os.close(reader)
    log.info("x")
    os.close(writer)
    gone = Log(writer, "w", "info", "json", Still())
    gone.info("x")
    assert (log.lost, gone.lost) == (1, 1)


@pytest.fixture
def bounded() -> Iterator[None]:
    """A write that waits for its reader must fail the test, not hang it."""

    def too_late(*_: object) -> None:
        raise AssertionError("a write waits for its reader")

    before = signal.signal(signal.SIGALRM, too_late)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", ["pipe", "socket"])
@pytest.mark.parametrize("length", [900, 9000])
@pytest.mark.usefixtures("bounded")
def test_a_reader_that_stopped_never_holds_us_up(kind: str, length: int):
    if kind == "socket":
        ours, theirs = socket.socketpair()
        reader, writer = theirs.detach(), ours.detach()
    else:
        reader, writer = os.pipe()
    log = Log(writer, "w", "info", "json", Still())
    count = 4_000_000 // length
    for number in range(count):
        log.info("x", number=number, filler="y" * length)
    assert 0 < log.lost < count
    assert os.get_blocking(writer)

    os.set_blocking(reader, False)
    text = b""
    for _ in range(MAX_PENDING):
        try:
            text += os.read(reader, 1 << 20)
        except BlockingIOError:
            before = len(text)
            log.flush()
            try:
                text += os.read(reader, 1 << 20)
            except BlockingIOError:
                assert len(text) == before
                break
    os.close(reader)
    os.close(writer)
    numbers = [json.loads(line)["number"] for line in text.splitlines()]
    assert numbers == sorted(numbers)
    assert len(numbers) == count - log.lost


async def test_lines_of_a_moment_leave_together_and_errors_at_once(file: tuple[int, Path]):
    fd, path = file
    log = Log(fd, "w", "info", "json", Still())
    log.info("one")
    log.info("two")
    assert path.read_text() == ""
    async with asyncio.timeout(5):
        while path.read_text() == "":
            await asyncio.sleep(0)
    assert [line["event"] for line in lines(path)] == ["one", "two"]
    log.info("three")
    log.error("four")
    assert [line["event"] for line in lines(path)] == ["one", "two", "three", "four"]


async def test_a_reader_that_comes_back_gets_the_rest():
    reader, writer = os.pipe()
    log = Log(writer, "w", "info", "json", Still())
    for number in range(200):
        log.info("x", number=number, filler="y" * 900)
    await asyncio.sleep(0)
    os.set_blocking(reader, False)
    text = b""
    async with asyncio.timeout(5):
        while text.count(b"\n") < 200:
            try:
                text += os.read(reader, 1 << 20)
            except BlockingIOError:
                await asyncio.sleep(0.01)
    os.close(reader)
    os.close(writer)
    assert [json.loads(line)["number"] for line in text.splitlines()] == list(range(200))
    assert log.lost == 0


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


def test_what_libraries_log_comes_as_events(file: tuple[int, Path], root_logger: logging.Logger):
    fd, path = file
    bridge_stdlib(Log(fd, "w", "info", "json", Still()))
    logging.getLogger("asyncio").info("not this")
    logging.getLogger("uvicorn.access").warning("nor this")
    logging.getLogger("grpc._cython").warning("lost %s", "connection")
    logging.getLogger("asyncio").error("bad %d", "format")
    prompt = "the prompt " * 100
    try:
        raise ValueError(prompt)
    except ValueError:
        logging.getLogger("grpc").exception("handler failed")
    found = lines(path)
    logging.getLogger("uvicorn.access").disabled = False
    assert [line.get("message") for line in found] == [
        "lost connection",
        "bad %d",
        "handler failed",
    ]
    assert found[2]["error"] == "ValueError"
    assert len(str(found[2]["reason"])) <= 200
    assert "test_log.py" in str(found[2]["where"])
