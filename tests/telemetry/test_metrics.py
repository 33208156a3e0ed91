"""Numbers: counted once, kept past a worker's death, told alike in both forms."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse

from extproc.model.call import Outcome
from extproc.model.errors import Kind, Origin
from extproc.model.ports import Fate
from extproc.model.reply import Units, Usage
from extproc.telemetry import Chosen, ExchangeRecord, Metrics, collect, reset, summary, worker_gone
from extproc.telemetry.series import MAX_HISTOGRAMS, MAX_SERIES

ANSWERED = ExchangeRecord(
    dialect="openai_chat",
    provider="acme",
    model="fast",
    outcome=Outcome.OK,
    status=200,
    duration=2.0,
    own_seconds=0.0001,
    first_event=0.3,
    usage=Usage(
        fresh=10,
        cache_read=5,
        cache_write=2,
        output=20,
        reasoning=7,
        units=Units(search_units=2, audio_seconds=8.5, characters=11),
    ),
    cost=0.25,
)
REFUSED = ExchangeRecord(
    dialect="openai_chat",
    provider="",
    model="other",
    outcome=Outcome.REFUSED,
    status=401,
    duration=0.001,
    own_seconds=0.0001,
    error_kind=Kind.AUTH,
)
FAILED = ExchangeRecord(
    dialect="simple_query",
    provider="bert",
    model="other",
    outcome=Outcome.PROVIDER_ERROR,
    status=502,
    duration=1.0,
    own_seconds=0.0001,
    error_kind=Kind.UPSTREAM_BAD,
    error_origin=Origin.PROVIDER,
)


def read(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def value(directory: Path, name: str, **labels: str) -> float:
    return read(collect(directory))[name, tuple(sorted(labels.items()))]


def total(directory: Path, name: str) -> float:
    return sum(number for (found, _), number in read(collect(directory)).items() if found == name)


def test_every_number_of_an_exchange(tmp_path: Path):
    metrics = Metrics(tmp_path, "worker-1")
    assert metrics.problem is None
    metrics.begin()
    metrics.begin()
    metrics.end()
    metrics.held_bytes(1234)
    metrics.exchange(ANSWERED)
    metrics.exchange(REFUSED)
    metrics.exchange(FAILED)
    metrics.refused("draining")
    metrics.log_lines_lost(3)
    place = {"dialect": "openai_chat", "provider": "acme"}
    found = read(collect(tmp_path))

    def at(name: str, **labels: str) -> float:
        return found[name, tuple(sorted(labels.items()))]

    assert at("sluice_requests_total", **place, model="fast", outcome="ok", status="200") == 1
    assert at("sluice_request_duration_seconds_sum", **place) == 2.0
    assert at("sluice_request_duration_seconds_count", **place) == 1
    assert at("sluice_request_duration_seconds_bucket", **place, le="1.0") == 0
    assert at("sluice_request_duration_seconds_bucket", **place, le="2.5") == 1
    assert at("sluice_request_duration_seconds_bucket", **place, le="+Inf") == 1
    assert at("sluice_time_to_first_event_seconds_sum", **place) == 0.3
    assert at("sluice_ext_proc_seconds_count") == 3
    assert at("sluice_in_flight") == 1
    assert at("sluice_in_flight_bytes") == 1234
    kinds = {"input": 10, "cache_read": 5, "cache_write": 2, "output": 20, "reasoning": 7}
    for kind, count in kinds.items():
        assert at("sluice_tokens_total", provider="acme", kind=kind) == count
    units = {"search_units": 2, "audio_seconds": 8.5, "characters": 11}
    for kind, count in units.items():
        assert at("sluice_units_total", provider="acme", kind=kind) == count
    assert len([name for name, _ in found if name == "sluice_units_total"]) == len(units)
    assert at("sluice_cost_usd_total", provider="acme") == 0.25
    assert at("sluice_errors_total", kind="upstream_bad", origin="provider") == 1
    assert at("sluice_refused_total", reason="auth") == 1
    assert at("sluice_refused_total", reason="draining") == 1
    assert at("sluice_log_lines_lost_total") == 3


def test_what_was_tried_and_refused_and_drawn(tmp_path: Path):
    metrics = Metrics(tmp_path, "worker-1")
    tried = (("acme", "overloaded"), ("bert", "ok"))
    fell = Chosen(attempts=tried, fallbacks=("overloaded",), label="arm-b")
    for _ in range(2):
        metrics.exchange(replace(ANSWERED, chosen=fell))
    given_up = Chosen(attempts=(("acme", "reset"),), refused=True)
    metrics.exchange(replace(FAILED, model="fast", chosen=given_up))
    found = {
        key: number
        for key, number in read(collect(tmp_path)).items()
        if key[0].startswith(("sluice_attempts", "sluice_fall", "sluice_retries", "sluice_labels"))
    }

    def key(name: str, **labels: str) -> tuple[str, tuple[tuple[str, str], ...]]:
        return f"sluice_{name}_total", tuple(sorted({"model": "fast", **labels}.items()))

    assert found == {
        key("attempts", provider="acme", result="overloaded"): 2,
        key("attempts", provider="acme", result="reset"): 1,
        key("attempts", provider="bert", result="ok"): 2,
        key("fallbacks", failure="overloaded"): 2,
        key("retries_refused"): 1,
        key("labels", label="arm-b", outcome="ok"): 2,
    }


def test_how_targets_stand_and_how_often_they_turned(tmp_path: Path):
    metrics = Metrics(tmp_path, "worker-1")
    metrics.turned("acme", "gpt", "open")
    metrics.turned("acme", "gpt", "open")
    place = {"provider": "acme", "model": "gpt"}
    assert value(tmp_path, "sluice_target_turns_total", **place, state="open") == 2
    for openmetrics in (False, True):
        text = collect(tmp_path, openmetrics=openmetrics, targets={("acme", "gpt", "open"): 1})
        line = next(one for one in text.splitlines() if one.startswith("sluice_targets{"))
        assert line == 'sluice_targets{model="gpt",provider="acme",state="open"} 1.0'
    assert "sluice_targets" not in collect(tmp_path)


@pytest.mark.parametrize(
    ("seconds", "bound"), [(0.05, "0.05"), (0.0500001, "0.1"), (300.0, "300.0"), (301.0, "+Inf")]
)
def test_a_bound_of_a_bucket_is_inside(tmp_path: Path, seconds: float, bound: str):
    metrics = Metrics(tmp_path, "worker-1")
    metrics.exchange(replace(ANSWERED, duration=seconds))
    buckets = {
        dict(labels)["le"]: number
        for (name, labels), number in read(collect(tmp_path)).items()
        if name == "sluice_request_duration_seconds_bucket"
    }
    assert next(le for le, number in buckets.items() if number) == bound


def test_both_forms_and_openmetrics_agree(tmp_path: Path):
    first, second = Metrics(tmp_path, "worker-1"), Metrics(tmp_path, "worker-2")
    for _ in range(3):
        first.exchange(ANSWERED)
    second.exchange(REFUSED)
    second.exchange(FAILED)
    admin = Metrics(tmp_path, "admin")
    admin.watched(5.0, False)
    admin.watched(30.0, True)
    admin.watched(10.0, False)
    assert summary(tmp_path) == {
        "total_requests": 5,
        "requests_by_provider": {"acme": 3, "bert": 1},
        "total_tokens_used": 3 * 37,
        "total_cost": 0.75,
        "average_response_time": 1.75,
        "cache_hit_rate": 0.0,
        "error_rate": 40.0,
        "uptime_percentage": 75.0,
    }
    assert total(tmp_path, "sluice_requests_total") == 5
    assert total(tmp_path, "sluice_cost_usd_total") == 0.75
    assert (
        total(tmp_path, "sluice_tokens_total")
        - value(tmp_path, "sluice_tokens_total", provider="acme", kind="reasoning")
        == 3 * 37
    )
    assert value(tmp_path, "sluice_unready_seconds_total") == 10
    open_text = collect(tmp_path, openmetrics=True)
    assert open_text.endswith("# EOF\n")
    found = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse_openmetrics(open_text)
        for sample in family.samples
    }
    assert found == read(collect(tmp_path))


def test_nothing_counted_yet(tmp_path: Path):
    Metrics(tmp_path, "worker-1")
    for directory in (tmp_path, tmp_path / "missing"):
        numbers = summary(directory)
        assert numbers["total_requests"] == 0
        assert numbers["average_response_time"] == 0.0
        assert numbers["error_rate"] == 0.0
        assert numbers["uptime_percentage"] == 100.0
        collect(directory)


WORKER = """
import sys
from dataclasses import replace
from pathlib import Path
from tests_record import ANSWERED
from extproc.telemetry import Metrics
metrics = Metrics(Path(sys.argv[1]), "worker-1")
for _ in range(100):
    metrics.begin()
    metrics.exchange(ANSWERED)
