"""The numbers of all parts together: as Prometheus text, as one small JSON object, by provider.

Takes the directory that the parts count into; reads it and changes nothing.
All forms come from the same kind of reading, so they agree.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from extproc.model.call import Outcome

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_ERRORS = frozenset({"refused", "provider_error", "broken", "failed"})
"""outcomes that count as errors: a client that hung up is none"""
_TOKENS = frozenset({"input", "cache_read", "cache_write", "output"})
"""kinds that add up: reasoning is a part of output"""
_NO_TARGETS: Mapping[tuple[str, str, str], int] = {}


def collect(
    directory: Path,
    *,
    openmetrics: bool = False,
    version: str = "",
    targets: Mapping[tuple[str, str, str], int] = _NO_TARGETS,
) -> str:
    """Everything that was counted, in the text format 0.0.4 or in OpenMetrics 1.0.0.

    `version` is that of the configuration in use; `targets` is how many of them stand how, by
    provider, model and state.
    """
    families = _families(directory)
    if version:
        text = "The configuration in use."
        families.append(InfoMetricFamily("sluice_config_version", text, {"version": version}))
    if targets:
        text = "Targets by how they stand; unknown: nobody watches them, or nobody asked them yet."
        family = GaugeMetricFamily("sluice_targets", text, labels=("provider", "model", "state"))
        for labels, number in targets.items():
            family.add_metric(labels, number)
        families.append(family)
    registry = CollectorRegistry()
    registry.register(_Reading(families))
    render = generate_openmetrics if openmetrics else generate_latest
    return render(registry).decode()


def summary(directory: Path) -> dict[str, object]:
    """The service's own metrics object.

    `average_response_time` is in seconds, over exchanges that
    reached a provider; `error_rate` a percentage of all exchanges;
    `cache_hit_rate` a fraction, 0 as long as there is no cache;
    `uptime_percentage` the share of the time since the gateway was first ready
    in which exchanges could succeed.
    """
    samples = _samples(directory)
    requests = list(_named(samples, "sluice_requests_total"))
    total = sum(value for _, value in requests)
    errors = sum(value for labels, value in requests if labels["outcome"] in _ERRORS)
    by_provider: dict[str, int] = defaultdict(int)
    for labels, value in requests:
        if labels["provider"]:
            by_provider[labels["provider"]] += int(value)
    seconds = _asked(samples, "sluice_request_duration_seconds_sum")
    answers = _asked(samples, "sluice_request_duration_seconds_count")
    tokens = sum(
        value
        for labels, value in _named(samples, "sluice_tokens_total")
        if labels["kind"] in _TOKENS
    )
    watched = sum(value for _, value in _named(samples, "sluice_watched_seconds_total"))
    unready = sum(value for _, value in _named(samples, "sluice_unready_seconds_total"))
    return {
        "total_requests": int(total),
        "requests_by_provider": dict(sorted(by_provider.items())),
        "total_tokens_used": int(tokens),
        "total_cost": round(sum(v for _, v in _named(samples, "sluice_cost_usd_total")), 9),
        "average_response_time": round(seconds / answers, 6) if answers else 0.0,
        "cache_hit_rate": 0.0,
        "error_rate": round(100 * errors / total, 4) if total else 0.0,
        "uptime_percentage": round(100 * (1 - unready / watched), 4) if watched else 100.0,
    }


@dataclass(frozen=True, slots=True)
class Answers:
    """How exchanges with a provider went. `bad`: it gave no answer, a broken one, or a 5xx."""

    good: int = 0
    bad: int = 0


def answers(directory: Path) -> Mapping[str, Answers]:
    """By provider, since the gateway was started. What the client or the gateway ended counts as neither.

    A provider that says no to a request, with a 4xx, is one that answers.
    """
    found: dict[str, Answers] = defaultdict(Answers)
    for labels, count in _named(_samples(directory), "sluice_requests_total"):
        outcome, name = labels["outcome"], labels["provider"]
        refuses = outcome == Outcome.PROVIDER_ERROR and int(labels["status"]) < 500
        if outcome == Outcome.OK or refuses:
            found[name] = replace(found[name], good=found[name].good + int(count))
        elif outcome in (Outcome.PROVIDER_ERROR, Outcome.BROKEN):
            found[name] = replace(found[name], bad=found[name].bad + int(count))
    return found


_Samples = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]


class _Reading:
    """A reading as the collector that the renderers want."""

    def __init__(self, families: list[Metric]) -> None:
        self._reading = families

    def collect(self) -> list[Metric]:
        return self._reading

    def describe(self) -> list[Metric]:
        return []


def _families(directory: Path) -> list[Metric]:
    if not directory.is_dir():
        return []
    collector = MultiProcessCollector(None, str(directory))
    return sorted(collector.collect(), key=lambda family: family.name)


def _samples(directory: Path) -> _Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in _families(directory)
        for sample in family.samples
    }


def _named(samples: _Samples, name: str) -> Iterator[tuple[dict[str, str], float]]:
    for (found, labels), value in samples.items():
        if found == name:
            yield dict(labels), value


def _asked(samples: _Samples, name: str) -> float:
    """The sum over exchanges for which a provider was asked."""
    return sum(value for labels, value in _named(samples, name) if labels["provider"])
