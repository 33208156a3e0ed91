"""The hot path may not grow unseen: what an exchange takes, counted, beside the golden `work.json`.

Counts are the same on every machine, but not for every Python: figures are kept
by its version. More work by over 3 % fails, and so does less by over 10 %, so
that what was won is kept: `make golden` writes the figures anew.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.bench.traffic import Case, streamed, translated, whole
from tests.bench.work import Work, work

STORED = Path(__file__).with_name("work.json")
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
CASES = (whole(1), whole(100), streamed(1), translated(1))
MORE, LESS = 1.03, 0.90


def stored() -> Mapping[str, Mapping[str, Mapping[str, float]]]:
    return json.loads(STORED.read_text()) if STORED.exists() else {}


def keep(case: Case, found: Work) -> None:
    everything = {**stored()}
    everything[PYTHON] = {**everything.get(PYTHON, {}), case.name: asdict(found)}
    STORED.write_text(json.dumps(everything, indent=2, sort_keys=True) + "\n")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_exchange_takes_no_more_than_it_did(case: Case) -> None:
    found = work(case)
    if os.environ.get("SLUICE_GOLDEN"):
        keep(case, found)
        return
    if PYTHON not in stored():
        pytest.skip(f"no figures for Python {PYTHON}: `make golden` with it writes them")
    for name, before in stored()[PYTHON][case.name].items():
        now = asdict(found)[name]
        ratio = now / before
        assert ratio <= MORE, f"{case.name}: {now:,.0f} {name} an exchange, it was {before:,.0f}"
        assert ratio >= LESS, f"{case.name}: only {now:,.0f} {name}, keep it with `make golden`"


def test_counting_gives_the_same_twice() -> None:
    first, second = work(whole(1)), work(whole(1))
    assert first.steps == pytest.approx(second.steps, rel=0.01)
    assert first.calls == pytest.approx(second.calls, rel=0.01)
    assert first.steps > 1_000
