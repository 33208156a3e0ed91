"""The gateway's numbers: what every exchange adds to them.

Takes one `ExchangeRecord` for each exchange that ended. Labels come from the
configuration, never from a client: whoever fills a record puts the configured
name of a model in it, or `other`. As a second bound each kind of series is
limited in number, and what comes on top is counted as `other`.

Every number is written at once rather than in batches: with the cells bound
beforehand one exchange costs a few microseconds, and a killed worker takes no
count with it. Not thread safe: one event loop owns it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from math import inf
from pathlib import Path

from prometheus_client.utils import floatToGoString

from extproc.model.call import Outcome
from extproc.model.errors import Kind, Origin
from extproc.model.reply import NO_UNITS, Usage
from extproc.model.value import value
from extproc.telemetry.store import Cell, MemoryCell, Store

OTHER = "other"
MAX_SERIES = 1000
"""combinations of labels of one metric"""
MAX_HISTOGRAMS = 250
"""combinations of labels of one histogram, each of which is a dozen numbers"""
MAX_LABEL = 80
"""characters of one label's value"""

SLOW = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""seconds: bounds for what a provider takes"""
FAST = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25)
"""seconds: bounds for what we take ourselves"""

TOKEN_KINDS = ("input", "cache_read", "cache_write", "output", "reasoning")


@value
class ExchangeRecord:
    """One exchange, over. Times in seconds; `cost` in US dollars.

    `provider` is empty when none was asked. `first_event` is the time until the
    first event of the reply, None when there was none. `own_seconds` is the
    time that we computed, without waiting. `error_kind` is None for a success.
    """

    dialect: str
    provider: str
    model: str
    outcome: Outcome
    status: int
    duration: float
    own_seconds: float
    first_event: float | None = None
    usage: Usage | None = None
    cost: float = 0.0
    error_kind: Kind | None = None
    error_origin: Origin = Origin.GATEWAY


class Metrics:
    """All numbers of one process. `part` names it (`worker-1`) and stays the same when it restarts.

    `directory` None keeps them in memory. `problem` says why the directory
    could not be used, or is None.
    """

    def __init__(self, directory: Path | None, part: str) -> None:
        store = Store(directory, part)
        self.problem = store.problem
        self._requests = _Series(
            store,
            "sluice_requests",
            "Exchanges that ended, by how they ended.",
            ("dialect", "provider", "model", "outcome", "status"),
        )
        self._durations = _Histograms(
            store,
            "sluice_request_duration_seconds",
            "From the request's headers to the end of the reply.",
            ("dialect", "provider"),
            SLOW,
        )
        self._first_events = _Histograms(
            store,
            "sluice_time_to_first_event_seconds",
            "From the request's headers to the first event of the reply.",
            ("dialect", "provider"),
            SLOW,
        )
        self._own = _Histograms(
            store,
            "sluice_ext_proc_seconds",
            "Time an exchange spent computing in a worker.",
            (),
            FAST,
        ).at(())
        self._tokens = _Series(
            store,
            "sluice_tokens",
            "Tokens by kind; input is what no cache held, reasoning is a part of output.",
            ("provider", "kind"),
        )
        self._units = _Series(
            store,
            "sluice_units",
            "What is billed beside tokens, by kind: search units, seconds of sound, and so on.",
            ("provider", "kind"),
        )
        self._cost = _Series(store, "sluice_cost_usd", "Cost in US dollars.", ("provider",))
        self._errors = _Series(
            store, "sluice_errors", "Errors, by who said no.", ("kind", "origin")
        )
        self._refused = _Series(
            store,
            "sluice_refused",
            "Exchanges that the gateway refused before any provider was asked.",
            ("reason",),
        )
        self._reloads = _Series(
            store,
            "sluice_config_reloads",
            "Times that the configuration was read again, by how that ended.",
            ("result",),
        )
        self._lost = _Series(
            store, "sluice_log_lines_lost", "Log lines that could not be written.", ()
        ).at(())
        self._watched = _Series(
            store,
            "sluice_watched_seconds",
            "Seconds for which readiness was watched, since the gateway was first ready.",
            (),
        ).at(())
        self._unready = _Series(
            store,
            "sluice_unready_seconds",
            "Those of the watched seconds in which no exchange could succeed.",
            (),
        ).at(())
        self._in_flight = _gauge(store, "sluice_in_flight", "Exchanges now open.")
        self._bytes = _gauge(
            store, "sluice_in_flight_bytes", "Bytes of bodies that workers hold now."
        )

    def begin(self) -> None:
        """An exchange came. `end` follows exactly once."""
        self._in_flight.add(1.0)

    def end(self) -> None:
        self._in_flight.add(-1.0)

    def held_bytes(self, total: int) -> None:
        """The bytes of bodies that this process holds now."""
        self._bytes.set(float(total))

    def refused(self, reason: str) -> None:
        """Something was refused that never became an exchange with a record."""
        self._refused.at((reason,)).add(1.0)

    def reloaded(self, result: str) -> None:
        """The configuration was read again."""
        self._reloads.at((result,)).add(1.0)

    def log_lines_lost(self, count: int) -> None:
        self._lost.add(float(count))

    def watched(self, seconds: float, ready: bool) -> None:
        """Readiness was watched for that long. What comes before the first readiness does not count."""
        if ready or self._watched.value:
            self._watched.add(seconds)
            if not ready:
                self._unready.add(seconds)

    def exchange(self, record: ExchangeRecord) -> None:
        """Count an exchange that ended."""
        provider = record.provider
        place = (record.dialect, provider)
        outcome = record.outcome
        self._requests.at(
            (record.dialect, provider, record.model, outcome.value, str(record.status))
        ).add(1.0)
        self._durations.at(place).observe(record.duration)
        self._own.observe(record.own_seconds)
        if record.first_event is not None:
            self._first_events.at(place).observe(record.first_event)
        if record.usage is not None:
            self._count_tokens(provider, record.usage)
        if record.cost:
            self._cost.at((provider,)).add(record.cost)
        if record.error_kind is not None:
            self._errors.at((record.error_kind.value, record.error_origin.value)).add(1.0)
            if outcome is Outcome.REFUSED:
                self._refused.at((record.error_kind.value,)).add(1.0)

    def _count_tokens(self, provider: str, usage: Usage) -> None:
        counts = (usage.fresh, usage.cache_read, usage.cache_write, usage.output, usage.reasoning)
        for kind, count in zip(TOKEN_KINDS, counts, strict=True):
            if count > 0:
                self._tokens.at((provider, kind)).add(float(count))
        if usage.units is not NO_UNITS:
            for kind, number in usage.units.told():
                self._units.at((provider, kind)).add(number)


class _Series:
    """The cells of one counter, by the values of its labels."""

    def __init__(self, store: Store, metric: str, text: str, names: tuple[str, ...]) -> None:
        self._store = store
        self._metric = metric
        self._text = text
        self._names = names
        self._cells: dict[tuple[str, ...], Cell] = {}

    def at(self, values: tuple[str, ...]) -> Cell:
        cell = self._cells.get(values)
        return cell if cell is not None else self._add(values)

    def _add(self, values: tuple[str, ...]) -> Cell:
        others = (OTHER,) * len(values)
        known = _bounded(values) if len(self._cells) < MAX_SERIES else others
        if known not in self._cells:
            last_resort = known == others
            cell = self._make(known, last_resort)
            if cell is None:
                cell = MemoryCell() if last_resort else self.at(others)
            self._cells[known] = cell
        return self._cells[known]

    def _make(self, values: tuple[str, ...], last_resort: bool) -> Cell | None:
        labels = dict(zip(self._names, values, strict=True))
        name = self._metric + "_total"
        return self._store.cell("counter", self._metric, name, labels, self._text, last_resort)


class _Histogram:
    """One histogram: the sum, and how many fell under each bound but over the one before."""

    def __init__(self, total: Cell, bounds: tuple[float, ...], buckets: tuple[Cell, ...]) -> None:
        self._total = total
        self._bounds = bounds
        self._buckets = buckets

    def observe(self, seconds: float) -> None:
        self._total.add(seconds)
        self._buckets[bisect_left(self._bounds, seconds)].add(1.0)


class _Histograms:
    """The histograms of one metric, by the values of their labels."""

    def __init__(
        self,
        store: Store,
        metric: str,
        text: str,
        names: tuple[str, ...],
        bounds: tuple[float, ...],
    ) -> None:
        self._store = store
        self._metric = metric
        self._text = text
        self._names = names
        self._bounds = bounds
        self._children: dict[tuple[str, ...], _Histogram] = {}

    def at(self, values: tuple[str, ...]) -> _Histogram:
        child = self._children.get(values)
        return child if child is not None else self._add(values)

    def _add(self, values: tuple[str, ...]) -> _Histogram:
        others = (OTHER,) * len(values)
        known = _bounded(values) if len(self._children) < MAX_HISTOGRAMS else others
        if known not in self._children:
            last_resort = known == others
            child = self._make(known, last_resort)
            if child is None:
                child = self._in_memory() if last_resort else self.at(others)
            self._children[known] = child
        return self._children[known]

    def _make(self, values: tuple[str, ...], last_resort: bool) -> _Histogram | None:
        labels = dict(zip(self._names, values, strict=True))
        total = self._cell("_sum", labels, last_resort)
        buckets: list[Cell] = []
        for bound in (*self._bounds, inf):
            cell = self._cell("_bucket", {**labels, "le": floatToGoString(bound)}, last_resort)
            if cell is not None:
                buckets.append(cell)
        if total is None or len(buckets) <= len(self._bounds):
            return None
        return _Histogram(total, self._bounds, tuple(buckets))

    def _in_memory(self) -> _Histogram:
        buckets = tuple(MemoryCell() for _ in (*self._bounds, inf))
        return _Histogram(MemoryCell(), self._bounds, buckets)

    def _cell(self, suffix: str, labels: Mapping[str, str], last_resort: bool) -> Cell | None:
        name = self._metric + suffix
        return self._store.cell("histogram", self._metric, name, labels, self._text, last_resort)


def _bounded(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(value[:MAX_LABEL] for value in values)


def _gauge(store: Store, metric: str, text: str) -> Cell:
    return store.cell("gauge_livesum", metric, metric, {}, text, True) or MemoryCell()
