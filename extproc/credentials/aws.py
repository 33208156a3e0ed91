"""Requests to Bedrock, signed with what the configuration and AWS's variables say.

Keys that stand in the environment sign at once; those of a role, a container or
an instance are fetched. The host's name says service and region where it is
AWS's own; elsewhere it is Bedrock in the provider's region.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from extproc.config.schema import AwsAuth, Provider
from extproc.credentials.asking import FetchFailed
from extproc.credentials.aws_sigv4 import AwsKeys, AwsSigned, Scope, SigV4, scope_of
from extproc.credentials.aws_sources import (
    SESSION,
    AssumeRole,
    AwsSource,
    StaticKeys,
    WebIdentity,
    from_environment,
)
from extproc.credentials.fetching import fetched
from extproc.credentials.refresh import Refreshing, Surroundings
from extproc.model.ports import Clock

SIGNS = AwsAuth

_REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class Nowhere:
    """No source at all: the variables forbid the last one that was left."""

    async def fetch(self, http: httpx.AsyncClient) -> AwsKeys:
        del http
        raise FetchFailed("no variable names AWS keys, and AWS_EC2_METADATA_DISABLED is true")


def build(
    provider: Provider, auth: AwsAuth, around: Surroundings
) -> AwsSigned | Refreshing[AwsKeys]:
    region = provider.region or _REGION
    authority = urlsplit(provider.endpoint).netloc.lower()
    scope = scope_of(authority) or Scope("bedrock", region)
    found = source(auth, scope.region, around.env, around.clock)
    if isinstance(found, StaticKeys):
        return AwsSigned(found.keys, scope, around.clock)
    return fetched(provider, found, SigV4(scope, around.clock).sign, around)


def source(auth: AwsAuth, region: str, env: Mapping[str, str], clock: Clock) -> AwsSource:
    """Where keys come from. A role starts from what the variables name."""
    session = auth.session_name or SESSION
    sts = env.get("AWS_ENDPOINT_URL_STS") or None
    if auth.role_arn and auth.web_identity_token_file:
        return WebIdentity(auth.role_arn, auth.web_identity_token_file, region, session, sts)
    base = from_environment(env, region) or Nowhere()
    if auth.role_arn is None:
        return base
    external_id = auth.external_id.reveal() if auth.external_id else None
    return AssumeRole(base, auth.role_arn, region, clock, session, external_id, sts)
