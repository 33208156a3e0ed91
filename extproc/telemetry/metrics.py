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

from pathlib import Path

from extproc.model.call import Outcome
from extproc.model.errors import Kind, Origin
from extproc.model.ports import Fate
from extproc.model.reply import Usage
from extproc.model.value import value
from extproc.telemetry.series import Histograms, Series, gauge
from extproc.telemetry.store import Store
from extproc.telemetry.traffic import Traffic

FAST = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25)
"""seconds: bounds for what we take ourselves"""


@value
class Chosen:
    """What an exchange met that had targets to choose from, or a label. `attempts` are provider and
    result of each, `ok` or a `Failure`; `fallbacks` the failures after which another one was asked;
    `refused`: the retry budget granted no more. `label` is the arm of an A/B split.
    """

    attempts: tuple[tuple[str, str], ...] = ()
    fallbacks: tuple[str, ...] = ()
    refused: bool = False
    label: str = ""


@value
class ExchangeRecord:
    """One exchange, over. Times in seconds; `cost` in US dollars, None: not known.

    `provider` is empty when none was asked. `first_event` is the time until the
    first event of the reply, None when there was none. `own_seconds` is the
    time that we computed, without waiting. `error_kind` is None for a success.
    `shadow`: it was a copy.
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
    cost: float | None = None
    error_kind: Kind | None = None
    error_origin: Origin = Origin.GATEWAY
    chosen: Chosen | None = None
    shadow: bool = False


class Metrics:
    """All numbers of one process. `part` names it (`worker-1`) and stays the same when it restarts.

    `directory` None keeps them in memory. `problem` says why the directory
    could not be used, or is None.
    """

    def __init__(self, directory: Path | None, part: str) -> None:
        store = Store(directory, part)
        self.problem = store.problem
        self._clients = Traffic(store, "sluice")
        self._shadows = Traffic(store, "sluice_shadow", "Of shadow copies: ")
        self._copies = Series(
            store,
            "sluice_shadow_copies",
            "Shadow copies that were drawn, by what became of them; sent: its reply came to an end.",
            ("fate",),
        )
        self._probes = Series(
            store,
            "sluice_probes",
            "Probes of providers, by what came of them; lost: nothing that says anything of it.",
            ("provider", "result"),
        )
        self._own = Histograms(
            store,
            "sluice_ext_proc_seconds",
            "Time an exchange spent computing in a worker.",
            (),
            FAST,
        ).at(())
        self._errors = Series(store, "sluice_errors", "Errors, by who said no.", ("kind", "origin"))
        self._refused = Series(
            store,
            "sluice_refused",
            "Exchanges that the gateway refused before any provider was asked.",
            ("reason",),
        )
        self._attempts = Series(
            store,
            "sluice_attempts",
            "Attempts of exchanges that had targets to choose from, by how each ended;"
            " ok: its reply went to the client.",
            ("provider", "model", "result"),
        )
        self._fallbacks = Series(
            store,
            "sluice_fallbacks",
            "Times that another target was asked, by the failure of the one before.",
            ("model", "failure"),
        )
        self._refused_retries = Series(
            store,
            "sluice_retries_refused",
            "Exchanges that ended because the retry budget was used up.",
            ("model",),
        )
        self._labels = Series(
            store,
            "sluice_labels",
            "Exchanges by the label of the target that was drawn for them, whoever answered.",
            ("model", "label", "outcome"),
        )
        self._turns = Series(
            store,
            "sluice_target_turns",
            "Times that a worker opened or closed a target's breaker, or began a cooldown.",
            ("provider", "model", "state"),
        )
        self._reloads = Series(
            store,
            "sluice_config_reloads",
            "Times that the configuration was read again, by how that ended.",
            ("result",),
        )
        self._lost = Series(
            store, "sluice_log_lines_lost", "Log lines that could not be written.", ()
        ).at(())
        self._watched = Series(
            store,
            "sluice_watched_seconds",
            "Seconds for which readiness was watched, since the gateway was first ready.",
            (),
        ).at(())
        self._unready = Series(
            store,
            "sluice_unready_seconds",
            "Those of the watched seconds in which no exchange could succeed.",
            (),
        ).at(())
        self._in_flight = gauge(store, "sluice_in_flight", "Exchanges now open, shadow copies too.")
        self._bytes = gauge(
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

    def copied(self, fate: Fate) -> None:
        """A shadow copy was drawn, and this became of it."""
        self._copies.at((fate.value,)).add(1.0)

    def probed(self, provider: str, result: str) -> None:
        """A probe is over: `ok`, a `Failure`, or `lost`."""
        self._probes.at((provider, result)).add(1.0)

    def turned(self, provider: str, model: str, state: str) -> None:
        """A target's breaker is `open` or `closed` by this process's word, or it is `cooling`."""
        self._turns.at((provider, model, state)).add(1.0)

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
        if record.shadow:
            self._shadows.count(record)
            return
        self._clients.count(record)
        self._own.observe(record.own_seconds)
        if record.error_kind is not None:
            self._errors.at((record.error_kind.value, record.error_origin.value)).add(1.0)
            if record.outcome is Outcome.REFUSED:
                self._refused.at((record.error_kind.value,)).add(1.0)

        if record.chosen is not None:
            self._count_chosen(record.model, record.chosen, record.outcome)

    def _count_chosen(self, model: str, chosen: Chosen, outcome: Outcome) -> None:
        for provider, result in chosen.attempts:
            self._attempts.at((provider, model, result)).add(1.0)
        for failure in chosen.fallbacks:
            self._fallbacks.at((model, failure)).add(1.0)
        if chosen.refused:
            self._refused_retries.at((model,)).add(1.0)
        if chosen.label:
            self._labels.at((model, chosen.label, outcome.value)).add(1.0)
