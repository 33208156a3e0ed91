"""Everything that can go wrong, at random and at once, and the account of it.

`python -m tests.e2e.chaos --seconds 300 --clients 64 [--seed N]`, or `SLUICE_SEED`. Real SDK
clients ask a gateway whose providers fail in every way they know, while workers are killed
and rolled, the configuration is reloaded, and clients leave. Then each client's result is
held against the gateway's log line of that exchange: both must tell the same end, each
exchange has one line, and nobody waited in vain. Exit status 1 when something is not explained.
The seed draws who asks what and what fails, not who is quicker.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anthropic
import httpx
import httpx2
import openai

from extproc.mock import MockProvider
from tests.e2e.faulty import PATHS, elsewhere, model, provider, tried
from tests.e2e.harness import Gateway, Line, closed_port
from tests.e2e.processes import eventually

HANG = 20.0
"""seconds after which nobody waits any more; everything here ends within three"""
MODELS = 24
ATTEMPTS = 4
KILL_EVERY, CHANGE_EVERY = (4.0, 8.0), (2.0, 5.0)
LATE, NOTICED = 0.25, 5.0
"""seconds before its death that a worker's last lines may not have been written, and after it
that a thread of Envoy's on a busy machine may still have given it exchanges"""
LOST = "ext_proc_error"
"""Envoy's word for an exchange whose worker died"""
WINDOW = {"seconds": "300ms"}
FAULTS: Mapping[str, str] = {
    "529": "status=529",
    "429": "status=429;retry-after=1;every=3",
    "500": "status=500;every=2",
    "page": "status=502;body=html;every=2",
    "400": "refuse=context_length;every=2",
    "401": "status=401;every=3",
    "reset": "reset;every=2",
    "late": "delay=9s;every=2",
    "slow": "slow-headers=20;every=3",
    "error": "error={last};every=2",
    "end": "end={last};every=2",
    "fin": "cut=fin@{last};every=2",
    "rst": "cut=rst@{last};every=2",
    "silent": "stall=9s@{last};every=2",
    "later-error": "error=5;every=3",
    "later-end": "end=5;every=3",
    "later-rst": "cut=rst@5;every=3",
    "later-silent": "stall=9s@5;every=4",
    "broken": "malformed=3;every=3",
}
_BROKE = (
    openai.APIConnectionError,
    anthropic.APIConnectionError,
    httpx.HTTPError,
    httpx2.HTTPError,
)
"""what breaks in the middle of a stream, the SDKs let through as it is"""
BAD = ("provider_error", "broken", "refused")
ENDINGS: Mapping[str, tuple[str, ...]] = {
    "ok": ("ok",),
    "error": BAD,
    "in band": ("provider_error", "broken"),
    "cut": ("broken", "provider_error"),
    "left": ("aborted", "ok", *BAD),
}
"""what a client saw, and what the gateway may say of it; who leaves does not see the end"""


@dataclass(frozen=True, slots=True)
class Result:
    """What one call of an SDK came to. Times are unix seconds; `status` is 0 where none was seen."""

    name: str
    kind: str
    began: float
    ended: float
    status: int = 0
    call_id: str = ""
    told: str = ""


@dataclass
class Account:
    """`unexplained` is empty where all is well. `lost` are exchanges of killed workers, without a line."""

    seed: int
    kinds: Counter[str] = field(default_factory=Counter[str])
    failures: Counter[str] = field(default_factory=Counter[str])
    lost: list[str] = field(default_factory=list[str])
    unexplained: list[str] = field(default_factory=list[str])
    kills: int = 0
    changes: int = 0

    def __str__(self) -> str:
        kinds = ", ".join(f"{n} {kind}" for kind, n in self.kinds.most_common())
        met = ", ".join(f"{n} {kind}" for kind, n in self.failures.most_common())
        told = [
            f"seed {self.seed}: {self.kinds.total():,} calls: {kinds}",
            f"attempts: {met}",
            f"{self.kills} workers killed, {self.changes} changes;"
            f" {len(self.lost)} exchanges of dead workers have no line",
            *self.unexplained[:20],
        ]
        return "\n".join(told)


