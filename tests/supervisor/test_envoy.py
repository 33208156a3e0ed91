"""What Envoy says and what it is given: log lines, a clean environment, a leash."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from extproc.supervisor.envoy import EnvoyAdmin, LogLine, command, read_line


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        (b"W|config|it is odd: a|b\n", LogLine("warning", "config", "it is odd: a|b")),
        (b"E|main|broken\n", LogLine("error", "main", "broken")),
        (b"C|backtrace|#0: [0x1]\n", LogLine("error", "backtrace", "#0: [0x1]")),
        (b"no format at all\n", LogLine("warning", "", "no format at all")),
        (b"a|b", LogLine("warning", "", "a|b")),
        (b"\xff|x\n", LogLine("warning", "", "\ufffd|x")),
        (b"\n", None),
        (b"W|main|caught ENVOY_SIGTERM\n", None),
    ],
)
def test_log_line(line: bytes, wanted: LogLine | None) -> None:
    assert read_line(line) == wanted


def test_long_line_is_cut() -> None:
    said = read_line(b"E|main|" + b"x" * 100_000)
    assert said is not None
    assert len(said.text) < 2001


def test_envoy_never_sees_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret-of-ours")
    monkeypatch.setenv("PATH", "/bin")
    env = command(Path("/envoy"), Path("/b.json"), 2).env
    assert env is not None
    assert env["PATH"] == "/bin"
    assert "secret-of-ours" not in env.values()


async def serve(path: Path, answer: bytes) -> asyncio.Server:
    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    return await asyncio.start_unix_server(one, str(path))


CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"6\r\na.b: 1\r\n9\r\n2\nc: text\n\r\n0\r\n\r\n"
)


async def test_stats_in_chunks(tmp_path: Path) -> None:
    async with await serve(tmp_path / "s", CHUNKED):
        assert await EnvoyAdmin(tmp_path / "s").stats("x") == {"a.b": 12}


async def test_a_refusal_is_an_error(tmp_path: Path) -> None:
    async with await serve(tmp_path / "s", b"HTTP/1.1 503 No\r\n\r\n"):
        with pytest.raises(OSError, match="refused /healthcheck/fail"):
            await EnvoyAdmin(tmp_path / "s").drain()


async def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        await EnvoyAdmin(tmp_path / "s").is_serving()


async def test_not_serving_while_one_number_is_missing_or_zero(tmp_path: Path) -> None:
    names = (
        "server.live",
        "listener_manager.workers_started",
        "listener_manager.total_listeners_active",
        "cluster.extproc.membership_healthy",
    )
    for number, wanted in ((1, True), (0, False)):
        body = "".join(f"{name}: 1\n" for name in names[:3]) + f"{names[3]}: {number}\n"
        path = tmp_path / str(number)
        async with await serve(path, b"HTTP/1.1 200 OK\r\n\r\n" + body.encode()):
            assert await EnvoyAdmin(path).is_serving() is wanted
    async with await serve(tmp_path / "some", b"HTTP/1.1 200 OK\r\n\r\nserver.live: 1\n"):
        assert not await EnvoyAdmin(tmp_path / "some").is_serving()
