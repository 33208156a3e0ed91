"""Who is calling: from the request's head alone, before any body is read.

Takes headers, the query and the address of the connection's other end; gives
a `Caller` or raises `Unauthenticated`/`PermissionDenied`. It never keeps a
key: those written in the configuration are held as keyed digests.

A key made by `create_key` reads `sluice-<id>-<secret>`: the id finds the entry,
the secret has 256 bits, and the configuration holds
`blake2b$<id>$<salt>$<digest>`.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from ipaddress import ip_address
from urllib.parse import unquote_plus

from extproc.config.schema import Key
from extproc.model.call import LOCAL, Caller, Role
from extproc.model.errors import PermissionDenied, Unauthenticated

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_LENGTH = 8
_SECRET_LENGTH = 43
_SALT_BYTES = 16
_DIGEST_BYTES = 32

KEY_HEADERS = ("x-api-key", "api-key", "x-goog-api-key")
"""Headers that carry nothing but a key; each wins over `authorization`."""

_AUTHORITY = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9.-]+))(?::[0-9]{1,5})?")
_HOW = (
    "Send a key as `Authorization: Bearer KEY`, `x-api-key`, `api-key`, `x-goog-api-key` or `?key=`."
    " An administrator makes one with `sluice keys create --name NAME`."
)
_SIGNED = "aws4-"
_NO_SIGNATURES = (
    "The request is signed (AWS Signature Version 4), and a signature cannot be checked here. Give the"
    " SDK a key of this gateway instead, in the variable AWS_BEARER_TOKEN_BEDROCK."
    " An administrator makes one with `sluice keys create --name NAME`."
)


def create_key(random: Callable[[int], bytes]) -> tuple[str, str]:
    """A new key and the `hash` that goes into the configuration. `random(n)` gives n random bytes."""
    lookup = _letters(random, _ID_LENGTH)
    key = f"sluice-{lookup}-{_letters(random, _SECRET_LENGTH)}"
    salt = random(_SALT_BYTES)
    return key, f"blake2b${lookup}${salt.hex()}${_digest(key, salt).hex()}"


def _letters(random: Callable[[int], bytes], count: int) -> str:
    """`count` unbiased letters: bytes that would favour some letters are thrown away."""
    bound = 256 - 256 % len(_ALPHABET)
    letters = ""
    while len(letters) < count:
        letters += "".join(_ALPHABET[b % len(_ALPHABET)] for b in random(count) if b < bound)
    return letters[:count]


def _digest(key: str, salt: bytes) -> bytes:
    return blake2b(
        key.encode("utf-8", "surrogateescape"), key=salt, digest_size=_DIGEST_BYTES
    ).digest()


def presented_key(headers: Mapping[str, str], query: str) -> str | None:
    """The key that the client sent, or None. `x-api-key` and its like win over `authorization`."""
    for name in KEY_HEADERS:
        if value := headers.get(name):
            return value
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if token and scheme.lower() == "bearer":
        return token.strip()
    for pair in query.split("&") if "key=" in query else ():
        if pair.startswith("key="):
            return unquote_plus(pair[4:])
    return None


def without_key(query: str) -> str:
    """The query as it may be logged and sent on: every `key` taken out."""
    if "key=" not in query:
        return query
    return "&".join(p for p in query.split("&") if unquote_plus(p.partition("=")[0]) != "key")


def is_loopback(peer: str) -> bool:
    if peer == "127.0.0.1":
        return True
    try:
        address = ip_address(peer)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _is_loopback_host(authority: str) -> bool:
    """One plain host and port: anything else might mean another host to another parser."""
    found = _AUTHORITY.fullmatch(authority.lower())
    if found is None:
        return False
    host = (found[1] or found[2]).rstrip(".")
    return host == "localhost" or host.endswith(".localhost") or is_loopback(host)


class Identifier:
    """Judges callers by the keys of one configuration. `secret` keys the digests of plain keys."""

    def __init__(self, keys: Iterable[Key], secret: bytes) -> None:
        self._secret = secret
        self._plain: dict[bytes, Caller] = {}
        self._hashed: dict[str, tuple[bytes, bytes, Caller]] = {}
        self._named: dict[str, Caller] = {}
        for key in keys:
            role, models = Role(key.role.value), frozenset(key.models)
            caller = Caller(key.name, role, models, key.team, key.tags)
            self._named[key.name] = caller
            if key.key is not None:
                self._plain[_digest(key.key.reveal(), secret)] = caller
            elif key.hash is not None:
                _, lookup, salt, digest = key.hash.split("$")
                self._hashed[lookup] = (bytes.fromhex(salt), bytes.fromhex(digest), caller)
        self.keyless = not self._plain and not self._hashed

    def identify(self, headers: Mapping[str, str], query: str, peer: str) -> Caller:
        """The caller. `headers` are lower-case and hold `:authority` or `host`.

        Raises Unauthenticated, or PermissionDenied for a browser in keyless mode.
        """
        if self.keyless:
            return self._local(headers, peer)
        key = presented_key(headers, query)
        if key is None and headers.get("authorization", "").lower().startswith(_SIGNED):
            raise Unauthenticated(_NO_SIGNATURES, code="signature_not_supported")
        if key is None:
            raise Unauthenticated(f"No API key was given. {_HOW}", code="missing_api_key")
        caller = self._find(key)
        if caller is None:
            raise Unauthenticated(f"The API key is not valid here. {_HOW}", code="invalid_api_key")
        return caller

    def named(self, name: str) -> Caller:
        """Whom this gateway has identified before. Raises Unauthenticated for one whose key is gone."""
        caller = LOCAL if self.keyless and name == LOCAL.name else self._named.get(name)
        if caller is None:
            raise Unauthenticated(f"There is no key `{name}` any more.", code="invalid_api_key")
        return caller

    def administrator(self, headers: Mapping[str, str], query: str, peer: str) -> Caller:
        """As `identify`, and the caller must be an admin."""
        caller = self.identify(headers, query, peer)
        if caller.role is not Role.ADMIN:
            raise PermissionDenied(
                f"Management needs a key with `role: admin`; key `{caller.name}` has none."
            )
        return caller

    def _find(self, key: str) -> Caller | None:
        # The digest of a guess is unpredictable without `secret`, so this look-up leaks no timing.
        caller = self._plain.get(_digest(key, self._secret))
        if caller is not None:
            return caller
        parts = key.split("-", 2)
        entry = self._hashed.get(parts[1]) if len(parts) == 3 else None
        if entry is None:
            return None
        salt, digest, caller = entry
        return caller if hmac.compare_digest(_digest(key, salt), digest) else None

    @staticmethod
    def _local(headers: Mapping[str, str], peer: str) -> Caller:
        if not is_loopback(peer):
            raise Unauthenticated(
                "This gateway has no keys and so serves only this machine. To serve others, run"
                " `sluice keys create --name NAME` and put the line it prints under `keys:` in"
                " sluice.yaml.",
                code="missing_api_key",
            )
        if "origin" in headers:
            raise PermissionDenied(
                "A gateway without keys does not serve web pages (the request has an `Origin`)."
                " Create a key with `sluice keys create`.",
                code="origin_not_allowed",
            )
        host = headers.get(":authority") or headers.get("host", "")
        if not _is_loopback_host(host):
            raise PermissionDenied(
                "A gateway without keys serves only hosts such as localhost and 127.0.0.1."
                " Create a key with `sluice keys create`.",
                code="host_not_allowed",
            )
        return LOCAL
