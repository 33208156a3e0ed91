"""What every client asks of every provider, and what must come back.

A scenario leads one conversation through a `Run`, in the client's own words, and
asserts on what the SDK's user reads and on what arrived at the provider.
"""

from tests.e2e.matrix.scenarios import answers, media, talks, tools

SCENARIOS = (*talks.SCENARIOS, *tools.SCENARIOS, *media.SCENARIOS, *answers.SCENARIOS)
"""in the order of the page"""
