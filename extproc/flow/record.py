"""What is known of one exchange, gathered as it goes: for the log line, the metrics, later the ledger."""

from __future__ import annotations

from dataclasses import dataclass

from extproc.config.names import ATTEMPTS_HEADER, WHY_HEADER
from extproc.model.call import (
    NO_CALL,
    Attempt,
    Caller,
    CallId,
    Ending,
    Outcome,
    Price,
    Target,
    Tried,
)
from extproc.model.errors import GatewayError, Kind, Origin
from extproc.model.reply import Usage

_MOST_WHY = 32


@dataclass(slots=True)
class Record:
    """Times are seconds on the exchange's clock. `model` is a configured name, `asked` the client's;
    `dropped` is what the provider's language could not carry, in the client's words; `why` holds
    the codes of what led to the target. `shadow` is the call that this one is a copy of; `probe`:
    it is nobody's but the gateway's own. `tried` has the attempts that somebody watched, each
    once. `price` is what `usage` is paid at; None: not known.

    `outcome` begins as ABORTED: only an ending that was seen changes it.
    """

    started: float
    call_id: CallId = NO_CALL
    peer: str = ""
    method: str = ""
    path: str = ""
    dialect: str = ""
    caller: Caller | None = None
    asked: str = ""
    model: str = ""
    target: Target | None = None
    attempts: int = 0
    tried: tuple[Tried, ...] = ()
    why: tuple[str, ...] = ()
    label: str = ""
    shadow: CallId = NO_CALL
    probe: bool = False
    dropped: tuple[str, ...] = ()
    stream: bool = False
    status: int = 0
    outcome: Outcome = Outcome.ABORTED
    usage: Usage | None = None
    price: Price | None = None
    error: str | None = None
    error_code: str | None = None
    error_kind: Kind | None = None
    error_origin: Origin = Origin.GATEWAY
    bytes_in: int = 0
    bytes_out: int = 0
    events: int = 0
    upstream_id: str | None = None
    first_byte: float | None = None
    own_seconds: float = 0.0
    duration: float = 0.0
    closed: bool = False

    @property
    def ended(self) -> float:
        return self.started + self.duration

    @property
    def cost(self) -> float | None:
        """US dollars; None where the tokens or their price are not known."""
        if self.usage is None or self.price is None:
            return None
        return self.price.of(self.usage)

    def refused(self, error: GatewayError) -> None:
        """An error ended the exchange: a refusal of ours, or what a provider or the network did."""
        self.error = error.message
        self.error_code = error.code or error.kind.value
        self.error_kind, self.error_origin = error.kind, error.origin
        if error.origin is Origin.PROVIDER:
            self.outcome = Outcome.PROVIDER_ERROR
        elif error.origin is Origin.NETWORK:
            self.outcome = Outcome.BROKEN
        else:
            self.outcome = Outcome.FAILED if error.status == 500 else Outcome.REFUSED

    def reasons(self, number: int) -> tuple[tuple[str, str], ...]:
        """The headers that tell a client of attempt `number` and of what led to it."""
        attempts = (ATTEMPTS_HEADER, str(number))
        why = ",".join(self.why[:_MOST_WHY])
        return (attempts, (WHY_HEADER, why)) if why else (attempts,)

    def ending(self) -> Ending:
        attempt = Attempt(self.attempts, self.target) if self.target else None
        return Ending(self.outcome, self.status, attempt, self.usage, self.error)