class World:
    """A gateway, its providers, and what the seed makes of them."""

    def __init__(self, folder: Path, mock: MockProvider, seed: int) -> None:
        self.mock = mock
        self.random = random.Random(seed)
        self._providers = self._all()
        self.gateway = Gateway(folder, mock, **self.blocks())
        self.kills: list[float] = []
        self.changes = 0

    def _all(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for letter in PATHS:
            found[letter] = provider(self.mock, letter)
            for name, fault in FAULTS.items():
                limit = {"timeout": "300ms"} if name in ("late", "slow") else {}
                found[f"{letter}-{name}"] = provider(self.mock, letter, fault, **limit)
            found[f"{letter}-closed"] = elsewhere(letter, f"http://127.0.0.1:{closed_port()}")
            found[f"{letter}-dns"] = elsewhere(letter, "http://nowhere.invalid:81")
        return found

    def blocks(self) -> dict[str, Any]:
        """Some configuration: other lists of targets each time, under the same names."""
        draw, names = self.random, sorted(self._providers)
        models: dict[str, Any] = {}
        for number in range(MODELS):
            targets = draw.sample(names, draw.randint(1, ATTEMPTS - 1))
            if draw.random() < 0.8:
                targets.append(draw.choice(sorted(PATHS)))
            more: dict[str, Any] = {"retry": {"attempts": ATTEMPTS, "base": "20ms"}}
            if draw.random() < 0.3:
                more["retry"]["same"] = 1
            if draw.random() < 0.6:
                more["window"] = WINDOW
            if draw.random() < 0.2:
                more["deadline"] = "1s"
            models[f"m{number}-*"] = model(*targets, **more)
        return {
            "providers": self._providers,
            "models": models,
            "routing": {
                "breaker": {"open": "1s", "failures": 8},
                "budget": {"minimum": 10_000},
                "longest_cooldown": "1s",
            },
            "limits": {"idle_timeout": "2s"},
        }

    # --- what is done to it ---

    async def killing(self) -> None:
        while True:
            await asyncio.sleep(self.random.uniform(*KILL_EVERY))
            pids = await asyncio.to_thread(self.gateway.pids)
            workers = [pid for part, pid in sorted(pids.items()) if part.startswith("worker")]
            if len(workers) > 1:  # one that died often comes back later each time
                with suppress(ProcessLookupError):
                    os.kill(self.random.choice(workers), signal.SIGKILL)
                    self.kills.append(time.time())

    async def changing(self) -> None:
        """Reloads and rolls."""
        file = self.gateway.folder / "sluice.yaml"
        while True:
            await asyncio.sleep(self.random.uniform(*CHANGE_EVERY))
            if self.random.random() < 0.25:
                self.gateway.signal(signal.SIGUSR2)
            else:
                config = {**json.loads(file.read_text()), **self.blocks()}
                beside = file.with_name("next")
                beside.write_text(json.dumps(config))
                beside.rename(file)
                self.gateway.signal(signal.SIGHUP)
            self.changes += 1


class Clients:
    """Both SDKs, as users have them, without retries of their own."""

    def __init__(self, gateway: Gateway, seed: int) -> None:
        self._seed = seed
        ours = {"trust_env": False, "timeout": HANG}
        self.openai = gateway.async_openai(
            http_client=openai.DefaultAsyncHttpxClient(**ours), timeout=HANG
        )
        self.anthropic = anthropic.AsyncAnthropic(
            base_url=gateway.url,
            api_key="none-needed",
            max_retries=0,
            timeout=HANG,
            http_client=anthropic.DefaultAsyncHttpxClient(**ours),
        )

    async def close(self) -> None:
        await self.openai.close()
        await self.anthropic.close()

    async def run(self, until: float, clients: int) -> list[Result]:
        """Until then, on the loop's clock."""
        numbers = iter(range(1 << 60))
        results: list[Result] = []

        async def one() -> None:
            while asyncio.get_running_loop().time() < until:
                results.append(await self._call(next(numbers)))

        await asyncio.gather(*(one() for _ in range(clients)))
        return results

    async def _call(self, number: int) -> Result:
        draw = random.Random(f"{self._seed} {number}")
        name = f"m{draw.randrange(MODELS)}-n{number}"
        words = f"words={draw.randint(8, 30)} pace={draw.choice((0, 0, 1, 5))}"
        text = f"[[mock {words}]] this is {name}."
        leaves = draw.uniform(0.0, 0.5) if draw.random() < 0.06 else HANG
        ask = draw.choice((self._whole, self._streamed, self._whole_too, self._streamed_too))
        began, seen = time.time(), list[str]()
        kind, status, told = "ok", 200, ""
        try:
            async with asyncio.timeout(leaves):
                said = await ask(name, text, seen)
            if f"this is {name}." not in said:
                kind, told = "wrong", said
        except TimeoutError:
            kind, status = ("left" if leaves < HANG else "hang"), 0
        except (openai.APIStatusError, anthropic.APIStatusError) as error:
            seen[:] = [error.response.headers.get("x-sluice-call-id", "")]
            status, told = error.status_code, str(error)
            kind = "error" if status >= 400 else "in band"
        except (openai.APITimeoutError, anthropic.APITimeoutError):
            kind, status = "hang", 0
        except _BROKE as error:
            kind, status, told = "cut", 0, f"{error!r} of {error.__cause__!r}"
        except openai.APIError as error:
            kind, told = "in band", str(error)
        return Result(name, kind, began, time.time(), status, seen[0] if seen else "", told)

    async def _whole(self, name: str, text: str, seen: list[str]) -> str:
        made = await self.openai.chat.completions.with_raw_response.create(
            model=name, messages=[{"role": "user", "content": text}]
        )
        seen.append(made.headers["x-sluice-call-id"])
        return made.parse().choices[0].message.content or ""

    async def _streamed(self, name: str, text: str, seen: list[str]) -> str:
        made = await self.openai.chat.completions.with_raw_response.create(
            model=name, messages=[{"role": "user", "content": text}], stream=True
        )
        seen.append(made.headers["x-sluice-call-id"])
        said, finish = list[str](), None
        async with made.parse() as events:
            async for event in events:
                for choice in event.choices:
                    said.append(choice.delta.content or "")
                    finish = choice.finish_reason or finish
        return "".join(said) if finish == "stop" else f"no end: {said}"

    async def _whole_too(self, name: str, text: str, seen: list[str]) -> str:
        made = await self.anthropic.messages.with_raw_response.create(
            model=name, max_tokens=500, messages=[{"role": "user", "content": text}]
        )
        seen.append(made.headers["x-sluice-call-id"])
        reply = await made.parse()
        return "".join(block.text for block in reply.content if block.type == "text")

    async def _streamed_too(self, name: str, text: str, seen: list[str]) -> str:
        made = await self.anthropic.messages.with_raw_response.create(
            model=name, max_tokens=500, messages=[{"role": "user", "content": text}], stream=True
        )
        seen.append(made.headers["x-sluice-call-id"])
        said, ended = list[str](), False
        async with await made.parse() as events:
            async for event in events:
                if event.type == "content_block_delta" and event.delta.type == "text_delta":
                    said.append(event.delta.text)
                ended = ended or event.type == "message_stop"
        return "".join(said) if ended else f"no end: {said}"


# --- the account ---------------------------------------------------------------------------


def account(world: World, results: list[Result], seed: int) -> Account:
    """Holds each result against its line, and each line against its result."""
    lines: dict[str, list[Line]] = {}
    everything = world.gateway.log_lines()
    for line in everything:
        if line["event"] == "exchange" and line["asked"]:
            lines.setdefault(line["asked"], []).append(line)
    sent = Counter(_named(one.body) for one in world.mock.requests)
    done = Account(seed, kills=len(world.kills), changes=world.changes)
    dead = Dead(world, results)
    for result in results:
        done.kinds[result.kind] += 1
        found = lines.pop(result.name, [])
        for line in found:
            done.failures.update(what for _, what in tried(line))
        if not found and dead.had(result):
            done.lost.append(result.name)
            wrong = "" if sent[result.name] <= ATTEMPTS else "it was sent too often"
        else:
            wrong = _wrong(result, found, sent[result.name])
        if wrong:
            done.unexplained.append(f"{wrong}: {result}: {found}")
    done.unexplained += [f"nobody asked this: {found}" for found in lines.values()]
    errors = [line for line in everything if line["level"] == "error" and not _ours(line)]
    done.unexplained += [f"an error in the log: {line}" for line in errors]
    return done


def _named(body: bytes) -> str:
    return body.rpartition(b"this is ")[2].partition(b".")[0].decode()


def _ours(line: Line) -> bool:
    """Told of a worker that we killed before it was there."""
    worker = str(line.get("process", "")).startswith("worker")
    return line["event"] == "cannot be reached" and worker


class Dead:
    """What Envoy knows of exchanges whose worker was killed: they have no line of ours."""

    def __init__(self, world: World, results: list[Result]) -> None:
        rows = world.gateway.access_lines()
        self._calls = {row["call_id"] for row in rows if str(row["details"]).startswith(LOST)}
        self._unseen = len(self._calls - {result.call_id for result in results})
        self._kills = world.kills

    def had(self, result: Result) -> bool:
        """Whether this was one. Who saw no head does not know its call: each of these is taken once."""
        if result.kind not in ENDINGS or not self._near(result, NOTICED):
            return False
        if result.call_id in self._calls:
            return True
        if result.kind == "cut" and not result.call_id:
            self._unseen -= 1
            return self._unseen >= 0
        # It was done, and its line was not yet written.
        return self._near(result, LATE)

    def _near(self, result: Result, before: float) -> bool:
        return any(result.began - before <= kill <= result.ended + LATE for kill in self._kills)


def _wrong(result: Result, found: list[Line], sent: int) -> str:
    """What does not fit; empty where all does."""
    if result.kind not in ENDINGS:
        return f"the client saw: {result.kind}"
    if len(found) != 1:
        return "" if result.kind == "left" and not found else f"{len(found)} lines"
    (line,) = found
    if line["outcome"] not in ENDINGS[result.kind]:
        return "the gateway tells another end"
    if result.kind in ("ok", "error") and line["status"] != result.status:
        return "another status"
    if result.call_id not in ("", line["call"]):
        return "another call"
    attempts = line["attempts"]
    if "tried" in line and len(line["tried"]) != attempts:
        return "not every attempt is told of once"
    if not sent <= attempts <= ATTEMPTS:
        return f"sent {sent} times, {attempts} attempts"
    return ""


async def _play(world: World, seed: int, seconds: float, clients: int) -> list[Result]:
    users = Clients(world.gateway, seed)
    hurting = [asyncio.create_task(world.killing()), asyncio.create_task(world.changing())]
    try:
        until = asyncio.get_running_loop().time() + seconds
        results = await users.run(until, clients)
    finally:
        for task in hurting:
            task.cancel()
        await users.close()
    for task in hurting:
        with suppress(asyncio.CancelledError):
            await task
    return results


def play(folder: Path, seed: int, seconds: float, clients: int) -> Account:
    """One run, from start to stop, and its account."""
    with MockProvider.running(keep=10_000_000) as mock:
        world = World(folder, mock, seed)
        try:
            world.gateway.wait_until_ready()
            results = asyncio.run(_play(world, seed, seconds, clients))
            eventually(lambda: _quiet(world.gateway), 20.0, "the end of all exchanges")
            stopped = world.gateway.stop()
            done = account(world, results, seed)
            if stopped:
                done.unexplained.append(f"it ended with status {stopped}")
            return done
        finally:
            world.gateway.destroy()


def _quiet(gateway: Gateway) -> bool:
    return gateway.is_ready() and gateway.metric("sluice_in_flight") == 0.0


def seeded() -> int:
    """`SLUICE_SEED`, or one that nobody knows before."""
    given = os.environ.get("SLUICE_SEED", "")
    return int(given) if given else random.SystemRandom().randrange(1 << 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0, help="(default 300)")
    parser.add_argument("--clients", type=int, default=64, help="at a time (default 64)")
    parser.add_argument("--seed", type=int, default=None, help="plays a run again")
    args = parser.parse_args()
    seed = seeded() if args.seed is None else args.seed
    print(f"seed {seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="sluice-chaos-"))
    try:
        done = play(folder, seed, args.seconds, args.clients)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(done)
    sys.exit(bool(done.unexplained))


if __name__ == "__main__":
    main()
