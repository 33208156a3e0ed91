"""The language of `sluice.yaml`, as one table: keys, what they hold, what they are for.

The loader, the JSON Schema and docs/config.md all read this. What one key alone
cannot tell (an alias of an unknown provider) is `crosscheck.py`'s.
"""

from __future__ import annotations

from extproc.config.catalogue import KNOWN
from extproc.config.model_keys import MODELS, ROUTING
from extproc.config.provider_keys import PROVIDER
from extproc.config.schema import KeyRole, LogFormat, LogLevel, Transport
from extproc.config.shapes import (
    Block,
    Choice,
    Duration,
    Field,
    FileName,
    Flag,
    ListOf,
    Number,
    SecretText,
    Size,
    Table,
    Text,
)
from extproc.config.texts import FILE, HOST, KEY_HASH, NAME, NAMES, PATTERN

_NAME = Text("a name", pattern=NAME)
_COUNT = Number(low=0, high=10**12)

SERVER = Block(
    {
        "host": Field(
            Text("an address or host name to listen on", pattern=rf"{HOST}|[0-9A-Fa-f:.]+"),
            "address to listen on; `0.0.0.0` for all",
            "127.0.0.1",
        ),
        "port": Field(Number(0, 65535), "port to listen on; 0 lets the system choose one", "5055"),
        "tls": Field(
            Block(
                {
                    "cert": Field(FILE, "PEM file of the certificate chain", required=True),
                    "key": Field(FILE, "PEM file of the private key", required=True),
                }
            ),
            "serve HTTPS with this certificate",
        ),
    }
)

KEY = Block(
    {
        "name": Field(_NAME, "whose key it is; logs and metrics say it", required=True),
        "key": Field(SecretText(), "the key itself: `${VAR}`, or `{file: path}`"),
        "hash": Field(
            Text("what `sluice keys create` prints", pattern=KEY_HASH, quiet=True),
            "the key's hash, as `sluice keys create` prints it",
        ),
        "role": Field(Choice(tuple(KeyRole)), "an admin may also use management paths", "caller"),
        "models": Field(ListOf(PATTERN, 1), "the models it may use", '["*"]'),
        "team": Field(_NAME, "whose people use it; conditions see it as `caller.team`"),
        "tags": Field(ListOf(_NAME), "words for conditions, which see them as `caller.tags`"),
    },
    one_of=("key", "hash"),
)

LIMITS = Block(
    {
        "body": Field(
            Size(1024, 2047 * 1024 * 1024), "largest request body, and largest whole reply", "32MiB"
        ),
        "header_bytes": Field(Size(1024, 8 * 1024 * 1024), "all headers of a request", "60KiB"),
        "header_count": Field(Number(1, 10_000), "headers of a request", "100"),
        "connections": Field(Number(1, 1_000_000), "open connections of clients", "10000"),
        "in_flight_bytes": Field(
            Size(1024), "bodies held by one worker at a time; above it, 503", "512MiB"
        ),
        "request_timeout": Field(Duration(), "for a client to send its whole request", "60s"),
        "idle_timeout": Field(Duration(), "silence after which a stream is reset", "300s"),
        "stage_timeout": Field(Duration(), "for a worker to answer one message", "10s"),
        "drain_timeout": Field(Duration(), "for running exchanges to finish after SIGTERM", "30s"),
    }
)

LOG = Block(
    {
        "level": Field(Choice(tuple(LogLevel)), "the least that is logged", "info"),
        "format": Field(
            Choice(tuple(LogFormat)), "auto: readable on a terminal, JSON elsewhere", "auto"
        ),
        "access": Field(Flag(), "Envoy's own access log, in the data folder", "true"),
    }
)

RATE = Block(
    {
        "requests_per_minute": Field(_COUNT, "requests in a minute"),
        "requests_per_hour": Field(_COUNT, "requests in an hour"),
        "tokens_per_minute": Field(_COUNT, "tokens in a minute"),
        "burst_limit": Field(_COUNT, "requests at once"),
        "cooldown_seconds": Field(_COUNT, "pause after a refusal"),
    }
)

BLOCKS: dict[str, Field] = {
    "rate_limiting": Field(
        Table(RATE, NAME, NAMES), "limits by name; `default` is for everyone without their own"
    ),
    "security": Field(
        Block(
            {
                "sensitive_keywords": Field(
                    ListOf(Text("a word", pattern=r"[\s\S]*\S[\s\S]*")),
                    "words that make a prompt sensitive",
                ),
                "sensitivity_threshold": Field(
                    Number(0, 1, whole=False), "score from which a prompt is sensitive"
                ),
                "auto_classification": Field(Flag(), "score every prompt"),
                "secure_only_models": Field(
                    ListOf(_NAME), "providers that sensitive prompts may go to"
                ),
            }
        ),
        "what is sensitive, and where it may go",
    ),
    "cache": Field(
        Block(
            {
                "max_size": Field(_COUNT, "replies kept"),
                "default_ttl": Field(_COUNT, "seconds that a reply is kept"),
                "cleanup_interval": Field(_COUNT, "seconds between clean-ups"),
                "enable_compression": Field(Flag(), "compress what is kept"),
            }
        ),
        "replies that are given again",
    ),
    "metrics": Field(
        Block(
            {
                "enable_detailed_logging": Field(Flag(), "log more of each exchange"),
                "retention_days": Field(_COUNT, "days that figures are kept"),
                "enable_cost_tracking": Field(Flag(), "add up what exchanges cost"),
            }
        ),
        "what is counted, and for how long",
    ),
}
"""the blocks of stages: checked here, kept as they are in `Settings.blocks`"""

ROOT = Block(
    {
        "server": Field(SERVER, "where clients come in"),
        "workers": Field(Number(0, 1024), "worker processes; 0 = one for each core", "0"),
        "transport": Field(
            Choice(tuple(Transport)),
            "how workers serve Envoy: `native` is ours and quick, `grpc` is the grpc library",
            "native",
        ),
        "data": Field(
            FileName(), "folder for stores, sockets and Envoy's configuration", ".sluice"
        ),
        "providers": Field(
            Table(PROVIDER, NAME, NAMES),
            f"who answers. Known by name: {', '.join(KNOWN)}",
            "those whose variables are set",
        ),
        "models": Field(
            MODELS,
            "names that callers use, and the targets that answer, best first: `provider/model`, a "
            "list of such, or a block with more to say. A name may end in `*`: the longest "
            "counts, and `*` alone where nothing else serves the name. Targets are models of "
            "providers: other names of `models` are not followed",
        ),
        "routing": Field(
            ROUTING, "how targets are retried and given up, where a model does not say otherwise"
        ),
        "keys": Field(
            ListOf(KEY), "keys that callers present; without any, only this machine is served"
        ),
        "limits": Field(LIMITS, "bounds on everything that a stranger can make grow"),
        "log": Field(LOG, "what is logged, and how"),
        **BLOCKS,
    }
)
