"""Counters, histograms and gauges by the values of their labels, each bound to its cell when it is
first used.

Takes a `Store`; gives cells to add to. Bounded: as many combinations of labels are kept as a metric
may have, and what comes on top is counted as `other`. Knows no metric by name.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from math import inf

from prometheus_client.utils import floatToGoString

from extproc.telemetry.store import Cell, MemoryCell, Store

OTHER = "other"
MAX_SERIES = 1000
"""combinations of labels of one metric"""
MAX_HISTOGRAMS = 250
"""combinations of labels of one histogram, each of which is a dozen numbers"""
MAX_LABEL = 80
"""characters of one label's value"""


class Series:
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


class Histogram:
    """One histogram: the sum, and how many fell under each bound but over the one before."""

    def __init__(self, total: Cell, bounds: tuple[float, ...], buckets: tuple[Cell, ...]) -> None:
        self._total = total
        self._bounds = bounds
        self._buckets = buckets

    def observe(self, seconds: float) -> None:
        self._total.add(seconds)
        self._buckets[bisect_left(self._bounds, seconds)].add(1.0)


class Histograms:
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
        self._children: dict[tuple[str, ...], Histogram] = {}

    def at(self, values: tuple[str, ...]) -> Histogram:
        child = self._children.get(values)
        return child if child is not None else self._add(values)

    def _add(self, values: tuple[str, ...]) -> Histogram:
        others = (OTHER,) * len(values)
        known = _bounded(values) if len(self._children) < MAX_HISTOGRAMS else others
        if known not in self._children:
            last_resort = known == others
            child = self._make(known, last_resort)
            if child is None:
                child = self._in_memory() if last_resort else self.at(others)
            self._children[known] = child
        return self._children[known]

    def _make(self, values: tuple[str, ...], last_resort: bool) -> Histogram | None:
        labels = dict(zip(self._names, values, strict=True))
        total = self._cell("_sum", labels, last_resort)
        buckets: list[Cell] = []
        for bound in (*self._bounds, inf):
            cell = self._cell("_bucket", {**labels, "le": floatToGoString(bound)}, last_resort)
            if cell is not None:
                buckets.append(cell)
        if total is None or len(buckets) <= len(self._bounds):
            return None
        return Histogram(total, self._bounds, tuple(buckets))

    def _in_memory(self) -> Histogram:
        buckets = tuple(MemoryCell() for _ in (*self._bounds, inf))
        return Histogram(MemoryCell(), self._bounds, buckets)

    def _cell(self, suffix: str, labels: Mapping[str, str], last_resort: bool) -> Cell | None:
        name = self._metric + suffix
        return self._store.cell("histogram", self._metric, name, labels, self._text, last_resort)


def _bounded(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(value[:MAX_LABEL] for value in values)


def gauge(store: Store, metric: str, text: str) -> Cell:
    return store.cell("gauge_livesum", metric, metric, {}, text, True) or MemoryCell()
