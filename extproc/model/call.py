"""The facts of one exchange: small, frozen, one writer for each field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from typing import NewType

from extproc.model.embed import Request
from extproc.model.reply import Usage
from extproc.model.value import value

CallId = NewType("CallId", str)
"""`gw-` and a random UUID. Made by Envoy, never taken from the client."""
NO_CALL = CallId("")


class Role(StrEnum):
    CALLER = "caller"
    ADMIN = "admin"


@value
class Caller:
    """Who is calling. `models` holds names the caller may use; `*` allows all.

    `team` and `tags` are the key's, for conditions and accounts. A gateway without keys has
    one caller, `local`, who is an admin.
    """

    name: str
    role: Role = Role.CALLER
    models: frozenset[str] = frozenset({"*"})
    team: str = ""
    tags: tuple[str, ...] = ()

    def may_use(self, model: str) -> bool:
        """Whether a name on the list says so; a trailing `*` there is a wildcard."""
        if "*" in self.models or model in self.models:
            return True
        return any(m[-1:] == "*" and model.startswith(m[:-1]) for m in self.models)


LOCAL = Caller("local", Role.ADMIN)


class OnLossy(StrEnum):
    """What becomes of a feature whose loss is neither harmless nor fatal."""

    DROP = "drop"
    REJECT = "reject"


@value
class Capabilities:
    """What a model can do, from the configuration and the catalogue. None: not known.

    `adaptive_thinking` and `system_in_messages` are of newer Claude models;
    `max_output` and `context` are in tokens; `embedding`: it makes vectors, and no text.
    """

    tools: bool | None = None
    vision: bool | None = None
    json_schema: bool | None = None
    reasoning: bool | None = None
    adaptive_thinking: bool | None = None
    system_in_messages: bool | None = None
    max_output: int | None = None
    context: int | None = None
    embedding: bool | None = None


ANY = Capabilities()

_MILLION = 1_000_000


@value
class Price:
    """What tokens cost, in US dollars for a million of each kind.

    None: as much as `input`; of `cache_write_1h`, which is what a prompt costs that is kept for an
    hour, as much as `cache_write`. Reasoning is a part of the output. Where a longer prompt costs
    something else, with all that is written to it, `long` says so: it counts for prompts of more
    than its `above` tokens.
    """

    input: float = 0.0
    output: float = 0.0
    cache_read: float | None = None
    cache_write: float | None = None
    cache_write_1h: float | None = None
    long: Price | None = None
    above: int = 0

    def of(self, usage: Usage) -> float:
        """The dollars that so much costs."""
        each = self._at(usage.prompt)
        read = each.input if each.cache_read is None else each.cache_read
        write = each.input if each.cache_write is None else each.cache_write
        hour = write if each.cache_write_1h is None else each.cache_write_1h
        kept = min(usage.cache_write_1h, usage.cache_write)
        return (
            usage.fresh * each.input
            + usage.cache_read * read
            + (usage.cache_write - kept) * write
            + kept * hour
            + usage.output * each.output
        ) / _MILLION

    def estimate(self, prompt: int, output: int) -> float:
        """The dollars that so many tokens cost, if no cache has any of them."""
        each = self._at(prompt)
        return (prompt * each.input + output * each.output) / _MILLION

    def _at(self, prompt: int) -> Price:
        """What counts for a prompt of so many tokens."""
        each = self
        while each.long is not None and prompt > each.long.above:
            each = each.long
        return each


def apart(region: str, key: str) -> str:
    """What tells one of a provider's regions and keys from the others; empty where it has one."""
    if not region:
        return f"#{key}" if key else ""
    return f"@{region}#{key}" if key else f"@{region}"


@value
class Target:
    """One backend that can answer: a provider and the model's name over there.

    `region_name` and `key_name` tell the provider's regions and keys apart where it has several;
    else they are empty.
    `cluster` is Envoy's name for the provider's hosts; `base_path` is the path
    of the provider's endpoint (`/v1`, or empty), `authority` its host and port.
    `variant` names a variant of the dialect that differs by path, headers or a
    few fields (`azure`, `vertex`, `bedrock`), and `details` what it needs to know
    (`api_version`, `project`, `region`). `price` None: not known.
    """

    provider: str
    model: str
    dialect: str
    cluster: str = ""
    authority: str = ""
    base_path: str = ""
    timeout: float = 0.0
    variant: str = ""
    details: tuple[tuple[str, str], ...] = ()
    capabilities: Capabilities = ANY
    on_lossy: OnLossy = OnLossy.DROP
    key_name: str = ""
    region_name: str = ""
    price: Price | None = None

    @property
    def key(self) -> str:
        """What health, cooldowns and statistics are kept by: `provider@region#key/model`. No name of
        a provider has an `@` or a `#` in it."""
        return f"{self.provider}{apart(self.region_name, self.key_name)}/{self.model}"

    def detail(self, name: str) -> str:
        """A detail of the variant, or the empty string."""
        return next((value for key, value in self.details if key == name), "")


@value
class Call:
    """`shadow` is the call that this one is a copy of, or empty: nothing that a client could see
    later may come from a copy."""

    id: CallId
    caller: Caller
    request: Request
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    shadow: CallId = NO_CALL


@value
class Attempt:
    """`number` counts from 1."""

    number: int
    target: Target


class Outcome(StrEnum):
    """How an exchange ended, as the log, the metrics and later the ledger say it."""

    OK = "ok"
    REFUSED = "refused"
    PROVIDER_ERROR = "provider_error"
    BROKEN = "broken"
    ABORTED = "aborted"
    FAILED = "failed"


class Failure(StrEnum):
    """Why an attempt is over without an answer; also how the configuration names its triggers.

    `content_filter`, `context_length` and `bad_output` are read in the reply's body,
    `first_event`, `stream_error` and `empty` in a stream's first moments.
    """

    CONNECT = "connect"
    DNS = "dns"
    TLS = "tls"
    RESET = "reset"
    TIMEOUT = "timeout"
    FIRST_EVENT = "first_event"
    RATE_LIMIT = "rate_limit"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    CREDENTIAL = "credential"
    CONTENT_FILTER = "content_filter"
    CONTEXT_LENGTH = "context_length"
    BAD_OUTPUT = "bad_output"
    STREAM_ERROR = "stream_error"
    EMPTY = "empty"
    GONE = "gone"
    """the configuration has it no more"""
    OURS = "ours"
    """a defect or a limit of the gateway: never a reason to ask the next target"""
    LEFT = "left"
    """the client went before it was decided, so it says nothing about the target"""


@value
class Tried:
    """One attempt, over. `failure` None: its reply went to the client.

    Times are seconds on the exchange's clock; `head_at` is when the reply's head came,
    `first_at` its first content, where anyone looked.
    `retry_after` is in seconds from then, whatever form the provider gave it.
    """

    number: int
    target: Target
    failure: Failure | None
    status: int
    details: str
    began: float
    ended: float
    head_at: float | None = None
    retry_after: float | None = None
    usage: Usage | None = None
    first_at: float | None = None


@value
class Ending:
    """What is known when an exchange is over. Times are seconds on the exchange's clock."""

    outcome: Outcome
    status: int
    attempt: Attempt | None = None
    usage: Usage | None = None
    error: str | None = None
