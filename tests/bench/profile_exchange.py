"""Where our microseconds go: one exchange, again and again, without Envoy and without gRPC.

`python -m tests.bench.profile_exchange [--profile] [--stream]` feeds serialised
messages of a 1 KB exchange to a `Conversation` and prints the time of one.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import os
import pstats
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from extproc.app import line, measured
from extproc.config.schema import Key, Secret
from extproc.flow.exchange import Machine
from extproc.flow.live import Live
from extproc.flow.record import Record
from extproc.model.call import CallId
from extproc.telemetry.log import Log
from extproc.telemetry.metrics import Metrics
from extproc.wire.pb import ext_proc_pb2 as pb
from extproc.wire.processor import Conversation
from tests.kit import provider, settings, snapshot

KEY = "bench-key-0123456789abcdef"
EVENTS = 50


class RealClock:
    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)


def headers(kind: str, **pairs: str) -> pb.ProcessingRequest:
    values = [pb.HeaderValue(key=k, raw_value=v.encode()) for k, v in pairs.items()]
    message = pb.HttpHeaders(headers=pb.HeaderMap(headers=values))
    request = pb.ProcessingRequest(**{kind: message})  # type: ignore[arg-type]
    if kind == "response_headers":
        fields = request.attributes["envoy.filters.http.ext_proc"]
        fields.update(
            {"response.code_details": "via_upstream", "xds.cluster_name": "provider-acme"}
        )
    return request


def dialogue(prompt: int, *, stream: bool) -> list[bytes]:
    ask = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x" * prompt}]}
    body = json.dumps({**ask, "stream": True} if stream else ask, separators=(",", ":")).encode()
    head = {
        ":authority": "127.0.0.1:5055",
        ":path": "/v1/chat/completions",
        ":method": "POST",
        ":scheme": "http",
        "accept": "application/json",
        "accept-encoding": "gzip, deflate",
        "user-agent": "OpenAI/Python 2.0",
        "authorization": f"Bearer {KEY}",
        "content-type": "application/json",
        "content-length": str(len(body)),
        "x-stainless-lang": "python",
        "x-stainless-os": "Linux",
        "x-forwarded-proto": "http",
    }
    reply = json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "gpt-4o-mini",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "word " * 30},
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": 9, "completion_tokens": 30, "total_tokens": 39},
        }
    ).encode()
    kind = "text/event-stream" if stream else "application/json"
    reply_head = {":status": "200", "content-type": kind, "x-request-id": "r", "date": "now"}
    if not stream:
        reply_head["content-length"] = str(len(reply))
    messages = [
        headers("request_headers", **head),
        pb.ProcessingRequest(request_body=pb.HttpBody(body=body, end_of_stream=True)),
        headers("response_headers", **reply_head),
    ]
    bodies = [reply]
    if stream:
        shape = '{{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{{"index":0,"delta":{},"finish_reason":{}}}]}}'
        data = [shape.format('{"content":"word "}', "null")] * EVENTS
        data += [shape.format("{}", '"stop"'), "[DONE]"]
        bodies = [f"data: {d}\n\n".encode() for d in data]
    messages += [
        pb.ProcessingRequest(response_body=pb.HttpBody(body=b, end_of_stream=i == len(bodies) - 1))
        for i, b in enumerate(bodies)
    ]
    return [m.SerializeToString() for m in messages]


async def play(machine: Machine, metrics: Metrics, messages: list[bytes], count: int) -> float:
    def finish(record: Record) -> None:
        metrics.exchange(measured(record))
        metrics.end()
        machine.log.exchange(line(record))

    begun = time.process_time()
    for _ in range(count):
        metrics.begin()
        conversation = Conversation(machine, finish, CallId("gw-1"), "127.0.0.1")
        for message in messages:
            await conversation.answer(message)
        await conversation.close()
        if _ % 16 == 0:
            await asyncio.sleep(0)
    return (time.process_time() - begun) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--prompt", type=int, default=1024, help="bytes")
    parser.add_argument("--count", type=int, default=3000)
    args = parser.parse_args()
    config = settings(
        keys=(Key(name="bench", key=Secret(KEY)),),
        providers={"acme": provider(models=("*",))},
    )
    with TemporaryDirectory() as folder, Path(os.devnull).open("wb") as sink:
        metrics = Metrics(Path(folder), "worker-1")
        clock = RealClock()
        log = Log(sink.fileno(), "worker-1", "info", "json", clock)
        machine = Machine(snapshot(config), Live(1 << 30), clock, log)
        messages = dialogue(args.prompt, stream=args.stream)
        asyncio.run(play(machine, metrics, messages, 200))
        profiler = cProfile.Profile()
        if args.profile:
            profiler.enable()
        batches = [
            asyncio.run(play(machine, metrics, messages, args.count // 10)) for _ in range(10)
        ]
        profiler.disable()
        print(f"{min(batches) * 1e6:.1f} us an exchange of {len(messages)} messages (best of 10)")
        if args.profile:
            pstats.Stats(profiler).sort_stats("tottime").print_stats(35)


if __name__ == "__main__":
    main()
