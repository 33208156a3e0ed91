"""The built-in provider: a real small HTTP server that plays model providers.

For `sluice mock`, for `make run` without keys, for tests and benches. Answers
come from a deterministic writer or from a file of recorded exchanges; faults
come on demand (`faults.py` has the list). It never leaves the machine, checks
no credential and knows nothing of the gateway in front of it.
"""

from extproc.mock.command import add_arguments, run
from extproc.mock.faults import Faults
from extproc.mock.record import Recorded
from extproc.mock.server import MockProvider

__all__ = ["Faults", "MockProvider", "Recorded", "add_arguments", "run"]
