"""What the gateway tells its operator: log lines and numbers. Never a prompt, an answer or a secret."""

from extproc.telemetry.exposition import collect, summary
from extproc.telemetry.log import Log, bridge_stdlib
from extproc.telemetry.metrics import Chosen, ExchangeRecord, Metrics
from extproc.telemetry.store import reset, worker_gone

__all__ = [
    "Chosen",
    "ExchangeRecord",
    "Log",
    "Metrics",
    "bridge_stdlib",
    "collect",
    "reset",
    "summary",
    "worker_gone",
]
