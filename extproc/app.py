"""Puts the parts together: the one place that knows everything.

`run_worker` is a worker process: the dialects and stages of this build, one
configuration, and the transport that Envoy talks to. `report` says what became
of an exchange. The other processes are wired in `supervisor/`.
"""

from __future__ import annotations

import asyncio
import gc
import os
import traceback
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from extproc import discover
from extproc.agreement import Agreement
from extproc.child import (
    Configuration,
    Message,
    Parent,
    Prepare,
    Reloaded,
    Said,
    State,
    SystemClock,
    Use,
)
from extproc.config.names import WORKER
from extproc.config.schema import Settings, Transport
from extproc.credentials.moving import Moving
from extproc.flow.copying import Copying, Tokens
from extproc.flow.exchange import Machine
from extproc.flow.live import Live
from extproc.flow.record import Record
from extproc.flow.snapshot import Snapshot, compile_snapshot
from extproc.model.call import Tried
from extproc.model.ports import Credential, Ports
from extproc.model.reply import NO_UNITS
from extproc.routing.reasons import Why
from extproc.stores.conversations import Conversations
from extproc.stores.copies import Copies, room
from extproc.telemetry.log import Log, bridge_stdlib
from extproc.telemetry.metrics import Chosen, ExchangeRecord, Metrics
from extproc.wire.cuts import Cuts
from extproc.wire.hop import Asking
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
    registry = discover.registry(around)
    credentials = Moving(registry.credential)
    registry = replace(registry, credential=credentials.of)
    secret, ports = os.urandom(_SECRET_BYTES), Ports(conversations)

    def compiled(wanted: Settings) -> Snapshot:
        return compile_snapshot(wanted, registry, secret, ports)

    live = Live(settings.limits.in_flight_bytes, metrics.held_bytes)
    agreement = Agreement(parent.layout.standing, part, settings, clock, log, metrics)
    beside = room(settings.limits.in_flight_bytes)
    copies = Copies(parent.layout.copies_socket, clock, metrics.copied, beside)
    machine = Machine(
        compiled(settings),
        live,
        clock,
        log,
        str(socket),
        agreement.health,
        mark=((WORKER, str(number)),),
        copying=Copying(Tokens(parent.secret, clock), copies),
    )
    cuts = Cuts()
    generations = Generations(
        parent, machine, compiled, credentials, metrics, log, agreement.configure, cuts
    )

    def converse(call_id: str, peer: str) -> Conversation:
        return generations.current.converse(call_id, peer)

    def ask(call_id: str) -> Asking:
        return Asking(machine.running, call_id)

    server = transport(settings.transport)(
        socket, message_limit(settings.limits.body), converse, ask=ask, cuts=cuts
    )
    await credentials.start(generations.current.credentials)
    agreement.open()
    await server.start()
    link(parent.layout.cuts_socket(number), socket)
    agreement.start()
    # What is there now stays for good: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT)
    parent.ready()
    await generations.follow()
    patience = generations.current.settings.limits.drain_timeout
    await asyncio.gather(server.stop(patience), copies.close(patience))
    await cuts.close()
    await credentials.close()
    await agreement.close()
    conversations.close()
    log.close()
    return 0


class Generation:
    """One configuration, and how many exchanges run by it. `over` is called after the last one,
    as soon as there is one to call."""

    __slots__ = ("_cuts", "_log", "_metrics", "_version", "machine", "over", "running", "serial")

    def __init__(
        self,
        configuration: Configuration,
        machine: Machine,
        metrics: Metrics,
        log: Log,
        cuts: Cuts | None = None,
    ) -> None:
        self.serial = configuration.serial
        self.machine = machine
        self.running = 0
        self.over: Callable[[], None] | None = None
        self._version = configuration.version
        self._metrics = metrics
        self._log = log
        self._cuts = cuts

    @property
    def settings(self) -> Settings:
        return self.machine.snapshot.settings

    @property
    def credentials(self) -> list[Credential]:
        backends = self.machine.snapshot.atlas.backends.values()
        return [one.credential for backend in backends for one in backend.each]

    def converse(self, call_id: str, peer: str) -> Conversation:
        self.running += 1
        self._metrics.begin()
        return Conversation(self.machine, self._finish, call_id, peer, self._cuts)

    def _finish(self, record: Record) -> None:
        if record.probe:
            self._log.debug("probe", **line(record, self._version))
        else:
            self._metrics.exchange(measured(record))
            self._log.exchange(line(record, self._version))
        self._metrics.end()
        self.running -= 1
        if self.over is not None and not self.running:
            self.over()


class Orders(Protocol):
    """The supervisor, as far as a change of the configuration goes."""

    @property
    def configuration(self) -> Configuration: ...
    def messages(self) -> AsyncIterator[Message]: ...
    def say(self, said: Said) -> None: ...


