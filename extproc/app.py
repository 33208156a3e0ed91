"""Puts the parts together: the one place that knows everything.

`run_worker` is a worker process: the dialects and stages of this build, one
configuration, and the transport that Envoy talks to. `report` says what became
of an exchange. The other processes are wired in `supervisor/`.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from extproc import discover
from extproc.child import Parent, SystemClock
from extproc.config.schema import Transport
from extproc.credentials.fetching import kept_fresh
from extproc.flow.exchange import Machine
from extproc.flow.live import Live
from extproc.flow.record import Record
from extproc.flow.snapshot import compile_snapshot
from extproc.model.ports import Ports
from extproc.model.reply import NO_UNITS
from extproc.stores.conversations import Conversations
from extproc.telemetry.log import Log, bridge_stdlib
from extproc.telemetry.metrics import ExchangeRecord, Metrics
from extproc.wire.native_server import NativeServer
from extproc.wire.processor import Conversation, message_limit

if TYPE_CHECKING:
    from extproc.wire.grpc_server import GrpcServer

STDERR = 2
_SECRET_BYTES = 32
_COLLECT = (20_000, 20, 20)
"""objects between two looks of the garbage collector: exchanges leave next to no cycles behind"""


async def run_worker(parent: Parent, number: int, socket: Path) -> int:
    """Serves ext_proc on `socket` until the parent says stop; then lets exchanges finish."""
    settings = parent.settings
    part = f"worker-{number}"
    clock = SystemClock()
    metrics = Metrics(parent.layout.metrics, part)
    log = Log(
        STDERR,
        part,
        settings.log.level,
        settings.log.format,
        clock,
        on_lost=metrics.log_lines_lost,
    )
    bridge_stdlib(log)
    if metrics.problem:
        log.warning("metrics are kept in memory only", reason=metrics.problem)

    def unsigned(provider: str, reason: str, pause: float) -> None:
        retry = round(pause)
        log.warning("credential not refreshed", provider=provider, reason=reason, retry_in=retry)

    def troubled(reason: str) -> None:
        log.warning("turns of a conversation were not read or not kept", reason=reason)

    around = replace(discover.REAL, clock=clock, on_failure=unsigned)
    conversations = Conversations(parent.layout.memory, clock, troubled)
    snapshot = compile_snapshot(
        settings, discover.registry(around), os.urandom(_SECRET_BYTES), Ports(conversations)
    )
    live = Live(settings.limits.in_flight_bytes, metrics.held_bytes)
    machine = Machine(snapshot, live, clock, log)

    def finish(record: Record) -> None:
        metrics.exchange(measured(record))
        metrics.end()
        log.exchange(line(record))

    def converse(call_id: str, peer: str) -> Conversation:
        metrics.begin()
        return Conversation(machine, finish, call_id, peer)

    server = transport(settings.transport)(socket, message_limit(settings.limits.body), converse)
    async with kept_fresh(backend.credential for backend in snapshot.atlas.backends.values()):
        await server.start()
        # What is there now stays for good: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_COLLECT)
        parent.ready()
        await parent.stopped()
        await server.stop(settings.limits.drain_timeout)
    conversations.close()
    log.close()
    return 0


def transport(wanted: Transport) -> type[NativeServer | GrpcServer]:
    """The server of that name. The grpc library is only loaded where it serves: it is large."""
    match wanted:
        case Transport.NATIVE:
            return NativeServer
        case Transport.GRPC:
            from extproc.wire.grpc_server import GrpcServer

            return GrpcServer


def measured(record: Record) -> ExchangeRecord:
    """What the metrics take of a record."""
    first = record.first_byte
    return ExchangeRecord(
        dialect=record.dialect,
        provider=record.target.provider if record.target else "",
        model=record.model,
        outcome=record.outcome,
        status=record.status,
        duration=record.duration,
        own_seconds=record.own_seconds,
        first_event=None if first is None else first - record.started,
        usage=record.usage,
        cost=record.cost,
        error_kind=record.error_kind,
        error_origin=record.error_origin,
    )


def line(record: Record) -> Mapping[str, object]:
    """The log line of an exchange: facts about it, never what was said in it."""
    fields: dict[str, object] = {
        "call": record.call_id,
        "caller": record.caller.name if record.caller else None,
        "peer": record.peer,
        "method": record.method,
        "path": record.path,
        "dialect": record.dialect,
        "asked": record.asked,
        "model": record.target.model if record.target else None,
        "provider": record.target.provider if record.target else None,
        "attempts": record.attempts,
        "stream": record.stream,
        "status": record.status,
        "outcome": record.outcome.value,
        "ms": round(record.duration * 1e3, 3),
        "own_us": round(record.own_seconds * 1e6, 1),
        "bytes_in": record.bytes_in,
        "bytes_out": record.bytes_out,
    }
    if record.first_byte is not None:
        fields["first_ms"] = round((record.first_byte - record.started) * 1e3, 3)
    if record.dropped:
        fields["dropped"] = record.dropped
    if record.upstream_id is not None:
        fields["upstream_id"] = record.upstream_id
    if record.usage is not None:
        fields["input_tokens"] = record.usage.prompt
        fields["output_tokens"] = record.usage.output
        if record.usage.units is not NO_UNITS:
            fields.update(record.usage.units.told())
    if record.error_code is not None:
        fields["error"] = record.error_code
        fields["error_origin"] = record.error_origin.value
        fields["message"] = record.error
    elif record.error is not None:
        fields["message"] = record.error
    return fields
