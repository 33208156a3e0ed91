"""The answer to a question for a prompt's tokens that no provider can be asked.

The count is marked as an estimate, and never billed.
"""

from __future__ import annotations

from extproc.model.embed import Count
from extproc.model.reply import Counted, Event, Finished, Started
from extproc.routing.tokens import estimate_tokens


def estimated(asked: Count) -> tuple[Event, ...]:
    count = Counted(estimate_tokens(asked.chat), estimated=True)
    return (Started("", asked.model), count, Finished())
