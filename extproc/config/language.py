"""The language of `sluice.yaml`, as one table: keys, what they hold, what they are for.

The loader, the JSON Schema and docs/config.md all read this. What one key alone
cannot tell (an alias of an unknown provider) is `crosscheck.py`'s.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from extproc.config.catalogue import KNOWN
from extproc.config.schema import KeyRole, LogFormat, LogLevel, SecurityLevel
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

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
NAMES = "up to 64 letters, digits, `.`, `_` and `-`, the first a letter or a digit"
KEY_HASH = r"blake2b\$[0-9A-Za-z]{8}\$[0-9a-f]{32}\$[0-9a-f]{64}"
_HOST = r"[0-9A-Za-z]([0-9A-Za-z.-]{0,251}[0-9A-Za-z])?"
_HOST_PORT = rf"({_HOST}|\[[0-9A-Fa-f:.]+\]):[0-9]{{1,5}}"


def endpoint_problem(text: str) -> str | None:
    """What keeps `text` from being a provider's base URL. Says what kind of thing was found only."""
    try:
        url = urlsplit(text)
        port, host = url.port, url.hostname
    except ValueError:
        return "found a URL with a broken host or port"
    if url.scheme not in ("http", "https") or not host:
        return "found no http:// or https:// URL"
    if not re.fullmatch(_HOST, host) and ":" not in host:
        return "found a URL with a broken host or port"
    if port == 0 or any(not "!" <= character <= "~" for character in text):
        return "found port 0" if port == 0 else "found a URL with blanks or characters beyond ASCII"
    extras = {
        "user name or password": "@" in url.netloc,
        "query": "?" in text,
        "fragment": "#" in text,
    }
    found = next((name for name, there in extras.items() if there), None)
    return f"found a URL with a {found}" if found else None


def proxy_problem(text: str) -> str | None:
    if not re.fullmatch(_HOST_PORT, text):
        return "found another form"
    port = int(text.rpartition(":")[2])
    return None if 1 <= port <= 65535 else f"found port {port}"


_NAME = Text("a name", pattern=NAME)
_FILE = FileName(exists=True)
_PATTERN = Text("a model's name, a prefix ending in `*`, or `*`", pattern=r"[^*\s]+\*?|\*")
_MODEL = Text("a model's name", pattern=r"[^*\s]+")
_COUNT = Number(low=0, high=10**12)

SERVER = Block(
    {
        "host": Field(
            Text("an address or host name to listen on", pattern=rf"{_HOST}|[0-9A-Fa-f:.]+"),
            "address to listen on; `0.0.0.0` for all",
            "127.0.0.1",
        ),
        "port": Field(Number(0, 65535), "port to listen on; 0 lets the system choose one", "5055"),
        "tls": Field(
            Block(
                {
                    "cert": Field(_FILE, "PEM file of the certificate chain", required=True),
                    "key": Field(_FILE, "PEM file of the private key", required=True),
                }
            ),
            "serve HTTPS with this certificate",
        ),
    }
)

PROVIDER_TLS = Block(
    {
        "ca": Field(_FILE, "PEM file of the authorities to trust", "the system's"),
        "cert": Field(_FILE, "PEM file of our own certificate, when the provider asks for one"),
        "key": Field(_FILE, "PEM file of its private key"),
        "sni": Field(
            Text("a host name", pattern=_HOST),
            "name to ask for and to verify",
            "the endpoint's host",
        ),
    }
)

PROVIDER = Block(
    {
        "dialect": Field(
            Text("a dialect"), "the wire language that it speaks", "the known provider's"
        ),
        "endpoint": Field(
            Text(
                "an http:// or https:// URL without user name, query and fragment",
                problem=endpoint_problem,
                quiet=True,
                soft=True,
            ),
            "base URL of its API",
            "the known provider's",
        ),
        "api_key": Field(
            SecretText(soft=True),
            "its secret: `${VAR}`, or `{file: path}`",
            "the known provider's variable, unless `endpoint` is given",
        ),
        "models": Field(
            ListOf(_PATTERN, 1),
            "what it serves: names, prefixes ending in `*`, or `*`",
            "the known provider's, and `model`",
        ),
        "model": Field(_MODEL, "what it answers with when a caller names the provider alone"),
        "timeout": Field(Duration(), "for its whole answer, or the silence within a stream", "60"),
        "security_level": Field(
            Choice(tuple(SecurityLevel)),
            "how sensitive a prompt it may see",
            "the known provider's, or medium",
        ),
        "cost_per_token": Field(
            Number(low=0, high=1000, whole=False), "price of one token, in your currency"
        ),
        "tls": Field(PROVIDER_TLS, "how to verify it, and how to prove ourselves"),
        "proxy": Field(
            Text("host:port", problem=proxy_problem, quiet=True),
            "`host:port` of an HTTP proxy to go through; https endpoints only",
        ),
    }
)

TARGET = Block(
    {
        "provider": Field(_NAME, "one of `providers`", required=True),
        "model": Field(_MODEL, "the model's name over there", required=True),
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
        "models": Field(ListOf(_PATTERN, 1), "the models it may use", '["*"]'),
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
        "data": Field(
            FileName(), "folder for stores, sockets and Envoy's configuration", ".sluice"
        ),
        "providers": Field(
            Table(PROVIDER, NAME, NAMES),
            f"who answers. Known by name: {', '.join(KNOWN)}",
            "those whose variables are set",
        ),
        "models": Field(
            Table(ListOf(TARGET, 1), NAME, NAMES),
            "aliases: a name that callers use, and the targets that answer, best first",
        ),
        "keys": Field(
            ListOf(KEY), "keys that callers present; without any, only this machine is served"
        ),
        "limits": Field(LIMITS, "bounds on everything that a stranger can make grow"),
        "log": Field(LOG, "what is logged, and how"),
        **BLOCKS,
    }
)
