"""Who ended an exchange that was cut in the midst of its reply, by what Envoy says of it.

A worker only sees its stream end, whether the client left, the provider broke off or
Envoy lost patience; a whole reply that breaks off is even answered by Envoy alone. Its
access log knows. Takes one entry of that, gives what the record says then. Pure.
"""

from __future__ import annotations

from extproc.flow.failures import Notes
from extproc.flow.record import Record
from extproc.model.call import Failure
from extproc.model.errors import GatewayError, Origin, Timeout, UpstreamBad
from extproc.model.value import value

CLIENTS_FLAGS = frozenset({"DC", "DR", "DPE"})
"""of Envoy's response flags those that say that the client left, or broke the protocol"""
IDLE = "SI"
"""nothing moved for `limits.idle_timeout`, in either direction"""
IDLE_ATTEMPT = "per_try_idle_timeout"
"""in the details: the same, of what came through the hop"""
UNREAD = 16 * 1024
"""bytes: before more than these have gone out, Envoy waits for no client"""


@value
class Cut:
    """`status` is what the client got, 0 where it got none; `flags` are Envoy's, `details` its reason."""

    status: int
    flags: frozenset[str]
    details: str


def ended_by(cut: Cut, record: Record, notes: Notes | None) -> None:
    """The record, and the notes of the attempt where somebody watches it, say it as Envoy does."""
    if cut.flags & CLIENTS_FLAGS:
        return
    provider = record.target.provider if record.target is not None else ""
    if IDLE not in cut.flags and IDLE_ATTEMPT not in cut.details:
        failure, error = Failure.RESET, broke(provider)
    elif record.bytes_out <= UNREAD:
        failure, error = Failure.TIMEOUT, silent(provider)
    else:
        # A client that reads nothing more makes Envoy read nothing more: nobody knows who it was.
        record.error, record.error_code = "Nothing moved for limits.idle_timeout.", "idle_timeout"
        return
    record.refused(error)
    if cut.status:
        # Also of a stream whose head was answered, and had not yet gone out.
        record.status = cut.status
    if notes is not None:
        notes.failure = failure


def broke(provider: str, *, begun: bool = True) -> GatewayError:
    """`begun`: its reply had."""
    when = "in the midst of its reply" if begun else "before it answered"
    return UpstreamBad(
        f"The connection to provider {provider} broke {when}.",
        code="connection_lost",
        origin=Origin.NETWORK,
    )


def silent(provider: str, *, begun: bool = True) -> GatewayError:
    did = "began its reply and fell silent" if begun else "did not answer in time"
    return Timeout(f"Provider {provider} {did}.", origin=Origin.NETWORK)
