"""Where AWS keys come from: the environment, STS, a container's or an instance's metadata.

Each source has `async fetch(http) -> AwsKeys`, raises `asking.FetchFailed`, and
keeps nothing between two calls. Endpoints can be replaced. `from_environment`
chooses as the AWS SDKs do. Profile files, single sign-on and credential
processes are not read: a gateway has no home folder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

import httpx

from extproc.credentials import asking
from extproc.credentials.asking import Answer, FetchFailed, ask
from extproc.credentials.aws_sigv4 import AwsKeys, Scope, SigV4
from extproc.model.ports import Clock, Signable

SESSION = "sluice"
ECS = "http://169.254.170.2"
INSTANCE = "http://169.254.169.254"

_STS_VERSION = "2011-06-15"
_STS_WORDS = frozenset(
    {
        "AccessDenied",
        "ExpiredToken",
        "ExpiredTokenException",
        "IDPCommunicationError",
        "IDPRejectedClaim",
        "InvalidClientTokenId",
        "InvalidIdentityToken",
        "RegionDisabledException",
        "SignatureDoesNotMatch",
        "Throttling",
        "ValidationError",
    }
)
_IMDS_TTL = "21600"
_ROLE = re.compile(r"[\w+=,.@-]{1,128}", re.ASCII)


class AwsSource(Protocol):
    async def fetch(self, http: httpx.AsyncClient) -> AwsKeys:
        """Keys that are good now. Raises `FetchFailed`."""
        ...


@dataclass(frozen=True, slots=True)
class StaticKeys:
    """Keys that were written down, as a source like the others: what `AssumeRole` starts from."""

    keys: AwsKeys

    async def fetch(self, http: httpx.AsyncClient) -> AwsKeys:
        del http
        return self.keys


@dataclass(frozen=True, slots=True)
class WebIdentity:
    """STS AssumeRoleWithWebIdentity: what a Kubernetes service account (IRSA) uses."""

    role_arn: str
    token_file: Path
    region: str
    session: str = SESSION
    endpoint: str | None = None

    async def fetch(self, http: httpx.AsyncClient) -> AwsKeys:
        fields = {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": _STS_VERSION,
            "RoleArn": self.role_arn,
            "RoleSessionName": self.session,
            "WebIdentityToken": await asking.read_secret(self.token_file),
        }
        url = self.endpoint or _sts(self.region)
        headers = {"content-type": asking.FORM}
        return _sts_keys(await ask(http, "POST", url, headers, asking.form(fields)))


@dataclass(frozen=True, slots=True)
class AssumeRole:
    """STS AssumeRole: another role, often of another account, reached with the keys of `base`."""

    base: AwsSource
    role_arn: str
    region: str
    clock: Clock
    session: str = SESSION
    external_id: str | None = field(default=None, repr=False)
    endpoint: str | None = None

    async def fetch(self, http: httpx.AsyncClient) -> AwsKeys:
        keys = await self.base.fetch(http)
        fields = {
            "Action": "AssumeRole",
            "Version": _STS_VERSION,
            "RoleArn": self.role_arn,
            "RoleSessionName": self.session,
        }
        if self.external_id is not None:
            fields["ExternalId"] = self.external_id
        url = httpx.URL(self.endpoint or _sts(self.region))
        headers = {"content-type": asking.FORM, "host": url.netloc.decode()}
        body = asking.form(fields)
        request = Signable("POST", headers["host"], url.raw_path.decode(), headers, body)
        signed = SigV4(Scope("sts", self.region), self.clock).sign(keys, request)
        return _sts_keys(await ask(http, "POST", str(url), {**headers, **signed}, body))


@dataclass(frozen=True, slots=True)
class Container:
    """The endpoint that ECS and EKS Pod Identity give a container.

    `token` or the content of `token_file` goes out as `authorization`, where there is one.
    """

    url: str
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None

    async def fetch(self, http: httpx.AsyncClient) -> AwsKeys:
        token = self.token
        if self.token_file is not None:
            token = await asking.read_secret(self.token_file)
        headers = {"accept": "application/json"}
        if token is not None:
            headers["authorization"] = token
        return _metadata_keys(await ask(http, "GET", self.url, headers))


@dataclass(frozen=True, slots=True)
class InstanceMetadata:
    """EC2 instance metadata, version 2 only. `role` None: the one that the instance has."""

    endpoint: str = INSTANCE
    role: str | None = None

    async def fetch(self, http: httpx.AsyncClient) -> AwsKeys:
        base = self.endpoint.rstrip("/")
        ttl = {"x-aws-ec2-metadata-token-ttl-seconds": _IMDS_TTL}
        session = await ask(http, "PUT", f"{base}/latest/api/token", ttl)
        if session.status != 200:
            raise session.failed("no metadata session")
        text = session.body.decode("latin-1").strip()
        headers = {"x-aws-ec2-metadata-token": asking.secret_text(text, session)}
        roles = f"{base}/latest/meta-data/iam/security-credentials/"
        role = self.role or await _role(http, roles, headers)
        return _metadata_keys(await ask(http, "GET", roles + quote(role, safe=""), headers))


def from_environment(env: Mapping[str, str], region: str) -> AwsSource | None:
    """The source that the variables of the AWS SDKs name; an instance's role where they name none.

    None where they forbid even that. An empty variable is none.
    """
    endpoint = env.get("AWS_ENDPOINT_URL_STS") or None
    if (access := env.get("AWS_ACCESS_KEY_ID")) and (secret := env.get("AWS_SECRET_ACCESS_KEY")):
        return StaticKeys(AwsKeys(access, secret, env.get("AWS_SESSION_TOKEN") or None))
    role, file = env.get("AWS_ROLE_ARN"), env.get("AWS_WEB_IDENTITY_TOKEN_FILE")
    if role and file:
        session = env.get("AWS_ROLE_SESSION_NAME") or SESSION
        return WebIdentity(role, Path(file), region, session, endpoint)
    relative = env.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
    url = f"{ECS}{relative}" if relative else env.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
    if url:
        token_file = env.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
        return Container(
            url,
            env.get("AWS_CONTAINER_AUTHORIZATION_TOKEN") or None,
            Path(token_file) if token_file else None,
        )
    if env.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return None
    return InstanceMetadata(env.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or INSTANCE)


def _sts(region: str) -> str:
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://sts.{region}.{suffix}/"


def _sts_keys(answer: Answer) -> AwsKeys:
    """STS answers XML of a fixed shape, whose values hold no markup: no parser is needed."""
    if answer.status != 200:
        word = _element(answer, "Code") or ""
        raise answer.failed(word if word in _STS_WORDS else "")
    return AwsKeys(
        asking.secret_text(_element(answer, "AccessKeyId"), answer),
        asking.secret_text(_element(answer, "SecretAccessKey"), answer),
        asking.secret_text(_element(answer, "SessionToken"), answer),
        asking.unix_time(_element(answer, "Expiration"), answer),
    )


def _element(answer: Answer, name: str) -> str | None:
    found = re.search(rb"<%b>\s*([^<]*?)\s*</%b>" % (name.encode(), name.encode()), answer.body)
    return found[1].decode("latin-1") if found else None


async def _role(http: httpx.AsyncClient, url: str, headers: Mapping[str, str]) -> str:
    answer = await ask(http, "GET", url, headers)
    if answer.status != 200:
        raise answer.failed("the instance has no role")
    role = answer.body.decode("latin-1").strip()
    if not _ROLE.fullmatch(role):
        raise FetchFailed(f"{answer.host} answered no name of a role")
    return role


def _metadata_keys(answer: Answer) -> AwsKeys:
    if answer.status != 200:
        raise answer.failed()
    fields = asking.json_object(answer)
    if fields.get("Code", "Success") != "Success":
        raise FetchFailed(f"{answer.host} has no keys for the role")
    return AwsKeys(
        asking.secret_text(fields.get("AccessKeyId"), answer),
        asking.secret_text(fields.get("SecretAccessKey"), answer),
        asking.secret_text(fields.get("Token"), answer),
        asking.unix_time(fields.get("Expiration"), answer),
    )
