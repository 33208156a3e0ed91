"""What is counted of every exchange that reached its end, once for clients' and once for shadow copies.

The names of a copy's metrics begin with `sluice_shadow_`: no number about clients has one in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from extproc.model.reply import NO_UNITS, Usage
from extproc.telemetry.series import Histograms, Series
from extproc.telemetry.store import Store

if TYPE_CHECKING:
    from extproc.telemetry.metrics import ExchangeRecord

SLOW = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""seconds: bounds for what a provider takes"""
TOKEN_KINDS = ("input", "cache_read", "cache_write", "output", "reasoning")


class Traffic:
    """`prefix` begins the metrics' names, `of` their texts."""

    def __init__(self, store: Store, prefix: str, of: str = "") -> None:
        self._requests = Series(
            store,
            f"{prefix}_requests",
            f"{of}Exchanges that ended, by how they ended.",
            ("dialect", "provider", "model", "outcome", "status"),
        )
        self._durations = Histograms(
            store,
            f"{prefix}_request_duration_seconds",
            f"{of}From the request's headers to the end of the reply.",
            ("dialect", "provider"),
            SLOW,
        )
        self._first_events = Histograms(
            store,
            f"{prefix}_time_to_first_event_seconds",
            f"{of}From the request's headers to the first event of the reply.",
            ("dialect", "provider"),
            SLOW,
        )
        self._tokens = Series(
            store,
            f"{prefix}_tokens",
            f"{of}Tokens by kind; input is what no cache held, reasoning is a part of output.",
            ("provider", "kind"),
        )
        self._units = Series(
            store,
            f"{prefix}_units",
            f"{of}What is billed beside tokens, by kind: search units, seconds of sound, and so on.",
            ("provider", "kind"),
        )
        self._cost = Series(store, f"{prefix}_cost_usd", f"{of}Cost in US dollars.", ("provider",))

    def count(self, record: ExchangeRecord) -> None:
        provider = record.provider
        place = (record.dialect, provider)
        self._requests.at(
            (record.dialect, provider, record.model, record.outcome.value, str(record.status))
        ).add(1.0)
        self._durations.at(place).observe(record.duration)
        if record.first_event is not None:
            self._first_events.at(place).observe(record.first_event)
        if record.usage is not None:
            self._count_tokens(provider, record.usage)
        if record.cost:
            self._cost.at((provider,)).add(record.cost)

    def _count_tokens(self, provider: str, usage: Usage) -> None:
        counts = (usage.fresh, usage.cache_read, usage.cache_write, usage.output, usage.reasoning)
        for kind, count in zip(TOKEN_KINDS, counts, strict=True):
            if count > 0:
                self._tokens.at((provider, kind)).add(float(count))
        if usage.units is not NO_UNITS:
            for kind, number in usage.units.told():
                self._units.at((provider, kind)).add(number)
