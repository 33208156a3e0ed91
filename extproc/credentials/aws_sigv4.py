"""AWS Signature Version 4: proves who sends exactly this request.

Takes keys, service, region and a request as it will leave; gives the headers
that sign its method, path, query, body, `host` and `content-type`. The path is
signed as its bytes are sent, encoded once more: `:` sent as `%3A` is signed as
`%253A`. So nothing may rewrite the path, the host or the body afterwards. Never
does I/O. Source: "Create a signed AWS API request", IAM user guide.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, unquote_to_bytes

from extproc.model.ports import Clock, Signable

_ALGORITHM = "AWS4-HMAC-SHA256"
_HOST = re.compile(
    r"(?:[a-z0-9-]+\.)?(?P<service>bedrock-runtime|bedrock-mantle)(?:-fips)?"
    r"\.(?P<region>[a-z]{2,}(?:-[a-z0-9]+)+)\.(?:vpce\.)?"
    r"(?:amazonaws\.com(?:\.cn)?|api\.aws|api\.amazonwebservices\.com\.cn)(?::\d+)?"
)
_SIGNING_NAMES = {"bedrock-runtime": "bedrock", "bedrock-mantle": "bedrock-mantle"}


@dataclass(frozen=True, slots=True)
class AwsKeys:
    """`token` is there for temporary keys; `expires` is in Unix seconds, None: never."""

    access: str = field(repr=False)
    secret: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    expires: float | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """What a signature is good for."""

    service: str
    region: str


def scope_of(authority: str) -> Scope | None:
    """The scope that a Bedrock host name says; None for any other host."""
    found = _HOST.fullmatch(authority)
    if found is None:
        return None
    return Scope(_SIGNING_NAMES[found["service"]], found["region"])


class SigV4:
    """Signs for one scope. The key of a day is derived once, and again when keys change."""

    __slots__ = ("_clock", "_derived", "_scope")

    def __init__(self, scope: Scope, clock: Clock) -> None:
        self._scope = scope
        self._clock = clock
        self._derived = ("", "", b"")

    def sign(self, keys: AwsKeys, request: Signable) -> Mapping[str, str]:
        """Headers to add. `content-type` is signed where the request has one."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._clock.time()))
        day = stamp[:8]
        added = {"x-amz-date": stamp}
        if keys.token is not None:
            added["x-amz-security-token"] = keys.token
        signed = {"host": request.authority, **added}
        if (kind := request.headers.get("content-type")) is not None:
            signed["content-type"] = kind
        names = ";".join(sorted(signed))
        scope = f"{day}/{self._scope.region}/{self._scope.service}/aws4_request"
        summary = _sha256(_canonical(request, signed, names).encode())
        text = f"{_ALGORITHM}\n{stamp}\n{scope}\n{summary}"
        signature = _hmac(self._key(keys.secret, day), text).hex()
        added["authorization"] = (
            f"{_ALGORITHM} Credential={keys.access}/{scope}, "
            f"SignedHeaders={names}, Signature={signature}"
        )
        return added

    def _key(self, secret: str, day: str) -> bytes:
        for_secret, for_day, key = self._derived
        if for_secret != secret or for_day != day:
            key = _hmac(f"AWS4{secret}".encode(), day)
            for part in (self._scope.region, self._scope.service, "aws4_request"):
                key = _hmac(key, part)
            self._derived = (secret, day, key)
        return key


class AwsSigned:
    """A credential of keys that stay: from the configuration or the environment."""

    __slots__ = ("_keys", "_sigv4")

    def __init__(self, keys: AwsKeys, scope: Scope, clock: Clock) -> None:
        self._keys = keys
        self._sigv4 = SigV4(scope, clock)

    def headers(self, request: Signable) -> Mapping[str, str]:
        return self._sigv4.sign(self._keys, request)


def _canonical(request: Signable, signed: Mapping[str, str], names: str) -> str:
    path, _, query = request.path.partition("?")
    headers = "".join(f"{name}:{' '.join(signed[name].split())}\n" for name in sorted(signed))
    return "\n".join(
        (
            request.method,
            quote(_normalised(path), safe="/~"),
            _canonical_query(query) if query else "",
            headers,
            names,
            _sha256(request.body),
        )
    )


def _normalised(path: str) -> str:
    """AWS takes out empty and dot segments before it compares, so the signature must too."""
    if path.startswith("/") and "//" not in path and "/." not in path:
        return path
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in ("", "."):
            kept.append(segment)
    end = "/" if kept and path.endswith("/") else ""
    return f"/{'/'.join(kept)}{end}"


def _canonical_query(query: str) -> str:
    """Sorted, and encoded in the one way that AWS compares."""
    pairs = sorted(
        tuple(quote(unquote_to_bytes(part), safe="-_.~") for part in (name, value))
        for name, _, value in (pair.partition("=") for pair in query.split("&"))
    )
    return "&".join("=".join(pair) for pair in pairs)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
