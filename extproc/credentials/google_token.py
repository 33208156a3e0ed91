"""OAuth tokens of Google Cloud, for Gemini and Claude on Vertex.

A source has `async fetch(http) -> Token`, raises `asking.FetchFailed`, and keeps
nothing between two calls. `build` makes a credential of what the configuration
and the variables of Google's SDKs say: a key file, or the machine's own account.
An API key of AI Studio is no token: it is `ApiKey(key, "x-goog-api-key")`. Source: "Using OAuth 2.0 for server to server
applications" and RFC 7523.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from urllib.parse import quote

import httpx
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from extproc.config.schema import GoogleAuth, Provider
from extproc.credentials import asking
from extproc.credentials.asking import FetchFailed, ask
from extproc.credentials.bearer import Token, bearer
from extproc.credentials.fetching import fetched
from extproc.credentials.refresh import Refreshing, Surroundings
from extproc.model.ports import Clock

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105
METADATA = "http://metadata.google.internal"

SIGNS = GoogleAuth

_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LIFE = 3600
"""seconds, the most that Google accepts"""


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """An account that proves itself by a signed assertion. Made by `service_account`."""

    email: str
    key: RSAPrivateKey = field(repr=False)
    clock: Clock
    key_id: str | None = None
    token_uri: str = TOKEN_URI
    scope: str = SCOPE

    async def fetch(self, http: httpx.AsyncClient) -> Token:
        now = self.clock.time()
        fields = {"grant_type": _GRANT, "assertion": self._assertion(int(now))}
        headers = {"content-type": asking.FORM}
        answer = await ask(http, "POST", self.token_uri, headers, asking.form(fields))
        return Token(*asking.oauth_token(answer, now))

    def _assertion(self, now: int) -> str:
        head = {"alg": "RS256", "typ": "JWT"}
        if self.key_id is not None:
            head["kid"] = self.key_id
        claims: dict[str, str | int] = {
            "iss": self.email,
            "scope": self.scope,
            "aud": self.token_uri,
            "iat": now,
            "exp": now + _LIFE,
        }
        signed = f"{_part(head)}.{_part(claims)}"
        signature = self.key.sign(signed.encode(), PKCS1v15(), SHA256())
        return f"{signed}.{_base64(signature)}"


def service_account(text: str, clock: Clock, scope: str = SCOPE) -> ServiceAccount:
    """The account of a key file's JSON. Raises `ValueError`, which quotes nothing of it."""
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ValueError("a service account's key file is a JSON object")
    fields = cast("dict[str, object]", value)
    if fields.get("type", "service_account") != "service_account":
        raise ValueError('the key file is not of "type": "service_account"')
    email, pem = fields.get("client_email"), fields.get("private_key")
    if not isinstance(email, str) or not isinstance(pem, str):
        raise ValueError("a service account's key file needs client_email and private_key")
    key_id, token_uri = fields.get("private_key_id"), fields.get("token_uri", TOKEN_URI)
    return ServiceAccount(
        email,
        _rsa_key(pem),
        clock,
        key_id if isinstance(key_id, str) else None,
        token_uri if isinstance(token_uri, str) else TOKEN_URI,
        scope,
    )


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A service account by its key file, read anew each time since keys are rotated."""

    path: Path
    clock: Clock

    async def fetch(self, http: httpx.AsyncClient) -> Token:
        try:
            text = await asyncio.to_thread(self.path.read_text)
            account = service_account(text, self.clock)
        except OSError as error:
            raise FetchFailed(f"cannot read {self.path} ({type(error).__name__})") from None
        except ValueError as error:
            raise FetchFailed(f"{self.path}: {error}") from None
        return await account.fetch(http)


@dataclass(frozen=True, slots=True)
class MetadataToken:
    """The account of the machine, pod or function we run on."""

    clock: Clock
    account: str = "default"
    endpoint: str = METADATA

    async def fetch(self, http: httpx.AsyncClient) -> Token:
        account = quote(self.account, safe="@")
        base = self.endpoint.rstrip("/")
        url = f"{base}/computeMetadata/v1/instance/service-accounts/{account}/token"
        now = self.clock.time()
        answer = await ask(http, "GET", url, {"metadata-flavor": "Google"})
        return Token(*asking.oauth_token(answer, now))


def build(provider: Provider, auth: GoogleAuth, around: Surroundings) -> Refreshing[Token]:
    return fetched(provider, source(auth, around.env, around.clock), bearer, around)


def source(auth: GoogleAuth, env: Mapping[str, str], clock: Clock) -> KeyFile | MetadataToken:
    """What `auth` says, then what the variables do; else the machine's own account."""
    variable = env.get("GOOGLE_APPLICATION_CREDENTIALS")
    path = auth.credentials_file or (Path(variable) if variable else None)
    if path is not None:
        return KeyFile(path, clock)
    host = env.get("GCE_METADATA_HOST")
    return MetadataToken(clock, endpoint=f"http://{host}" if host else METADATA)


def _rsa_key(pem: str) -> RSAPrivateKey:
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("private_key is no RSA key in PEM without a password")
    return key


def _part(value: object) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