class Generations:
    """The configuration of new exchanges (`current`), the next one, and those that some still run by."""

    def __init__(
        self,
        parent: Orders,
        machine: Machine,
        compiled: Callable[[Settings], Snapshot],
        credentials: Moving,
        metrics: Metrics,
        log: Log,
        configure: Callable[[Settings], None],
        cuts: Cuts | None = None,
    ) -> None:
        """`configure` sets all else that goes by the settings in use."""
        self._parent = parent
        self._compiled = compiled
        self._credentials = credentials
        self._metrics = metrics
        self._log = log
        self._configure = configure
        self._cuts = cuts
        self.current = Generation(parent.configuration, machine, metrics, log, cuts)
        self._next: Generation | None = None
        self._held: list[Generation] = []

    async def follow(self) -> None:
        """Does as the supervisor says, until it asks this process to stop."""
        async for told in self._parent.messages():
            match told:
                case Prepare():
                    self._parent.say(await self._prepare(told.configuration))
                case Use():
                    self._use(told.serial)
                case State() | Reloaded():
                    pass
        self._parent.say(Said(what="leaving", serial=self.current.serial))

    async def _prepare(self, wanted: Configuration) -> Said:
        try:
            machine = replace(self.current.machine, snapshot=self._compiled(wanted.settings()))
        except Exception as error:
            self._log.error("defect", traceback=traceback.format_exc(limit=-8))
            return Said(what="refused", serial=wanted.serial, reason=type(error).__name__)
        self._next = Generation(wanted, machine, self._metrics, self._log, self._cuts)
        await self._credentials.start(self._next.credentials)
        return Said(what="prepared", serial=wanted.serial)

    def _use(self, serial: int) -> None:
        """Exchanges that begin from now on do so by what was prepared."""
        if self._next is None or self._next.serial != serial:
            return
        old, self.current, self._next = self.current, self._next, None
        settings = self.current.settings
        self._log.set_level(settings.log.level)
        self._configure(settings)
        self._held.append(old)
        self._parent.say(Said(what="using", serial=serial))
        old.over = lambda: self._release(old)
        if not old.running:
            self._release(old)

    def _release(self, old: Generation) -> None:
        self._held.remove(old)
        kept = [self.current, *self._held, *([self._next] if self._next else [])]
        self._credentials.keep([one for each in kept for one in each.credentials])
        self._parent.say(Said(what="released", serial=old.serial))


def link(place: Path, socket: Path) -> None:
    """Makes `place` lead to the socket, in one moment, whatever was there."""
    beside = place.with_suffix(".new")
    beside.unlink(missing_ok=True)
    beside.symlink_to(socket.name)
    beside.replace(place)


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
        chosen=_chosen(record) if record.tried or record.label else None,
        shadow=bool(record.shadow),
    )


def _chosen(record: Record) -> Chosen:
    begins = f"{Why.FALLBACK}:"
    return Chosen(
        attempts=tuple([(one.target.provider, _result(one)) for one in record.tried]),
        fallbacks=tuple([why[len(begins) :] for why in record.why if why.startswith(begins)]),
        refused=Why.STRUCK_BUDGET in record.why,
        label=record.label,
    )


def _result(one: Tried) -> str:
    return one.failure.value if one.failure else "ok"


def _tried(one: Tried) -> str:
    """An attempt, in the log line of its exchange."""
    to, milliseconds = one.target, (one.ended - one.began) * 1e3
    return f"{to.key} {_result(one)} {one.status} {milliseconds:.0f}ms"


def line(record: Record, config: str = "") -> Mapping[str, object]:
    """The log line of an exchange: facts about it, never what was said in it. `config` is the
    version of the configuration that it ran by."""
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
        "config": config,
    }
    if record.first_byte is not None:
        fields["first_ms"] = round((record.first_byte - record.started) * 1e3, 3)
    if record.dropped:
        fields["dropped"] = record.dropped
    if record.tried:
        fields["why"] = record.why
        fields["tried"] = [_tried(one) for one in record.tried]
        if record.target is not None and record.target.region_name:
            fields["region"] = record.target.region_name
        if record.target is not None and record.target.key_name:
            fields["key_name"] = record.target.key_name
    if record.label:
        fields["label"] = record.label
    if record.shadow:
        fields["shadow"] = record.shadow
    if record.upstream_id is not None:
        fields["upstream_id"] = record.upstream_id
    if record.usage is not None:
        fields["input_tokens"] = record.usage.prompt
        fields["output_tokens"] = record.usage.output
        if record.usage.units is not NO_UNITS:
            fields.update(record.usage.units.told())
        if (cost := record.cost) is not None:
            fields["cost"] = round(cost, 9)
    if record.error_code is not None:
        fields["error"] = record.error_code
        fields["error_origin"] = record.error_origin.value
        fields["message"] = record.error
    elif record.error is not None:
        fields["message"] = record.error
    return fields
