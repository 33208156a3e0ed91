"""AWS' key sources against played endpoints, which botocore's own clients must understand too."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import botocore.session
import pytest
from botocore import UNSIGNED
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.utils import ContainerMetadataFetcher, InstanceMetadataFetcher

from extproc.credentials.asking import FetchFailed
from extproc.credentials.aws_sigv4 import AwsKeys
from extproc.credentials.aws_sources import (
    AssumeRole,
    AwsSource,
    Container,
    InstanceMetadata,
    StaticKeys,
    WebIdentity,
    from_environment,
)
from tests.credentials.kit_credentials import Asked, Play, Says, client, endpoint
from tests.kit import FakeClock

ROLE = "arn:aws:iam::123456789012:role/gateway"
END = "2027-01-15T09:00:00Z"
END_UNIX = 1_800_003_600.0
KEYS = AwsKeys("ASIAGOT", "got/secret+key", "got//session==", END_UNIX)
BASE = AwsKeys("AKIDBASE", "base-secret")
JWT = "eyJ.web-identity-secret.sig"


def sts(action: str) -> bytes:
    return f"""<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <{action}Result>
    <AssumedRoleUser><Arn>{ROLE}</Arn><AssumedRoleId>A:sluice</AssumedRoleId></AssumedRoleUser>
    <Credentials>
      <SessionToken>
        got//session==
      </SessionToken>
      <SecretAccessKey>got/secret+key</SecretAccessKey>
      <Expiration>{END}</Expiration>
      <AccessKeyId>ASIAGOT</AccessKeyId>
    </Credentials>
  </{action}Result>
  <ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>
