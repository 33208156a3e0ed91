"""Entra and Google tokens against played endpoints: right, failing, slow and garbage."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from extproc.credentials import azure, google_token
from extproc.credentials.asking import Answer, FetchFailed, json_object, oauth_token, unix_time
from extproc.credentials.azure import ClientCredentials, ManagedIdentity
from extproc.credentials.bearer import Token, bearer
from extproc.credentials.google_token import MetadataToken, ServiceAccount, service_account
from extproc.model.ports import Signable
from tests.credentials.kit_credentials import Endless, Play, Says, Silence, client, endpoint
from tests.kit import FakeClock

CLOCK = FakeClock()
NOW = CLOCK.unix
SECRET = "client~secret.value"
JWT = "eyJ.federated-secret.sig"
TOKEN = "ya29.token-secret"


def token(value: object = TOKEN, life: object = 3599, kind: str = "Bearer") -> Says:
    reply = {"access_token": value, "expires_in": life, "token_type": kind}
    return Says(200, json.dumps(reply).encode())


def entra(url: str) -> ClientCredentials:
    return ClientCredentials("my-tenant", "app-id", CLOCK, SECRET, authority=url)


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


KEY = rsa.generate_private_key(65537, 2048)
KEY_FILE = {
    "type": "service_account",
    "client_email": "gateway@project.iam.gserviceaccount.com",
    "private_key": pem(KEY),
    "private_key_id": "kid-1",
    "token_uri": "https://oauth2.googleapis.com/token",
}


def google(url: str) -> ServiceAccount:
    return service_account(json.dumps({**KEY_FILE, "token_uri": f"{url}/token"}), CLOCK)


def metadata(url: str) -> MetadataToken:
    return MetadataToken(CLOCK, endpoint=url)


def identity(url: str) -> ManagedIdentity:
    return ManagedIdentity(CLOCK, endpoint=url)


Source = ClientCredentials | ServiceAccount | MetadataToken | ManagedIdentity
SOURCES: list[Callable[[str], Source]] = [entra, identity, google, metadata]


async def fetch(source: Source) -> Token:
    async with client() as http:
        return await source.fetch(http)


async def reason(source: Source) -> str:
    with pytest.raises(FetchFailed) as failed:
        await fetch(source)
    why = str(failed.value)
    assert not any(secret in why for secret in (SECRET, JWT, TOKEN, "PRIVATE", "assertion"))
    return why


async def test_entra_with_a_secret() -> None:
    async with endpoint(token()) as place:
        assert await fetch(entra(place.url)) == Token(TOKEN, NOW + 3599)
        (asked,) = place.asked
    assert (asked.method, asked.target) == ("POST", "/my-tenant/oauth2/v2.0/token")
    assert asked.headers["content-type"] == "application/x-www-form-urlencoded"
    assert asked.form == {
        "grant_type": "client_credentials",
        "client_id": "app-id",
        "scope": "https://cognitiveservices.azure.com/.default",
        "client_secret": SECRET,
    }


async def test_entra_with_a_federated_token(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(JWT)
    async with endpoint(token(life="3599")) as place:
        source = ClientCredentials("t", "app", CLOCK, token_file=file, authority=place.url)
        assert await fetch(source) == Token(TOKEN, NOW + 3599)
        form = place.asked[0].form
    assert form["client_assertion"] == JWT
    assert form["client_assertion_type"].endswith(":jwt-bearer")
    assert "client_secret" not in form


def test_entra_needs_one_proof() -> None:
    for proofs in ({}, {"secret": "s", "token_file": Path("/t")}):
        with pytest.raises(ValueError, match="either a secret or a token file"):
            ClientCredentials("t", "app", CLOCK, **proofs)


async def test_managed_identity() -> None:
    async with endpoint(token(life="86399")) as place:
        source = ManagedIdentity(CLOCK, "app-id", endpoint=place.url)
        assert await fetch(source) == Token(TOKEN, NOW + 86_399)
        (asked,) = place.asked
    assert asked.headers["metadata"] == "true"
    url = urlsplit(asked.target)
    assert url.path == "/metadata/identity/oauth2/token"
    assert parse_qs(url.query) == {
        "api-version": ["2018-02-01"],
        "resource": [azure.RESOURCE],
        "client_id": ["app-id"],
    }


def unpack(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


async def test_google_service_account() -> None:
    async with endpoint(token()) as place:
        assert await fetch(google(place.url)) == Token(TOKEN, NOW + 3599)
        form, url = place.asked[0].form, place.url
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    signed, _, signature = form["assertion"].rpartition(".")
    KEY.public_key().verify(unpack(signature), signed.encode(), PKCS1v15(), SHA256())
    head, claims = (json.loads(unpack(part)) for part in signed.split("."))
    assert head == {"alg": "RS256", "typ": "JWT", "kid": "kid-1"}
    assert claims == {
        "iss": KEY_FILE["client_email"],
        "scope": "https://www.googleapis.com/auth/cloud-platform",
        "aud": f"{url}/token",
        "iat": int(NOW),
        "exp": int(NOW) + 3600,
    }


async def test_google_metadata() -> None:
    async with endpoint(token(life=300)) as place:
        assert await fetch(metadata(place.url)) == Token(TOKEN, NOW + 300)
        (asked,) = place.asked
    assert asked.target == "/computeMetadata/v1/instance/service-accounts/default/token"
    assert asked.headers["metadata-flavor"] == "Google"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not json secret", "JSON object"),
        ("[" * 100_000, "JSON object"),
        ("[1]", "JSON object"),
        (json.dumps({**KEY_FILE, "type": "authorized_user"}), "service_account"),
        (json.dumps({"client_email": "a@b"}), "client_email and private_key"),
        (json.dumps({**KEY_FILE, "private_key": "secret"}), "no RSA key"),
        (json.dumps({**KEY_FILE, "private_key": pem(ec.generate_private_key(ec.SECP256R1()))}), "RSA"),
    ],
    ids=range(7),
)  # fmt: skip
def test_a_key_file_that_is_none(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as raised:
        service_account(text, CLOCK)
    assert "secret" not in str(raised.value)
    assert google_token.SCOPE.endswith("cloud-platform")


GARBAGE: dict[str, tuple[Play, str]] = {
    "a web page": (Says(200, b"<html>"), "no JSON object"),
    "nothing": (Says(200), "no JSON object"),
    "a list": (Says(200, b"[1]"), "no JSON object"),
    "deep": (Says(200, b"[" * 100_000), "no JSON object"),
    "not UTF-8": (Says(200, b'{"access_token":"\xff"}'), "no JSON object"),
    "no token": (Says(200, b'{"expires_in":1}'), "without a usable credential"),
    "token with a line": (token("a\r\nx-evil: 1"), "without a usable credential"),
    "empty token": (token(""), "without a usable credential"),
    "number as token": (token(5), "without a usable credential"),
    "no lifetime": (token(life=None), "lifetime"),
    "true lifetime": (token(life=True), "lifetime"),
    "dead": (token(life=0), "lifetime"),
    "for ever": (token(life="1e300"), "lifetime"),
    "not a number": (token(life="nan"), "lifetime"),
    "of another kind": (token(kind="MAC"), "no bearer token"),
    "endless": (Endless(), "more than 262144 bytes"),
    "cut": (b"HTTP/1.1 200 X\r\ncontent-length: 50\r\n\r\n{", "RemoteProtocolError"),
    "no HTTP": (b"hello\r\n\r\n", "RemoteProtocolError"),
    "redirect": (Says(302, b"", (("location", "http://127.0.0.1:9/"),)), "answered 302"),
    "500": (Says(500, b"oops"), "answered 500"),
    "compressed": (Says(200, b"\x1f\x8b", (("content-encoding", "gzip"),)), "no JSON object"),
}


@pytest.mark.parametrize("name", GARBAGE)
@pytest.mark.parametrize("make", SOURCES)
async def test_garbage_is_told_as_what_it_is(make: Callable[[str], Source], name: str) -> None:
    play, words = GARBAGE[name]
    async with endpoint(play) as place:
        why = await reason(make(place.url))
        assert len(place.asked) == 1
    assert "127.0.0.1" in why
    assert words in why


@pytest.mark.parametrize("make", SOURCES)
async def test_an_error_that_echoes_secrets_is_told_by_known_words_alone(
    make: Callable[[str], Source],
) -> None:
    reply = {
        "error": "invalid_client",
        "error_description": f"AADSTS7000215: Invalid client secret {SECRET} {TOKEN} {JWT}",
    }
    async with endpoint(Says(401, json.dumps(reply).encode())) as place:
        assert await reason(make(place.url)) == (
            "127.0.0.1 answered 401 (invalid_client, AADSTS7000215)"
        )
    async with endpoint(Says(401, json.dumps({"error": SECRET}).encode())) as place:
        assert await reason(make(place.url)) == "127.0.0.1 answered 401"


@pytest.mark.parametrize("make", SOURCES)
async def test_nobody_there_or_nobody_answers(make: Callable[[str], Source]) -> None:
    assert "could not be asked (ConnectError)" in await reason(make("http://127.0.0.1:9"))
    assert "could not be asked" in await reason(make("http://[broken"))
    hasty = httpx.AsyncClient(trust_env=False, timeout=0.05)
    async with endpoint(Silence()) as place, hasty as http:
        with pytest.raises(FetchFailed, match="did not answer in time"):
            await make(place.url).fetch(http)


@given(st.binary(max_size=100) | st.recursive(
    st.none() | st.text() | st.floats() | st.integers(),
    lambda inner: st.dictionaries(
        st.sampled_from(["access_token", "expires_in", "token_type", "error"]), inner
    ),
).map(lambda value: json.dumps(value).encode()), st.sampled_from([200, 400]))  # fmt: skip
def test_no_answer_raises_anything_else(body: bytes, status: int) -> None:
    answer = Answer("host", status, body)
    try:
        value, end = oauth_token(answer, 0)
        assert value.isascii()
        assert end > 0
        assert isinstance(json_object(answer), dict)
    except FetchFailed:
        pass


@given(st.text() | st.datetimes().map(str) | st.none() | st.integers())
def test_no_time_raises_anything_else(value: object) -> None:
    with contextlib.suppress(FetchFailed):
        assert isinstance(unix_time(value, Answer("host", 200, b"")), float)


def test_the_header_of_a_token() -> None:
    request = Signable("POST", "host", "/", {}, b"")
    assert bearer(Token("abc"), request) == {"authorization": "Bearer abc"}


def test_secrets_are_in_no_repr() -> None:
    things = [Token("a-secret", 1.0), entra("http://x"), Answer("h", 200, b"a-secret")]
    for thing in [*things, google("http://x")]:
        assert "secret" not in repr(thing)
        assert "RSAPrivateKey" not in repr(thing)
