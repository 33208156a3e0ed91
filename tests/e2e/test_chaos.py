"""Half a minute of everything going wrong at once; `make soak` takes five.

`SLUICE_SEED=N` plays a run again: who asks what, and what fails.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import chaos
from tests.e2e.lengths import length

SECONDS = length(25.0, 300.0)
CLIENTS = 64


@pytest.mark.soak
def test_every_request_is_accounted_for(tmp_path: Path) -> None:
    """No hang, no error that nobody can explain, and the client's end is the gateway's."""
    seed = chaos.seeded()
    print(f"SLUICE_SEED={seed}")
    done = chaos.play(tmp_path, seed, SECONDS, CLIENTS)
    print(done, flush=True)
    assert not done.unexplained, str(done)
    assert done.kinds["ok"] > done.kinds.total() / 2, str(done)
    assert done.kills, "nothing was killed"
    assert len(done.lost) <= done.kills * CLIENTS, str(done)
    assert done.changes, "nothing was changed"
    assert len(done.failures) > 5, "not much went wrong"
