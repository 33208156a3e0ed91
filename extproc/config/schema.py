"""The frozen settings: what `sluice.yaml` means once it has been read.

`load.py` makes these from YAML, the environment and the defaults here. Nothing
in this file reads anything. Every field's docstring-comment is the reference
that `sluice schema` turns into JSON Schema descriptions.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct, field
from msgspec.structs import replace

from extproc.model.call import Capabilities, Failure, OnLossy, Price


class Secret:
    """A string that never shows itself: not in a repr, a log, an error or a traceback."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The string itself. Call it where it is used, and keep no copy."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


class SecurityLevel(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class KeyRole(StrEnum):
    CALLER = "caller"
    ADMIN = "admin"


class LogFormat(StrEnum):
    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Transport(StrEnum):
    NATIVE = "native"
    GRPC = "grpc"


class ServerTls(Struct, frozen=True, kw_only=True):
    """Files of the certificate that clients see."""

    cert: Path
    key: Path


class Server(Struct, frozen=True, kw_only=True):
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 5055
    tls: ServerTls | None = None


class ProviderTls(Struct, frozen=True, kw_only=True):
    """How we verify a provider, and prove ourselves to it. `ca` None: the system's roots."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    sni: str | None = None


class ApiKey(Struct, frozen=True, kw_only=True):
    """One of a provider's several keys. `name` is told to people, the key itself to nobody;
    `weight` is its share of the calls, beside the others."""

    name: str
    key: Secret
    weight: float = 1.0


class Probing(Struct, frozen=True, kw_only=True):
    """An exchange with a provider of our own, every `interval` seconds, for what costs no token:
    its list of models, or what is at `path`, below its endpoint. `failures` of them in a row,
    each without a good answer within `timeout` seconds, and its targets' breakers open.
    """

    interval: float = 4.0
    timeout: float = 2.0
    failures: int = 2
    path: str | None = None


class KeyAuth(Struct, frozen=True, kw_only=True, tag="api_key"):
    """`Provider.api_key` in a header; nothing at all where there is no key."""


class AwsAuth(Struct, frozen=True, kw_only=True, tag="aws"):
    """Signature Version 4, with the keys that AWS's variables name, or those of a role."""

    role_arn: str | None = None
    session_name: str | None = None
    external_id: Secret | None = None
    web_identity_token_file: Path | None = None


class AzureAuth(Struct, frozen=True, kw_only=True, tag="azure"):
    """A token of Entra: of the application `client_id`, or of this machine's managed identity.

    An application has a `tenant`, and either `client_secret` or `token_file`.
    """

    tenant: str | None = None
    client_id: str | None = None
    client_secret: Secret | None = None
    token_file: Path | None = None


class GoogleAuth(Struct, frozen=True, kw_only=True, tag="google"):
    """A token of a service account's key file, or of the machine we run on."""

    credentials_file: Path | None = None


Auth: TypeAlias = KeyAuth | AwsAuth | AzureAuth | GoogleAuth


class Region(Struct, frozen=True, kw_only=True):
    """One of a provider's several regions: what of it differs from the others.

    The fields are as a provider's. `name` is told to people, `weight` is its share of the calls,
    beside the others. `unavailable` says why it cannot be used, or is None.
    """

    name: str
    weight: float = 1.0
    endpoint: str
    region: str | None = None
    project: str | None = None
    api_version: str | None = None
    headers: dict[str, Secret] = field(default_factory=dict[str, Secret])
    auth: Auth = KeyAuth()
    api_key: Secret | None = None
    api_keys: tuple[ApiKey, ...] = ()
    tls: ProviderTls | None = None
    proxy: str | None = None
    unavailable: str | None = None


class Provider(Struct, frozen=True, kw_only=True):
    """One provider of models.

    `dialect` is the language that it is spoken to in; `also` are further ones
    that it speaks itself. `variant` (`azure`, `vertex`, `bedrock`, or empty)
    names what differs from the dialect's own home. `api_version` is Azure's,
    Anthropic's or Gemini's; `project` Vertex's; `region` Vertex's or AWS's.
    `headers` go to it with every request, names in lower case. `capabilities`
    are by model, prefix ending in `*`, or `*`; `models.capabilities` reads them. So are
    `prices`, which come before `cost_per_token`, the price in US dollars of each token of any
    model; `prices.price` reads both.
    `models` are the names it serves (`*` at the end is a wildcard), `model` the
    one it answers with when none is asked for. `unavailable` says why it cannot
    be used (an unset variable, a dialect that is not built in), or is None.
    `proxy` is `host:port` of an HTTP proxy that CONNECTs for us. `probe`: connect to
    it now and then, to know whether it is there; `probing`: ask it something instead.
    `api_keys` are there in place of `api_key` where it has several: each is a target of its own.
    So is each of its `regions`; what differs between those is here that of the first usable one.
    """

    name: str
    dialect: str
    also: tuple[str, ...] = ()
    variant: str = ""
    endpoint: str
    api_version: str | None = None
    project: str | None = None
    region: str | None = None
    headers: dict[str, Secret] = field(default_factory=dict[str, Secret])
    on_lossy: OnLossy = OnLossy.DROP
    capabilities: dict[str, Capabilities] = field(default_factory=dict[str, Capabilities])
    auth: Auth = KeyAuth()
    api_key: Secret | None = None
    api_keys: tuple[ApiKey, ...] = ()
    model: str | None = None
    models: tuple[str, ...] = ()
    timeout: float = 60.0
    security_level: SecurityLevel = SecurityLevel.MEDIUM
    cost_per_token: float | None = None
    prices: dict[str, Price] = field(default_factory=dict[str, Price])
    tls: ProviderTls | None = None
    proxy: str | None = None
    probe: bool = True
    probing: Probing | None = None
    unavailable: str | None = None
    regions: tuple[Region, ...] = ()
    revision: int = 0
    """how often the way to it changed while the gateway ran: each has a cluster of its own"""

    @property
    def region_name(self) -> str:
        """Of a provider with one region, the region's."""
        return self.regions[0].name if len(self.regions) == 1 else ""

    @property
    def full_name(self) -> str:
        """What tells its host and credential from those of the provider's other regions."""
        return addressed(self.name, self.region_name)

    def by_region(self) -> list[Provider]:
        """It once for each of its regions that can be used, as if that were the only one; itself,
        where it has none."""
        return [
            replace(
                self,
                regions=(one,),
                endpoint=one.endpoint,
                region=one.region,
                project=one.project,
                api_version=one.api_version,
                headers=one.headers,
                auth=one.auth,
                api_key=one.api_key,
                api_keys=one.api_keys,
                tls=one.tls,
                proxy=one.proxy,
                unavailable=None,
            )
            for one in self.regions
            if one.unavailable is None
        ] or [self]

    def by_key(self) -> list[tuple[ApiKey, Provider]]:
        """It once for each of several keys, as if that were the only one."""
        return [(key, replace(self, api_key=key.key, api_keys=())) for key in self.api_keys]


def addressed(provider: str, region: str) -> str:
    """What targets call one region of a provider, or the whole where `region` is empty. No name of
    either has an `@` in it."""
    return f"{provider}@{region}" if region else provider


Scalar: TypeAlias = str | int | float | bool


class Strategy(StrEnum):
    """In which order the targets of a group are asked."""

    ORDER = "order"
    WEIGHTED = "weighted"
    ROUND_ROBIN = "round_robin"
    LEAST_LATENCY = "least_latency"
    """shortest time to the first token"""
    MOST_THROUGHPUT = "most_throughput"
    """most tokens a second"""
    LEAST_COST = "least_cost"
    LEAST_BUSY = "least_busy"
    STICKY = "sticky"
    """as weighted, drawn by session, else by the prompt's beginning"""


class DrawBy(StrEnum):
    """What a weighted draw is made of: equal ones get the same target."""

    CALL = "call"
    CALLER = "caller"
    SESSION = "session"
    PREFIX = "prefix"


class TargetRef(Struct, frozen=True, kw_only=True):
    """One target of a model. `model` `*` is what the wildcard in the model's name stood for.

    `label` is the arm of an A/B split. `when` is a condition (`conditions.py`), empty: always.
    Parameters by their canonical names: `set` always, `default` where the client says
    nothing, `cap` as an upper bound.
    """

    provider: str
    model: str
    weight: float = 1.0
    label: str = ""
    when: str = ""
    set: dict[str, Scalar] = field(default_factory=dict[str, Scalar])
    default: dict[str, Scalar] = field(default_factory=dict[str, Scalar])
    cap: dict[str, int | float] = field(default_factory=dict[str, int | float])


class Window(Struct, frozen=True, kw_only=True):
    """How long a stream's beginning is held, until its first content is there."""

    seconds: float = 2.0
    bytes: int = 65536


class Retry(Struct, frozen=True, kw_only=True):
    """`attempts` in all; `same` further ones of a target before the next target's turn.

    `base` and `longest` are seconds between attempts of the same target, doubling, with jitter.
    """

    attempts: int = 3
    on: tuple[Failure, ...] = (
        Failure.CONNECT,
        Failure.DNS,
        Failure.TLS,
        Failure.RESET,
        Failure.TIMEOUT,
        Failure.FIRST_EVENT,
        Failure.STREAM_ERROR,
        Failure.EMPTY,
        Failure.RATE_LIMIT,
        Failure.OVERLOADED,
        Failure.SERVER_ERROR,
        Failure.CREDENTIAL,
        Failure.GONE,
    )
    same: int = 0
    base: float = 0.25
    longest: float = 4.0


class Shadow(Struct, frozen=True, kw_only=True):
    """Who gets a copy of the requests, and of how many of them, in percent."""

    provider: str
    model: str
    percent: float = 100.0


class ModelRoute(Struct, frozen=True, kw_only=True):
    """A name that callers use: groups of targets, the best group first.

    `retry` None: `routing.retry`. `deadline` is seconds for the whole exchange's way to its
    first byte, over all attempts; None: `routing.deadline`.
    """

    groups: tuple[tuple[TargetRef, ...], ...]
    strategy: Strategy = Strategy.ORDER
    by: DrawBy = DrawBy.CALL
    window: Window | None = None
    retry: Retry | None = None
    deadline: float | None = None
    shadow: Shadow | None = None

    @property
    def targets(self) -> tuple[TargetRef, ...]:
        return tuple(target for group in self.groups for target in group)


class Breaker(Struct, frozen=True, kw_only=True):
    """When a target is left alone: after so many `failures` in a row, or when of at least
    `minimum` attempts within `window` seconds a share of `error_rate` failed or of `slow_rate`
    took more than `slow` seconds to their first byte. After `open` seconds `trials` may go there.
    """

    failures: int = 5
    error_rate: float = 0.5
    minimum: int = 20
    slow: float | None = None
    slow_rate: float = 0.8
    window: float = 30.0
    open: float = 15.0
    trials: int = 1


class RetryBudget(Struct, frozen=True, kw_only=True):
    """At most `percent` of the first attempts of the last ten seconds are tried again with the same
    target, and `minimum` anyway."""

    percent: float = 20.0
    minimum: int = 10


class Unpriced(StrEnum):
    """What becomes of a target whose price is not known, where the cheapest is asked first."""

    LAST = "last"
    """it is asked when those of known price could not help"""
    NEVER = "never"


class Routing(Struct, frozen=True, kw_only=True):
    """How targets are chosen and given up, where a model does not say otherwise.

    `longest_cooldown` bounds the seconds that a provider's `retry-after` keeps a target out.
    """

    retry: Retry = Retry()
    budget: RetryBudget = RetryBudget()
    breaker: Breaker = Breaker()
    deadline: float | None = None
    longest_cooldown: float = 300.0
    unpriced: Unpriced = Unpriced.LAST


class Key(Struct, frozen=True, kw_only=True):
    """A key that callers present. Exactly one of `key` and `hash` is set."""

    name: str
    key: Secret | None = None
    hash: str | None = None
    role: KeyRole = KeyRole.CALLER
    models: tuple[str, ...] = ("*",)
    team: str = ""
    tags: tuple[str, ...] = ()


class Limits(Struct, frozen=True, kw_only=True):
    """Bounds on everything that a stranger can make grow. Sizes in bytes, times in seconds."""

    body: int = 32 * 1024 * 1024
    """largest request body, and largest whole reply"""
    header_bytes: int = 60 * 1024
    header_count: int = 100
    connections: int = 10_000
    in_flight_bytes: int = 512 * 1024 * 1024
    """bodies held by one worker at a time; above it, 503"""
    request_timeout: float = 60.0
    """for a client to send its whole request"""
    idle_timeout: float = 300.0
    """silence after which a stream is reset"""
    stage_timeout: float = 10.0
    """for a worker to answer one message"""
    drain_timeout: float = 30.0
    """for running exchanges to finish after SIGTERM"""


class Log(Struct, frozen=True, kw_only=True):
    level: LogLevel = LogLevel.INFO
    format: LogFormat = LogFormat.AUTO
    access: bool = True
    """Envoy's own access log, in the data folder"""


class Settings(Struct, frozen=True, kw_only=True):
    """The whole configuration. `inactive` names blocks that are valid but have no effect yet."""

    server: Server = Server()
    workers: int = 0
    """worker processes; 0 = one for each core"""
    transport: Transport = Transport.NATIVE
    data: Path = Path(".sluice")
    providers: dict[str, Provider] = field(default_factory=dict[str, Provider])
    models: dict[str, ModelRoute] = field(default_factory=dict[str, ModelRoute])
    routing: Routing = Routing()
    keys: tuple[Key, ...] = ()
    limits: Limits = Limits()
    log: Log = Log()
    blocks: dict[str, object] = field(default_factory=dict[str, object])
    """validated, raw blocks by name (`rate_limiting`, `security`, `cache`, `metrics`, later each stage's)"""
    inactive: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    source: str = ""
    """where it came from, for people"""
    files: dict[str, str] = field(default_factory=dict[str, str])
    """files that it names and that must be there (secrets, certificates), each with a hash of what
    is in it, so that another content is another configuration"""
