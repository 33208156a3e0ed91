"""Where our microseconds go: one exchange, again and again, without Envoy and without gRPC.

`python -m tests.bench.profile_exchange [--steps | --profile] [--stream | --translated]`
feeds the messages of an exchange to a `Conversation` and prints the time of one. `--steps`
tells each message's apart: reading it, deciding, writing the answer.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import pstats
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from extproc.flow.exchange import Exchange
from extproc.model.call import CallId
from extproc.wire.pb import ext_proc_pb2 as pb
from extproc.wire.translate import incoming, outgoing
from tests.bench.played import Worker, dialogue, worker
from tests.bench.traffic import streamed, translated, whole

BATCHES = 10
FIRST = 6
"""messages that `--steps` tells of: the rest of a stream is like its second piece"""
CALL = CallId("gw-1")
T = TypeVar("T")


async def play(one: Worker, messages: list[bytes], count: int) -> float:
    """Seconds of processor time an exchange."""
    begun = time.process_time()
    for at in range(count):
        conversation = one.converse("gw-1", "127.0.0.1")
        for message in messages:
            if conversation.at_once(message) is None:
                await conversation.answer(message)
        await conversation.close()
        if at % 16 == 0:
            await asyncio.sleep(0)
    return (time.process_time() - begun) / max(1, count)


def steps(one: Worker, messages: list[bytes], count: int) -> str:
    """A table of microseconds: the tenth percentile of each step, all in the order of real life."""
    clock = time.perf_counter
    taken: dict[str, list[float]] = {}

    def note(step: str, begun: float) -> float:
        now = clock()
        taken.setdefault(step, []).append(now - begun)
        return clock()

    for _ in range(count):
        at = clock()
        exchange = Exchange(one.machine)
        at = note("begin", at)
        for number, message in enumerate(messages[:FIRST], 1):
            phase, told = incoming(pb.ProcessingRequest.FromString(message), CALL, "127.0.0.1")
            name = f"{number} {phase.value}"
            at = note(f"{name}: read", at)
            answer = _result(exchange.handle(told))
            at = note(f"{name}: decide", at)
            outgoing(answer, phase)
            at = note(f"{name}: write", at)
        record = _result(exchange.close())
        at = note("close", at)
        one.finish(record)
        note("metrics and log line", at)
    rows = {step: sorted(times)[len(times) // 10] * 1e6 for step, times in taken.items()}
    lines = [f"| {step} | {micros:.1f} |" for step, micros in rows.items()]
    return "\n".join(["| step | us |", "|---|---|", *lines, f"| all | {sum(rows.values()):.0f} |"])


def _result(coroutine: Coroutine[Any, Any, T]) -> T:
    """What a coroutine gives that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("something waits")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--steps", action="store_true")
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--translated", action="store_true", help="a stream of another language")
    parser.add_argument("--kb", type=int, default=1, help="of the prompt (default 1)")
    parser.add_argument("--count", type=int, default=3000)
    args = parser.parse_args()
    kind = translated if args.translated else streamed if args.stream else whole
    case = kind(args.kb)
    with worker(case) as one:
        messages = dialogue(case)
        asyncio.run(play(one, messages, 200))
        # As a worker does it: what is there now is never looked at again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        if args.steps:
            print(steps(one, messages, args.count))
            return
        profiler = cProfile.Profile()
        if args.profile:
            profiler.enable()
        each = args.count // BATCHES
        batches = [asyncio.run(play(one, messages, each)) for _ in range(BATCHES)]
        profiler.disable()
        print(f"{min(batches) * 1e6:.1f} us an exchange of {len(messages)} messages (best of 10)")
        if args.profile:
            pstats.Stats(profiler).sort_stats("tottime").print_stats(35)


if __name__ == "__main__":
    main()
