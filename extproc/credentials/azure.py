"""Tokens of Microsoft Entra, for Azure OpenAI and Claude on Azure.

A source has `async fetch(http) -> Token`, raises `asking.FetchFailed`, and keeps
nothing between two calls. `build` makes a credential of what the configuration
and the variables of Azure's SDKs say: an application, or a managed identity. A resource's own key is no token: it is
`ApiKey(key, "api-key")`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlencode

import httpx

from extproc.config.schema import AzureAuth, Provider
from extproc.credentials import asking
from extproc.credentials.asking import ask
from extproc.credentials.bearer import Token, bearer
from extproc.credentials.fetching import fetched
from extproc.credentials.refresh import Refreshing, Surroundings
from extproc.model.ports import Clock

AUTHORITY = "https://login.microsoftonline.com"
RESOURCE = "https://cognitiveservices.azure.com"
SCOPE = f"{RESOURCE}/.default"
IDENTITY = "http://169.254.169.254"

SIGNS = AzureAuth

_ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """An application that proves itself by `secret`, or by the federated token in `token_file`."""

    tenant: str
    client_id: str
    clock: Clock
    secret: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    scope: str = SCOPE
    authority: str = AUTHORITY

    def __post_init__(self) -> None:
        if (self.secret is None) == (self.token_file is None):
            raise ValueError("an Entra application needs either a secret or a token file")

    async def fetch(self, http: httpx.AsyncClient) -> Token:
        fields = {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "scope": self.scope,
        }
        if self.secret is not None:
            fields["client_secret"] = self.secret
        elif self.token_file is not None:
            fields["client_assertion_type"] = _ASSERTION
            fields["client_assertion"] = await asking.read_secret(self.token_file)
        tenant = quote(self.tenant, safe="")
        url = f"{self.authority.rstrip('/')}/{tenant}/oauth2/v2.0/token"
        now = self.clock.time()
        headers = {"content-type": asking.FORM}
        answer = await ask(http, "POST", url, headers, asking.form(fields))
        return Token(*asking.oauth_token(answer, now))


@dataclass(frozen=True, slots=True)
class ManagedIdentity:
    """The identity of the virtual machine we run on. `client_id` chooses one of several."""

    clock: Clock
    client_id: str | None = None
    resource: str = RESOURCE
    endpoint: str = IDENTITY

    async def fetch(self, http: httpx.AsyncClient) -> Token:
        query = {"api-version": "2018-02-01", "resource": self.resource}
        if self.client_id is not None:
            query["client_id"] = self.client_id
        base = self.endpoint.rstrip("/")
        url = f"{base}/metadata/identity/oauth2/token?{urlencode(query)}"
        now = self.clock.time()
        answer = await ask(http, "GET", url, {"metadata": "true"})
        return Token(*asking.oauth_token(answer, now))


def build(provider: Provider, auth: AzureAuth, around: Surroundings) -> Refreshing[Token]:
    return fetched(provider, source(auth, around.env, around.clock), bearer, around)


def source(
    auth: AzureAuth, env: Mapping[str, str], clock: Clock
) -> ClientCredentials | ManagedIdentity:
    """What `auth` says; where it says nothing at all, what the variables do."""
    client_id = auth.client_id or env.get("AZURE_CLIENT_ID") or None
    if auth == AzureAuth():
        tenant, secret = env.get("AZURE_TENANT_ID"), env.get("AZURE_CLIENT_SECRET") or None
        file = env.get("AZURE_FEDERATED_TOKEN_FILE") if secret is None else None
        token_file = Path(file) if file else None
    else:
        tenant, token_file = auth.tenant, auth.token_file
        secret = auth.client_secret.reveal() if auth.client_secret else None
    if tenant and client_id and (secret is not None or token_file is not None):
        authority = env.get("AZURE_AUTHORITY_HOST") or AUTHORITY
        authority = authority if "://" in authority else f"https://{authority}"
        return ClientCredentials(tenant, client_id, clock, secret, token_file, authority=authority)
    endpoint = env.get("AZURE_POD_IDENTITY_AUTHORITY_HOST") or IDENTITY
    return ManagedIdentity(clock, client_id, endpoint=endpoint)
