"""From a provider's settings to signed requests: every way, and the loops that keep them fresh."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from extproc import discover
from extproc.config.schema import Auth, AwsAuth, AzureAuth, GoogleAuth, KeyAuth, Provider, Secret
from extproc.credentials.aws_sigv4 import AwsKeys, AwsSigned, Scope
from extproc.credentials.fetching import kept_fresh
from extproc.credentials.refresh import CODE, Refreshing, Surroundings
from extproc.model.errors import Overloaded
from extproc.model.ports import Credential, Signable
from tests.credentials.kit_credentials import Play, Says, Silence, Time, endpoint

BODY = b'{"messages":[]}'
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDENV", "AWS_SECRET_ACCESS_KEY": "env-secret"}
ROLE = "arn:aws:iam::123456789012:role/gateway"
TOKEN = Says(body=b'{"access_token":"fetched","expires_in":3600,"token_type":"Bearer"}')
DEADLINE = 5


@dataclass
class World:
    """What a credential is made with, and what was said of failures."""

    env: Mapping[str, str] = field(default_factory=dict[str, str])
    time: Time = field(default_factory=Time)
    heard: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def around(self) -> Surroundings:
        def hear(provider: str, reason: str, pause: float) -> None:
            self.heard.append((provider, reason))

        return replace(self.time.around(), env=self.env, on_failure=hear)

    def credential(self, auth: Auth, **settings: Any) -> Credential:
        return discover.credential(provider(auth, **settings), self.around())


def provider(auth: Auth, **settings: Any) -> Provider:
    usual: dict[str, Any] = {"name": "acme", "dialect": "openai_chat", "endpoint": "http://a"}
    return Provider(**{**usual, "auth": auth, **settings})


def headers(credential: Credential, authority: str = "a") -> Mapping[str, str]:
    kind = {"content-type": "application/json"}
    return credential.headers(Signable("POST", authority, "/model/x/converse", kind, BODY))


def refusal(credential: Credential) -> Overloaded:
    with pytest.raises(Overloaded) as refused:
        headers(credential)
    assert refused.value.code == CODE
    return refused.value


def test_every_way_of_signing_has_its_file() -> None:
    for auth in (KeyAuth(), AwsAuth(), AzureAuth(), GoogleAuth()):
        assert World().credential(auth) is not None


@pytest.mark.parametrize(
    ("dialect", "variant", "expected"),
    [
        ("openai_chat", "", {"authorization": "Bearer k3y"}),
        ("openai_responses", "", {"authorization": "Bearer k3y"}),
        ("openai_chat", "azure", {"api-key": "k3y"}),
        ("anthropic_messages", "", {"x-api-key": "k3y"}),
        ("gemini_generate", "", {"x-goog-api-key": "k3y"}),
        ("gemini_generate", "vertex", {"x-goog-api-key": "k3y"}),
        ("bedrock_converse", "bedrock", {"authorization": "Bearer k3y"}),
        ("anthropic_messages", "bedrock", {"authorization": "Bearer k3y"}),
        ("cohere_chat", "", {"authorization": "Bearer k3y"}),
        ("ollama_chat", "", {"authorization": "Bearer k3y"}),
    ],
)
def test_a_key_goes_where_the_provider_looks(
    dialect: str, variant: str, expected: dict[str, str]
) -> None:
    settings = {"dialect": dialect, "variant": variant}
    credential = World().credential(KeyAuth(), api_key=Secret("k3y"), **settings)
    assert headers(credential) == expected
    assert headers(World().credential(KeyAuth(), **settings)) == {}


@pytest.mark.parametrize(
    ("url", "region", "service", "signed_for"),
    [
        ("https://bedrock-runtime.eu-west-1.amazonaws.com", "us-east-1", "bedrock", "eu-west-1"),
        ("https://bedrock-mantle.eu-west-1.api.aws/anthropic", None, "bedrock-mantle", "eu-west-1"),
        ("http://127.0.0.1:9001", "eu-west-2", "bedrock", "eu-west-2"),
    ],
)
def test_keys_of_the_environment_sign_at_once(
    url: str, region: str | None, service: str, signed_for: str
) -> None:
    world = World(KEYS)
    credential = world.credential(AwsAuth(), endpoint=url, region=region)
    oracle = AwsSigned(
        AwsKeys("AKIDENV", "env-secret"), Scope(service, signed_for), world.time.clock
    )
    assert headers(credential) == headers(oracle)
    assert f"/{signed_for}/{service}/aws4_request" in headers(credential)["authorization"]


STS = b"""<R><AccessKeyId>ASIA%d</AccessKeyId><SecretAccessKey>s</SecretAccessKey>
<SessionToken>session</SessionToken><Expiration>2027-01-15T09:00:00Z</Expiration></R>"""


@pytest.mark.parametrize("web", [False, True])
async def test_a_role_of_aws(web: bool, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("web.identity.token")
    auth = AwsAuth(
        role_arn=ROLE,
        session_name="mine",
        external_id=None if web else Secret("ours"),
        web_identity_token_file=token if web else None,
    )
    async with endpoint(Says(body=STS % 1)) as sts:
        world = World({**({} if web else KEYS), "AWS_ENDPOINT_URL_STS": sts.url})
        credential = world.credential(auth, region="eu-west-1")
        assert "being fetched" in refusal(credential).message
        async with kept_fresh([credential], DEADLINE):
            signed = headers(credential)
    (asked,) = sts.asked
    assert asked.form["RoleSessionName"] == "mine"
    assert asked.form.get("ExternalId") == (None if web else "ours")
    assert asked.form.get("WebIdentityToken") == ("web.identity.token" if web else None)
    assert "Credential=ASIA1/" in signed["authorization"]
    assert signed["x-amz-security-token"] == "session"


async def test_aws_without_any_source_says_so() -> None:
    world = World({"AWS_EC2_METADATA_DISABLED": "true"})
    credential = world.credential(AwsAuth())
    async with kept_fresh([credential], DEADLINE):
        assert "no variable names AWS keys" in refusal(credential).message
    assert [name for name, _ in world.heard] == ["acme"]


ENTRA = {
    "AZURE_TENANT_ID": "tenant-1",
    "AZURE_CLIENT_ID": "env-app",
    "AZURE_CLIENT_SECRET": "env-secret",
}


@pytest.mark.parametrize(
    ("auth", "env", "client_id", "secret"),
    [
        (AzureAuth(), ENTRA, "env-app", "env-secret"),
        (
            AzureAuth(tenant="tenant-1", client_id="app", client_secret=Secret("s3")),
            ENTRA,
            "app",
            "s3",
        ),
    ],
    ids=["environment", "file"],
)
async def test_an_application_of_entra(
    auth: AzureAuth, env: dict[str, str], client_id: str, secret: str
) -> None:
    async with endpoint(TOKEN) as entra:
        credential = World({**env, "AZURE_AUTHORITY_HOST": entra.url}).credential(auth)
        async with kept_fresh([credential], DEADLINE):
            assert headers(credential) == {"authorization": "Bearer fetched"}
    (asked,) = entra.asked
    assert asked.target == "/tenant-1/oauth2/v2.0/token"
    assert (asked.form["client_id"], asked.form["client_secret"]) == (client_id, secret)


@pytest.mark.parametrize(
    ("auth", "env", "client"),
    [
        (AzureAuth(), {}, ""),
        (AzureAuth(client_id="mine"), {}, "&client_id=mine"),
        (AzureAuth(), {"AZURE_CLIENT_ID": "env-id"}, "&client_id=env-id"),
        (AzureAuth(client_id="mine"), ENTRA, "&client_id=mine"),
    ],
)
async def test_a_managed_identity(auth: AzureAuth, env: dict[str, str], client: str) -> None:
    async with endpoint(TOKEN) as metadata:
        world = World({**env, "AZURE_POD_IDENTITY_AUTHORITY_HOST": metadata.url})
        credential = world.credential(auth)
        async with kept_fresh([credential], DEADLINE):
            assert headers(credential) == {"authorization": "Bearer fetched"}
    (asked,) = metadata.asked
    assert asked.target.startswith("/metadata/identity/oauth2/token?api-version=")
    assert asked.target.endswith(f"cognitiveservices.azure.com{client}")


async def test_a_federated_token_of_the_environment(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("federated.token")
    async with endpoint(TOKEN) as entra:
        env = {
            "AZURE_TENANT_ID": "tenant-1",
            "AZURE_CLIENT_ID": "env-app",
            "AZURE_FEDERATED_TOKEN_FILE": str(token),
            "AZURE_AUTHORITY_HOST": entra.url,
        }
        async with kept_fresh([World(env).credential(AzureAuth())], DEADLINE):
            pass
    assert entra.asked[0].form["client_assertion"] == "federated.token"


@pytest.fixture(scope="module")
def pem() -> str:
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def account(path: Path, pem: str, url: str) -> None:
    fields = {"client_email": "a@acme.example", "private_key": pem, "token_uri": f"{url}/token"}
    path.write_text(json.dumps(fields))


@pytest.mark.parametrize("named", ["file", "environment"])
async def test_a_key_file_of_google(named: str, pem: str, tmp_path: Path) -> None:
    path = tmp_path / "account.json"
    env = {"GOOGLE_APPLICATION_CREDENTIALS": str(path)} if named == "environment" else {}
    auth = GoogleAuth(credentials_file=path if named == "file" else None)
    async with endpoint(TOKEN) as google:
        account(path, pem, google.url)
        credential = World(env).credential(auth)
        async with kept_fresh([credential], DEADLINE):
            assert headers(credential) == {"authorization": "Bearer fetched"}
    assert google.asked[0].target == "/token"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "cannot read"),
        ("not json", "a service account's key file is a JSON object"),
        (
            '{"client_email": "a", "private_key": "k3y-not-to-be-repeated"}',
            "private_key is no RSA key",
        ),
    ],
)
async def test_a_key_file_that_does_not_serve(text: str | None, why: str, tmp_path: Path) -> None:
    path = tmp_path / "account.json"
    if text is not None:
        path.write_text(text)
    world = World()
    credential = world.credential(GoogleAuth(credentials_file=path))
    async with kept_fresh([credential], DEADLINE):
        assert why in refusal(credential).message
    assert "not-to-be-repeated" not in str(world.heard)


async def test_google_s_metadata_server() -> None:
    async with endpoint(TOKEN) as metadata:
        env = {"GCE_METADATA_HOST": f"127.0.0.1:{metadata.port}"}
        credential = World(env).credential(GoogleAuth())
        async with kept_fresh([credential], DEADLINE):
            assert headers(credential) == {"authorization": "Bearer fetched"}
    assert metadata.asked[0].headers["metadata-flavor"] == "Google"


async def test_https_goes_through_the_provider_s_proxy() -> None:
    auth = AzureAuth(tenant="t", client_id="app", client_secret=Secret("s3"))
    async with endpoint(Says(502)) as proxy:
        env = {"AZURE_AUTHORITY_HOST": "login.example"}
        credential = World(env).credential(auth, proxy=f"127.0.0.1:{proxy.port}")
        async with kept_fresh([credential], DEADLINE):
            assert "login.example could not be asked" in refusal(credential).message
    assert [(asked.method, asked.target) for asked in proxy.asked] == [
        ("CONNECT", "login.example:443")
    ]


async def test_metadata_is_asked_directly_whatever_the_proxy() -> None:
    async with endpoint(TOKEN) as metadata, endpoint(Says(502)) as proxy:
        env = {"GCE_METADATA_HOST": f"127.0.0.1:{metadata.port}"}
        credential = World(env).credential(GoogleAuth(), proxy=f"127.0.0.1:{proxy.port}")
        async with kept_fresh([credential], DEADLINE):
            assert headers(credential) == {"authorization": "Bearer fetched"}
    assert proxy.asked == []


async def test_the_environment_s_proxy_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    async with endpoint(TOKEN) as metadata, endpoint(Says(502)) as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        env = {"GCE_METADATA_HOST": f"127.0.0.1:{metadata.port}"}
        credential = World(env).credential(GoogleAuth())
        async with kept_fresh([credential], DEADLINE):
            assert headers(credential) == {"authorization": "Bearer fetched"}
    assert proxy.asked == []


async def test_a_failure_is_a_refusal_with_its_reason_and_is_heard() -> None:
    says: Iterator[Play] = iter([Says(403, b'{"error":"invalid_client"}'), TOKEN])
    async with endpoint(lambda asked: next(says)) as metadata:
        world = World({"GCE_METADATA_HOST": f"127.0.0.1:{metadata.port}"})
        credential = world.credential(GoogleAuth())
        async with kept_fresh([credential], DEADLINE):
            refused = refusal(credential)
            assert refused.status == 503
            assert "127.0.0.1 answered 403 (invalid_client)" in refused.message
            await world.time.advance(1)
            await world.time.quiet()
            assert headers(credential) == {"authorization": "Bearer fetched"}
    assert world.heard == [("acme", "127.0.0.1 answered 403 (invalid_client)")]


async def test_who_does_not_answer_holds_nobody_up() -> None:
    async with endpoint(Silence()) as metadata:
        world = World({"GCE_METADATA_HOST": f"127.0.0.1:{metadata.port}"})
        credential = world.credential(GoogleAuth())
        async with asyncio.timeout(DEADLINE), kept_fresh([credential], 0.01):
            assert "being fetched" in refusal(credential).message
            await metadata.arrived.wait()


async def test_nothing_runs_before_and_after() -> None:
    async with endpoint(TOKEN) as metadata:
        world = World({"GCE_METADATA_HOST": f"127.0.0.1:{metadata.port}"})
        credential = world.credential(GoogleAuth())
        assert isinstance(credential, Refreshing)
        before = asyncio.all_tasks()
        fixed = world.credential(KeyAuth(), api_key=Secret("k3y"))
        async with kept_fresh([credential, fixed], DEADLINE):
            assert len(metadata.asked) == 1
            assert credential.status.usable
        assert asyncio.all_tasks() - metadata.serving == before - metadata.serving


async def test_the_body_s_own_error_comes_out_as_it_is() -> None:
    async with endpoint(TOKEN) as metadata:
        world = World({"GCE_METADATA_HOST": f"127.0.0.1:{metadata.port}"})
        with pytest.raises(KeyError):
            async with kept_fresh([world.credential(GoogleAuth())], DEADLINE):
                raise KeyError("mine")
