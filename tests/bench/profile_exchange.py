"""Where our microseconds go: one exchange, again and again, without Envoy and without gRPC.

`python -m tests.bench.profile_exchange [--profile] [--stream | --translated]` feeds
the messages of an exchange to a `Conversation` and prints the time of one.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import pstats
import time

from tests.bench.played import Worker, dialogue, worker
from tests.bench.traffic import streamed, translated, whole

BATCHES = 10


async def play(one: Worker, messages: list[bytes], count: int) -> float:
    """Seconds of processor time an exchange."""
    begun = time.process_time()
    for at in range(count):
        conversation = one.converse("gw-1", "127.0.0.1")
        for message in messages:
            await conversation.answer(message)
        await conversation.close()
        if at % 16 == 0:
            await asyncio.sleep(0)
    return (time.process_time() - begun) / max(1, count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", action="store_true")
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