</{action}Response>""".encode()


STS_ERROR = b"""<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>%b</Code><Message>%b</Message></Error><RequestId>1</RequestId></ErrorResponse>"""

METADATA = {
    "Code": "Success",
    "LastUpdated": "2026-11-21T12:00:00Z",
    "Type": "AWS-HMAC",
    "AccessKeyId": "ASIAGOT",
    "SecretAccessKey": "got/secret+key",
    "Token": "got//session==",
    "Expiration": END,
}


async def fetch(source: AwsSource) -> AwsKeys:
    async with client() as http:
        return await source.fetch(http)


async def reason(source: AwsSource) -> str:
    with pytest.raises(FetchFailed) as failed:
        await fetch(source)
    return str(failed.value)


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{JWT}\n")
    return path


async def test_web_identity(token_file: Path) -> None:
    async with endpoint(Says(200, sts("AssumeRoleWithWebIdentity"))) as place:
        source = WebIdentity(ROLE, token_file, "eu-west-1", endpoint=place.url)
        assert await fetch(source) == KEYS
        (asked,) = place.asked
        assert asked.method == "POST"
        assert asked.form == {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": ROLE,
            "RoleSessionName": "sluice",
            "WebIdentityToken": JWT,
        }
        assert "authorization" not in asked.headers


async def test_botocore_asks_sts_the_same_and_reads_the_same(token_file: Path) -> None:
    def theirs(url: str) -> dict[str, str]:
        config = Config(signature_version=UNSIGNED)
        session = botocore.session.Session()
        sts = session.create_client("sts", "eu-west-1", endpoint_url=url, config=config)
        return sts.assume_role_with_web_identity(
            RoleArn=ROLE, RoleSessionName="sluice", WebIdentityToken=JWT
        )["Credentials"]

    async with endpoint(Says(200, sts("AssumeRoleWithWebIdentity"))) as place:
        got = await asyncio.to_thread(theirs, place.url)
        await fetch(WebIdentity(ROLE, token_file, "eu-west-1", endpoint=place.url))
        first, second = place.asked
    assert first.form == second.form
    assert (got["AccessKeyId"], got["SecretAccessKey"]) == (KEYS.access, KEYS.secret)


async def test_a_rotated_token_file_is_read_anew(token_file: Path) -> None:
    async with endpoint(Says(200, sts("AssumeRoleWithWebIdentity"))) as place:
        source = WebIdentity(ROLE, token_file, "eu-west-1", endpoint=place.url)
        await fetch(source)
        token_file.write_text("rotated")
        await fetch(source)
        assert [asked.form["WebIdentityToken"] for asked in place.asked] == [JWT, "rotated"]


@pytest.mark.parametrize("content", [None, "", "two words", "a\nb", "\x00"])
async def test_a_token_file_without_a_token(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    why = await reason(WebIdentity(ROLE, path, "eu-west-1", endpoint="http://127.0.0.1:9"))
    assert str(path) in why


async def test_assume_role_is_signed_as_botocore_signs() -> None:
    def check(asked: Asked) -> Play:
        names = asked.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0]
        headers = {name: asked.headers[name] for name in names.split(";")}
        theirs = AWSRequest("POST", f"http://{headers['host']}/", headers=headers, data=asked.body)
        theirs.context["timestamp"] = headers["x-amz-date"]
        signer = SigV4Auth(Credentials(BASE.access, BASE.secret), "sts", "eu-west-1")
        text = signer.string_to_sign(theirs, signer.canonical_request(theirs))
        right = asked.headers["authorization"].endswith(str(signer.signature(text, theirs)))
        return Says(200, sts("AssumeRole")) if right else Says(403)

    async with endpoint(check) as place:
        source = AssumeRole(
            StaticKeys(BASE), ROLE, "eu-west-1", FakeClock(), external_id="ext", endpoint=place.url
        )
        assert await fetch(source) == KEYS
        assert place.asked[0].form["ExternalId"] == "ext"


def instance(asked: Asked) -> Play:
    base = "/latest/meta-data/iam/security-credentials/"
    if asked.method == "PUT" and asked.target == "/latest/api/token":
        return Says(
            200, asked.headers["x-aws-ec2-metadata-token-ttl-seconds"].encode() + b"-session"
        )
    if asked.headers.get("x-aws-ec2-metadata-token") != "21600-session":
        return Says(401)
    if asked.target == base:
        return Says(200, b"gateway-role", (("content-type", "text/plain"),))
    return (
        Says(200, json.dumps(METADATA).encode())
        if asked.target == f"{base}gateway-role"
        else Says(404)
    )


async def test_instance_metadata_version_2() -> None:
    async with endpoint(instance) as place:
        assert await fetch(InstanceMetadata(place.url)) == KEYS
        assert [asked.method for asked in place.asked] == ["PUT", "GET", "GET"]
        assert await fetch(InstanceMetadata(place.url, "gateway-role")) == KEYS
        assert len(place.asked) == 5
        theirs = InstanceMetadataFetcher(base_url=place.url)
        got = await asyncio.to_thread(theirs.retrieve_iam_role_credentials)
        assert (got["access_key"], got["secret_key"]) == (KEYS.access, KEYS.secret)
        assert got["token"] == KEYS.token


@pytest.mark.parametrize(
    ("break_at", "answer", "words"),
    [
        ("/latest/api/token", Says(403), "403 (no metadata session)"),
        ("/latest/api/token", Says(200, b"a b"), "without a usable credential"),
        ("security-credentials/", Says(404), "404 (the instance has no role)"),
        ("security-credentials/", Says(200, b"<html>"), "no name of a role"),
        ("gateway-role", Says(200, b'{"Code":"Failed"}'), "no keys for the role"),
        ("gateway-role", Says(500), "answered 500"),
        ("gateway-role", Says(200, b'{"AccessKeyId":"A"}'), "without a usable credential"),
    ],
)
async def test_instance_metadata_that_fails(break_at: str, answer: Says, words: str) -> None:
    def play(asked: Asked) -> Play:
        return answer if asked.target.endswith(break_at) else instance(asked)

    async with endpoint(play) as place:
        assert words in await reason(InstanceMetadata(place.url))


async def test_container(token_file: Path) -> None:
    async with endpoint(Says(200, json.dumps(METADATA).encode())) as place:
        url = f"{place.url}/v2/credentials/id"
        assert await fetch(Container(url)) == KEYS
        assert await fetch(Container(url, "plain")) == KEYS
        assert await fetch(Container(url, "plain", token_file)) == KEYS
        sent = [asked.headers.get("authorization") for asked in place.asked]
        assert sent == [None, "plain", JWT]
        theirs = ContainerMetadataFetcher()
        got = await asyncio.to_thread(theirs.retrieve_full_uri, url)
        assert got["AccessKeyId"] == KEYS.access


@pytest.mark.parametrize("code", ["ExpiredTokenException", "got/secret+key", "Unheard"])
async def test_an_error_of_sts_is_told_by_its_code_alone(token_file: Path, code: str) -> None:
    body = STS_ERROR % (code.encode(), JWT.encode())
    async with endpoint(Says(400, body)) as place:
        why = await reason(WebIdentity(ROLE, token_file, "eu-west-1", endpoint=place.url))
    told = " (ExpiredTokenException)" if code == "ExpiredTokenException" else ""
    assert why == f"127.0.0.1 answered 400{told}"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"ASIAGOT", b""),
        (b"ASIAGOT", b"A\r\nx-evil: 1"),
        (b"got/secret+key", "schlüssel".encode()),
        (b"SessionToken>", b"Other>"),
        (END.encode(), b"soon"),
        (END.encode(), b"9999999-01-01T00:00:00Z"),
    ],
)
async def test_keys_that_cannot_be_used(token_file: Path, old: bytes, new: bytes) -> None:
    body = sts("AssumeRoleWithWebIdentity").replace(old, new)
    async with endpoint(Says(200, body)) as place:
        why = await reason(WebIdentity(ROLE, token_file, "eu-west-1", endpoint=place.url))
    assert "credential" in why
    assert "secret+key" not in why


CHOICES = [
    ({"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s"}, StaticKeys(AwsKeys("a", "s"))),
    (
        {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"},
        StaticKeys(AwsKeys("a", "s", "t")),
    ),
    (
        {"AWS_ACCESS_KEY_ID": "", "AWS_ROLE_ARN": ROLE, "AWS_WEB_IDENTITY_TOKEN_FILE": "/t"},
        WebIdentity(ROLE, Path("/t"), "eu-west-1"),
    ),
    (
        {"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/x"},
        Container("http://169.254.170.2/v2/x"),
    ),
    (
        {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://169.254.170.23/v1/credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/t",
        },
        Container("http://169.254.170.23/v1/credentials", None, Path("/t")),
    ),
    ({}, InstanceMetadata()),
    ({"AWS_EC2_METADATA_DISABLED": "true"}, None),
]


@pytest.mark.parametrize(("env", "source"), CHOICES)
def test_the_environment_chooses_as_in_the_sdks(env: dict[str, str], source: AwsSource) -> None:
    assert from_environment(env, "eu-west-1") == source


def test_secrets_are_in_no_repr(token_file: Path) -> None:
    clock = FakeClock()
    keys = AwsKeys("AKID-secret", "key-secret", "token-secret")
    for source in (
        StaticKeys(keys),
        AssumeRole(StaticKeys(keys), ROLE, "eu-west-1", clock, external_id="id-secret"),
        Container("http://127.0.0.1/", "container-secret"),
    ):
        assert "secret" not in repr(source)
