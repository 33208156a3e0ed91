"""One exchange as Envoy tells it: the messages of it, and the machine that a worker answers them with.

Nothing here listens or connects. What it takes and gives is `traffic.py`'s.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from extproc.app import line, measured
from extproc.config.names import provider_cluster
from extproc.config.schema import Key, Secret
from extproc.flow.exchange import Machine
from extproc.flow.live import Live
from extproc.flow.record import Record
from extproc.telemetry.log import Log
from extproc.telemetry.metrics import Metrics
from extproc.wire.pb import ext_proc_pb2 as pb
from extproc.wire.processor import Conversation
from tests.bench.traffic import KEY, PATH, Case, reply
from tests.kit import provider, settings, snapshot

NEVER = 1e6
"""seconds"""


class RealClock:
    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)


@dataclass(frozen=True, slots=True)
class Worker:
    """What a worker process has: a machine, its numbers and its log, which goes nowhere."""

    machine: Machine
    metrics: Metrics

    def converse(self, call_id: str, peer: str) -> Conversation:
        self.metrics.begin()
        return Conversation(self.machine, self.finish, call_id, peer)

    def finish(self, record: Record) -> None:
        self.metrics.exchange(measured(record))
        self.metrics.end()
        self.machine.log.exchange(line(record))


@contextmanager
def worker(case: Case) -> Iterator[Worker]:
    """The whole default pipeline, with a provider that speaks what `case` needs."""
    dialect = "anthropic_messages" if case.translated else "openai_chat"
    config = settings(
        keys=(Key(name="bench", key=Secret(KEY)),),
        providers={"acme": provider(models=("*",), dialect=dialect)},
        models={},
    )
    with TemporaryDirectory() as folder, Path(os.devnull).open("wb") as sink:
        metrics = Metrics(Path(folder), "worker-1")
        clock = RealClock()
        # Nothing is written in the midst of what is measured.
        log = Log(sink.fileno(), "worker-1", "info", "json", clock, gather=NEVER)
        yield Worker(Machine(snapshot(config), Live(1 << 30), clock, log), metrics)
        log.close()


def dialogue(case: Case) -> list[bytes]:
    """Serialised messages: two of the request, then the reply's head and its pieces."""
    body = case.body()
    head = {
        ":authority": "127.0.0.1:5055",
        ":path": PATH,
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
    pieces = reply(case)
    kind = "text/event-stream" if case.stream else "application/json"
    reply_head = {":status": "200", "content-type": kind, "x-request-id": "r", "date": "now"}
    if not case.stream:
        reply_head["content-length"] = str(len(pieces[0]))
    last = len(pieces) - 1
    messages = [
        _headers("request_headers", head),
        pb.ProcessingRequest(request_body=pb.HttpBody(body=body, end_of_stream=True)),
        _headers("response_headers", reply_head),
        *(
            pb.ProcessingRequest(response_body=pb.HttpBody(body=piece, end_of_stream=at == last))
            for at, piece in enumerate(pieces)
        ),
    ]
    return [message.SerializeToString() for message in messages]


def _headers(kind: str, pairs: dict[str, str]) -> pb.ProcessingRequest:
    values = [pb.HeaderValue(key=k, raw_value=v.encode()) for k, v in pairs.items()]
    message = pb.HttpHeaders(headers=pb.HeaderMap(headers=values))
    request = pb.ProcessingRequest(**{kind: message})  # type: ignore[arg-type]
    if kind == "response_headers":
        fields = request.attributes["envoy.filters.http.ext_proc"]
        cluster = provider_cluster("acme")
        fields.update({"response.code_details": "via_upstream", "xds.cluster_name": cluster})
    return request
