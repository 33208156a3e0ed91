"""Reason codes, and the page that explains them to a stranger: complete and current."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from extproc.config.declared import DECLARED, MAPS
from extproc.config.schema import DrawBy, Strategy
from extproc.model.call import Failure
from extproc.routing.reasons import Why, fallback, meaning

PAGE = Path(__file__).parent.parent.parent / "docs" / "routing.md"
MARK = re.compile(r"<!-- codes: .* -->\n")
SUFFIX = {Why.WEIGHTED: "weighted`, `weighted:LABEL", Why.FALLBACK: "fallback:FAILURE"}


def table() -> str:
    rows = [f"| `{SUFFIX.get(why, why.value)}` | {why.means} |" for why in Why]
    return "\n".join(["", "| code | what it means |", "|---|---|", *rows, ""])


def test_golden_codes_are_current() -> None:
    page = PAGE.read_text()
    found = MARK.search(page)
    assert found is not None
    if os.environ.get("SLUICE_GOLDEN") == "1":
        PAGE.write_text(page[: found.end()] + table())
    assert PAGE.read_text()[found.end() :] == table()


def rows(page: str) -> str:
    return "\n".join(line for line in page.splitlines() if line.startswith("| `"))


@pytest.mark.parametrize("strategy", Strategy)
def test_the_page_has_every_strategy(strategy: Strategy) -> None:
    assert f"| `{strategy}` |" in rows(PAGE.read_text())


@pytest.mark.parametrize("failure", [f for f in Failure if f not in ("ours", "left")])
def test_the_page_has_every_failure(failure: Failure) -> None:
    assert f"| `{failure}` |" in rows(PAGE.read_text())


@pytest.mark.parametrize("by", DrawBy)
def test_the_page_says_what_a_draw_is_by(by: DrawBy) -> None:
    assert f"`{by}`" in PAGE.read_text() or f"`by: {by}`" in PAGE.read_text()


def test_the_page_has_every_field_of_conditions() -> None:
    said = rows(PAGE.read_text())
    for root, fields in DECLARED.items():
        for field in fields:
            assert f"`{root}.{field}`" in said
    for root in MAPS:
        assert f'`{root}["' in said


def test_a_code_has_a_sentence_whatever_follows_it() -> None:
    assert all(why.means and meaning(why.value) == why.means for why in Why)
    assert meaning("weighted:a:b") == Why.WEIGHTED.means
    assert meaning("struck:tools") == Why.STRUCK_TOOLS.means
    assert meaning(fallback(Failure.TIMEOUT)) == Why.FALLBACK.means
    assert meaning("nonsense") == ""


def test_codes_are_their_own_text() -> None:
    assert f"{Why.ALIAS}" == "alias" == Why("alias")
    assert len({why.means for why in Why}) == len(Why)
