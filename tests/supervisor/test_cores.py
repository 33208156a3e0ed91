"""A container's limit counts, also when it is a part of a processor."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from extproc.supervisor.cores import cores


@pytest.mark.parametrize(
    ("text", "most"), [("100000 100000\n", 1), ("50000 100000", 1), ("150000 100000", 2)]
)
def test_limit(tmp_path: Path, text: str, most: int) -> None:
    limit = tmp_path / "cpu.max"
    limit.write_text(text)
    assert cores(limit) == min(most, len(os.sched_getaffinity(0)))


@pytest.mark.parametrize("text", ["max 100000", "", "nonsense"])
def test_no_limit(tmp_path: Path, text: str) -> None:
    limit = tmp_path / "cpu.max"
    limit.write_text(text)
    assert cores(limit) == len(os.sched_getaffinity(0))


def test_no_file(tmp_path: Path) -> None:
    assert cores(tmp_path / "none") == len(os.sched_getaffinity(0))
