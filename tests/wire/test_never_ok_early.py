"""A stream never ends OK before Envoy has been told everything.

Envoy lets the rest of an exchange pass unseen when its processor's stream ends OK: an
early OK at any of the four messages (request head, request body, reply head, reply
body) would be a hole in every policy. There is one place that can say OK, and it asks
first; and whatever happens at each message, it is not said.
"""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

import extproc.wire
from extproc.flow.exchange import Machine
from extproc.flow.record import Record
from extproc.wire.grpc_server import GrpcServer
from extproc.wire.native_server import NativeServer
from extproc.wire.processor import Conversation, message_limit
from tests.wire.play import End, Heard, Line, play
from tests.wire.said import BODY_LIMIT, STUCK, USUAL, machine

WIRE = Path(extproc.wire.__file__ or "").parent
OURS = [path for path in WIRE.glob("*.py") if path.name != "grpc_server.py"]


def mentions(name: str) -> set[str]:
    """Where our transport names `name`: `file:function`."""
    return {
        f"{path.stem}:{scope}"
        for path in OURS
        for scope, node in scopes(ast.parse(path.read_text()), "")
        if (isinstance(node, ast.Attribute) and node.attr == name)
        or (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id == name)
    }


def scopes(node: ast.AST, scope: str) -> Iterator[tuple[str, ast.AST]]:
    for child in ast.iter_child_nodes(node):
        inner = scope
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            inner = f"{scope}.{child.name}" if scope else child.name
        yield inner, child
        yield from scopes(child, inner)


def test_one_place_says_ok() -> None:
    """`_finish` asks whether the exchange is over; `_end` writes what it was told. Of an attempt
    `_say` says it with a verdict, and `_finish` writes it. `ending` makes the bytes of both."""
    attempt = {"attempts:AttemptCall._say", "attempts:AttemptCall._finish"}
    written = {"grpc_frames:ending"}
    assert mentions("OK") == {"calls:Exchange._finish", "calls:Exchange._end"} | attempt | written
    no_exchange = {"calls:Check.received", "calls:LogCall.received"}
    assert mentions("ENDED_OK") == no_exchange | written
    assert mentions("ending") == {"calls:Exchange._end", "attempts:AttemptCall._finish"}


def test_an_attempt_ends_ok_only_with_a_verdict() -> None:
    """The one branch with OK is the one where what is said ends the attempt."""
    tree = ast.parse((WIRE / "attempts.py").read_text())
    (say,) = [n for s, n in scopes(tree, "") if s == "AttemptCall._say" and _is_function(n)]
    branches = [n for n in ast.walk(say) if isinstance(n, ast.If)]
    says = [
        ast.unparse(branch.test)
        for branch in branches
        if any(isinstance(n, ast.Attribute) and n.attr == "OK" for n in ast.walk(branch))
    ]
    assert says == ["said.ends"]


def test_who_asks_says_ok_only_if_it_is_so() -> None:
    """The one branch with OK is the one where the conversation is over."""
    tree = ast.parse((WIRE / "calls.py").read_text())
    (finish,) = [n for s, n in scopes(tree, "") if s == "Exchange._finish" and _is_function(n)]
    (branch,) = [n for n in ast.walk(finish) if isinstance(n, ast.If)]
    assert ast.unparse(branch.test) == "self._conversation.over"
    says = [
        any(isinstance(n, ast.Attribute) and n.attr == "OK" for n in ast.walk(s))
        for s in (ast.Module(branch.body, []), ast.Module(branch.orelse, []))
    ]
    assert says == [True, False]


def _is_function(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef)


# --- and played


SERVERS = pytest.mark.parametrize("kind", [NativeServer, GrpcServer])
EARLY = pytest.mark.parametrize("said", range(len(USUAL)))
"""messages that were answered: none, up to all but the last"""
NONSENSE = [
    (said, name)
    for said in range(len(USUAL))
    for name in ("garbage", "nothing", "trailers", "head", "done")
    if (said, name) not in ((0, "head"), (3, "done"), (4, "done"))
]
"""what no exchange can take after so many messages"""


async def heard(kind: type[NativeServer | GrpcServer], folder: Path, *lines: Line) -> list[Heard]:
    around = machine()
    records: list[Record] = []
    server = kind(
        folder / "w.sock",
        message_limit(BODY_LIMIT),
        lambda call, peer: Conversation(around, records.append, call, peer),
    )
    await server.start()
    try:
        return await play(folder / "w.sock", lines, (), (), "gw")
    finally:
        await server.stop(0)


def not_ok(one: Heard) -> None:
    """It was told that it failed, or its stream was reset."""
    assert one.ended
    assert one.said.get("grpc-status", "none") not in ("0", "none") or "reset" in one.said


@SERVERS
@EARLY
@pytest.mark.parametrize(
    "end", [End.HALF, End.JOINED, End.TRAILERS, End.INSIDE, End.TOO_LARGE, End.DEADLINE]
)
async def test_whatever_the_end(
    kind: type[NativeServer | GrpcServer], tmp_path: Path, said: int, end: End
) -> None:
    timeout = "200m" if end is End.DEADLINE else ""
    turns, at_once = await heard(
        kind,
        tmp_path,
        Line(USUAL[:said], end, timeout=timeout),
        Line(USUAL[:said], end, turns=False, timeout=timeout),
    )
    not_ok(turns)
    not_ok(at_once)


@SERVERS
@pytest.mark.parametrize(("said", "nonsense"), NONSENSE)
async def test_whatever_the_next_message(
    kind: type[NativeServer | GrpcServer], tmp_path: Path, said: int, nonsense: str
) -> None:
    (one,) = await heard(kind, tmp_path, Line((*USUAL[:said], nonsense), End.HALF))
    not_ok(one)
    assert len(one.replies) == said


@SERVERS
@EARLY
async def test_whenever_the_server_stops(
    kind: type[NativeServer | GrpcServer], tmp_path: Path, said: int
) -> None:
    around = machine()
    path = tmp_path / "w.sock"
    server = kind(
        path,
        message_limit(BODY_LIMIT),
        lambda call, peer: Conversation(around, lambda _: None, call, peer),
    )
    await server.start()
    lines = (Line(USUAL[:said], End.STAY), Line(("head", STUCK), End.STAY))
    playing = asyncio.create_task(play(path, lines, (), (), "gw"))
    await running(around, len(lines))
    await server.stop(0.05)
    for one in await playing:
        not_ok(one)
    await running(around, 0)


async def running(around: Machine, exchanges: int) -> None:
    """Until so many run."""
    async with asyncio.timeout(10):
        while around.live.exchanges != exchanges:
            await asyncio.sleep(0.002)
