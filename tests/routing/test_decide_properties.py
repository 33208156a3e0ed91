"""Some hundred of the decisions of chance of which `make fuzz` plays 10,000 cases, always the same."""

from __future__ import annotations

import pytest

from extproc.routing import hearing
from extproc.routing.reasons import Why
from tests.routing.decisions import case

CASES = 300
BLOCK = 50


@pytest.mark.parametrize("start", range(0, CASES, BLOCK))
def test_decisions_keep_the_rules(start: int) -> None:
    for seed in range(start, start + BLOCK):
        try:
            case(seed)
        except Exception as error:
            error.add_note(f"python -m tests.routing.decisions --seed {seed} plays it again")
            raise


@pytest.mark.parametrize("why", [Why.STRUCK_BREAKER, Why.STRUCK_CONTEXT, Why.STRUCK_CONDITION])
def test_a_rule_that_is_broken_would_be_found(why: Why, monkeypatch: pytest.MonkeyPatch) -> None:
    strike = hearing.Hearing.strike

    def blind(self: hearing.Hearing, option: hearing.Option) -> Why | None:
        found = strike(self, option)
        return None if found is why else found

    monkeypatch.setattr(hearing.Hearing, "strike", blind)
    with pytest.raises(AssertionError):
        for seed in range(BLOCK):
            case(seed)
