"""Which way of signing a provider's `auth:` and its surroundings mean.

Takes checked values, gives an `Auth`, notes what does not go together. Keys of
AWS and accounts of Google that stand in the environment are used for their own
hosts alone, unless the file asks for more. Pure.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from msgspec import Struct

from extproc.config.findings import Findings, KeyPath
from extproc.config.schema import Auth, AwsAuth, AzureAuth, GoogleAuth, KeyAuth

AWS_HOSTS = (
    ".amazonaws.com",
    ".amazonaws.com.cn",
    ".api.aws",
    ".api.amazonwebservices.com.cn",
)
GOOGLE_HOSTS = (".googleapis.com",)


class AuthDraft(Struct, frozen=True, kw_only=True):
    """The block form: one of them."""

    aws: AwsAuth | None = None
    azure: AzureAuth | None = None
    google: GoogleAuth | None = None


def resolve(
    path: KeyPath, draft: str | AuthDraft | None, variant: str, endpoint: str, found: Findings
) -> Auth:
    """How requests to the provider at `path` are signed."""
    with_key = next((key for key in ("api_key", "api_keys") if found.has(*path, key)), None)
    if draft is None:
        return KeyAuth() if with_key else _by_host(variant, endpoint)
    if draft == "api_key":
        if not with_key:
            found.at((*path, "auth"), "`api_key:` is missing, expected it with `auth: api_key`")
        return KeyAuth()
    if with_key:
        message = f"found `{with_key}:` and another `auth:`, expected one of them"
        found.at((*path, with_key), message)
    match draft:
        case "aws":
            return AwsAuth()
        case "azure":
            return AzureAuth()
        case "google":
            return GoogleAuth()
        case AuthDraft(aws=AwsAuth() as aws):
            _aws((*path, "auth", "aws"), found)
            return aws
        case AuthDraft(azure=AzureAuth() as azure):
            _azure((*path, "auth", "azure"), found)
            return azure
        case AuthDraft(google=GoogleAuth() as google):
            return google
        case _:
            return KeyAuth()


def _by_host(variant: str, endpoint: str) -> Auth:
    host = urlsplit(endpoint).hostname or ""
    if variant == "bedrock" and host.endswith(AWS_HOSTS):
        return AwsAuth()
    if variant == "vertex" and host.endswith(GOOGLE_HOSTS):
        return GoogleAuth()
    return KeyAuth()


def _aws(path: KeyPath, found: Findings) -> None:
    for key in ("session_name", "external_id", "web_identity_token_file"):
        if found.has(*path, key) and not found.has(*path, "role_arn"):
            found.at((*path, key), f"found `{key}:` without `role_arn:`, expected both")
    if found.has(*path, "external_id") and found.has(*path, "web_identity_token_file"):
        message = "found `external_id:` with `web_identity_token_file:`, which cannot carry it"
        found.at((*path, "external_id"), message)


def _azure(path: KeyPath, found: Findings) -> None:
    proofs = [key for key in ("client_secret", "token_file") if found.has(*path, key)]
    if len(proofs) == 2:
        message = "found `token_file:` and `client_secret:`, expected one of them"
        found.at((*path, "token_file"), message)
    if not proofs and not found.has(*path, "tenant"):
        return
    lacks = [key for key in ("tenant", "client_id") if not found.has(*path, key)]
    lacks += [] if proofs else ["client_secret"]
    if lacks:
        message = f"`{lacks[0]}:` is missing, expected an application's `tenant:`, `client_id:`"
        found.at(path, f"{message}, and `client_secret:` or `token_file:`")