print("counted", flush=True)
sys.stdin.read()
"""


def test_a_killed_worker_loses_no_count_and_leaves_nothing_in_flight(tmp_path: Path):
    code = WORKER.replace("from tests_record import ANSWERED", _record_source())
    for life in (1, 2):
        worker = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert worker.stdout is not None
        assert worker.stdin is not None
        assert worker.stdout.readline() == b"counted\n"
        assert value(tmp_path, "sluice_in_flight") == 100
        worker.send_signal(signal.SIGKILL)
        worker.wait(10)
        worker.stdin.close()
        worker.stdout.close()
        assert summary(tmp_path)["total_requests"] == 100 * life
        worker_gone(tmp_path, "worker-1")
        assert total(tmp_path, "sluice_in_flight") == 0
        assert summary(tmp_path)["total_requests"] == 100 * life
    assert len(list(tmp_path.glob("counter_*.db"))) == 1


def _record_source() -> str:
    return (
        "from extproc.model.call import Outcome\n"
        "from extproc.telemetry import ExchangeRecord\n"
        "ANSWERED = ExchangeRecord('openai_chat', 'acme', 'fast', Outcome.OK, 200, 2.0, 0.1)\n"
    )


def test_a_restart_without_a_word_from_the_supervisor_empties_the_gauges(tmp_path: Path):
    Metrics(tmp_path, "worker-1").begin()
    again = Metrics(tmp_path, "worker-1")
    assert value(tmp_path, "sluice_in_flight") == 0
    again.begin()
    assert value(tmp_path, "sluice_in_flight") == 1


def test_a_gauge_adds_up_over_parts(tmp_path: Path):
    Metrics(tmp_path, "worker-1").held_bytes(10)
    Metrics(tmp_path, "worker-2").held_bytes(5)
    assert value(tmp_path, "sluice_in_flight_bytes") == 15


def test_reset_forgets(tmp_path: Path):
    Metrics(tmp_path, "worker-1").exchange(ANSWERED)
    reset(tmp_path)
    assert summary(tmp_path)["total_requests"] == 0
    assert list(tmp_path.iterdir()) == []


def test_names_without_end_become_other_and_are_all_counted(tmp_path: Path):
    metrics = Metrics(tmp_path, "worker-1")
    count = MAX_SERIES + 50
    for number in range(count):
        metrics.exchange(replace(ANSWERED, model=f"m{number}", provider=f"p{number}"))
    assert summary(tmp_path)["total_requests"] == count
    found = read(collect(tmp_path))
    requests = [labels for name, labels in found if name == "sluice_requests_total"]
    assert len(requests) == MAX_SERIES + 1
    durations = [labels for name, labels in found if name == "sluice_request_duration_seconds_sum"]
    assert len(durations) == MAX_HISTOGRAMS + 1
    assert total(tmp_path, "sluice_request_duration_seconds_count") == count


def test_a_file_without_room_counts_under_other(tmp_path: Path):
    metrics = Metrics(tmp_path, "worker-1")
    sizes = {path: path.stat().st_size for path in tmp_path.iterdir()}
    count = MAX_SERIES
    for number in range(count):
        long = f"{number}-" + "\N{SNOWMAN}" * 100
        metrics.exchange(replace(ANSWERED, model=long, provider=long))
    assert {path: path.stat().st_size for path in tmp_path.iterdir()} == sizes
    assert summary(tmp_path)["total_requests"] == count
    assert total(tmp_path, "sluice_request_duration_seconds_count") == count
    assert total(tmp_path, "sluice_cost_usd_total") == count * 0.25


def test_files_have_all_their_blocks_from_the_start(tmp_path: Path):
    """A page without a block would kill the process when the disk is full."""
    Metrics(tmp_path, "worker-1").exchange(ANSWERED)
    for path in tmp_path.iterdir():
        assert path.stat().st_blocks * 512 >= path.stat().st_size > 0
        assert path.stat().st_mode & 0o077 == 0


def test_a_directory_that_cannot_be_used_costs_the_numbers_only(tmp_path: Path):
    (tmp_path / "file").write_text("")
    metrics = Metrics(tmp_path / "file" / "below", "worker-1")
    metrics.exchange(ANSWERED)
    assert metrics.problem is not None
    assert "memory only" in metrics.problem


def test_without_a_directory_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Metrics(None, "worker-1").exchange(ANSWERED)
    assert list(tmp_path.iterdir()) == []


def test_shadow_copies_are_counted_apart(tmp_path: Path):
    metrics = Metrics(tmp_path, "worker-1")
    metrics.exchange(ANSWERED)
    before = {name: number for name, number in read(collect(tmp_path)).items() if number}
    metrics.exchange(replace(ANSWERED, shadow=True))
    metrics.exchange(replace(FAILED, shadow=True))
    metrics.exchange(replace(REFUSED, shadow=True))
    metrics.copied(Fate.DROPPED)
    after = read(collect(tmp_path))
    assert {name: after[name] for name in before} == before
    grown = {name for (name, _), number in after.items() if number} - {n for n, _ in before}
    assert grown
    assert all(name.startswith("sluice_shadow_") for name in grown)
    place = {"dialect": "openai_chat", "provider": "acme"}
    assert (
        value(
            tmp_path,
            "sluice_shadow_requests_total",
            **place,
            model="fast",
            outcome="ok",
            status="200",
        )
        == 1
    )
    assert value(tmp_path, "sluice_shadow_cost_usd_total", provider="acme") == 0.25
    assert value(tmp_path, "sluice_shadow_tokens_total", provider="acme", kind="output") == 20
    assert value(tmp_path, "sluice_shadow_copies_total", fate="dropped") == 1
