"""SigV4 against AWS' published vectors and against botocore, over generated requests."""

from __future__ import annotations

import datetime as dt
from unittest import mock
from urllib.parse import quote, quote_plus

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from extproc.credentials.aws_sigv4 import AwsKeys, AwsSigned, Scope, SigV4, scope_of
from extproc.model.ports import Signable
from tests.kit import FakeClock

KEYS = AwsKeys("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
VECTOR_TIME = dt.datetime(2015, 8, 30, 12, 36, tzinfo=dt.UTC).timestamp()
FORM = "application/x-www-form-urlencoded"
JSON = {"content-type": "application/json"}
BEDROCK = Scope("bedrock", "us-east-1")
HOST = "bedrock-runtime.us-east-1.amazonaws.com"


def signature(headers: dict[str, str]) -> str:
    return headers["authorization"].rpartition("Signature=")[2]


def request(path: str, body: bytes = b"{}", method: str = "POST") -> Signable:
    return Signable(method, HOST, path, JSON, body)


VECTORS = {
    "get-vanilla": (
        "service",
        Signable("GET", "example.amazonaws.com", "/", {}, b""),
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    ),
    "get-vanilla-query-order-key-case": (
        "service",
        Signable("GET", "example.amazonaws.com", "/?Param2=value2&Param1=value1", {}, b""),
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    "post-x-www-form-urlencoded": (
        "service",
        Signable("POST", "example.amazonaws.com", "/", {"content-type": FORM}, b"Param1=value1"),
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    ),
    "the user guide's ListUsers": (
        "iam",
        Signable(
            "GET",
            "iam.amazonaws.com",
            "/?Action=ListUsers&Version=2010-05-08",
            {"content-type": f"{FORM}; charset=utf-8"},
            b"",
        ),
        "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_published_vectors(name: str) -> None:
    """B2, S1-63"""
    service, asked, expected = VECTORS[name]
    signer = SigV4(Scope(service, "us-east-1"), FakeClock(unix=VECTOR_TIME))
    headers = signer.sign(KEYS, asked)
    assert headers["x-amz-date"] == "20150830T123600Z"
    assert signature(dict(headers)) == expected


def botocore_signs(keys: AwsKeys, scope: Scope, unix: float, asked: Signable) -> dict[str, str]:
    url = f"https://{asked.authority}{asked.path}"
    theirs = AWSRequest(asked.method, url, headers=dict(asked.headers), data=asked.body)
    credentials = Credentials(keys.access, keys.secret, keys.token)
    now = dt.datetime.fromtimestamp(unix, dt.UTC)
    with mock.patch.object(auth, "get_current_datetime", lambda: now):
        auth.SigV4Auth(credentials, scope.service, scope.region).add_auth(theirs)
    return {
        name.lower(): value for name, value in theirs.headers.items() if name not in asked.headers
    }


IDS = st.one_of(
    st.sampled_from(
        [
            "us.anthropic.claude-sonnet-4-20250514-v1:0",
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.vendor.model-v1:0",
            "arn:aws:bedrock:eu-west-1::foundation-model/vendor.model-v1:0",
        ]
    ),
    st.text(min_size=1, max_size=30),
)
PATHS = st.one_of(
    st.builds(lambda i: f"/model/{quote(i, safe='')}/converse", IDS),
    st.builds(lambda i: f"/model/{quote(i, safe=':')}/converse-stream", IDS),
    st.lists(st.sampled_from(["a", "", ".", "..", "%2F", "%3A", ":", "~", "b+c", "é", "%25"])).map(
        lambda parts: "/" + "/".join(parts)
    ),
)
WORDS = st.text(st.sampled_from("ab:/+ %&=é~_-.*"), max_size=5).map(lambda s: quote(s, safe="-_.~"))
QUERIES = st.lists(st.tuples(WORDS, WORDS), max_size=4).map(
    lambda pairs: "&".join(f"{name}={value}" for name, value in pairs)
)
SECRETS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60)


@given(
    path=PATHS,
    query=QUERIES,
    body=st.binary(max_size=64),
    kind=st.sampled_from([{}, JSON, {"content-type": "text/x;  charset=utf-8 "}]),
    keys=st.builds(AwsKeys, SECRETS, SECRETS, st.none() | SECRETS),
    unix=st.integers(1_400_000_000, 2_500_000_000),
    method=st.sampled_from(["GET", "POST", "PUT"]),
    region=st.sampled_from(["us-east-1", "eu-central-1", "cn-north-1"]),
)
def test_trap_55_the_same_headers_as_botocore(
    path: str,
    query: str,
    body: bytes,
    kind: dict[str, str],
    keys: AwsKeys,
    unix: int,
    method: str,
    region: str,
) -> None:
    scope = Scope("bedrock", region)
    asked = Signable(method, HOST, f"{path}?{query}" if query else path, kind, body)
    ours = SigV4(scope, FakeClock(unix=unix + 0.5)).sign(keys, asked)
    assert dict(ours) == botocore_signs(keys, scope, unix, asked)


def test_trap_55_a_colon_is_signed_as_it_is_sent() -> None:
    signer = SigV4(BEDROCK, FakeClock())
    coded = signer.sign(KEYS, request("/model/us.x-v1%3A0/converse"))
    plain = signer.sign(KEYS, request("/model/us.x-v1:0/converse"))
    assert signature(dict(coded)) != signature(dict(plain))


def test_the_headers_that_are_signed() -> None:
    signed = AwsSigned(KEYS, BEDROCK, FakeClock()).headers(request("/model/x/converse"))
    assert "SignedHeaders=content-type;host;x-amz-date," in signed["authorization"]
    assert set(signed) == {"authorization", "x-amz-date"}
    keys = AwsKeys(KEYS.access, KEYS.secret, "session")
    signed = AwsSigned(keys, BEDROCK, FakeClock()).headers(request("/model/x/converse"))
    assert "=content-type;host;x-amz-date;x-amz-security-token," in signed["authorization"]
    assert signed["x-amz-security-token"] == "session"


def test_query_is_signed_in_its_one_form_however_it_is_sent() -> None:
    signer = SigV4(BEDROCK, FakeClock())
    forms = ["/?b=x%3Ay&a", "/?b=x%3ay&a=", "/?a&b=x:y", "/?%61=&b=x%3Ay"]
    assert len({signature(dict(signer.sign(KEYS, request(form)))) for form in forms}) == 1
    assert quote_plus("x:y") == "x%3Ay"


def test_the_key_of_a_day_changes_with_the_day_and_with_the_keys() -> None:
    clock = FakeClock(unix=VECTOR_TIME)
    signer, asked = SigV4(BEDROCK, clock), request("/model/x/converse")
    other = AwsKeys(KEYS.access, "another", "session")
    for _ in range(3):
        for keys in (KEYS, other, KEYS):
            expected = botocore_signs(keys, BEDROCK, clock.time(), asked)
            assert dict(signer.sign(keys, asked)) == expected
        clock.advance(86_400)


@pytest.mark.parametrize(
    ("authority", "scope"),
    [
        (HOST, BEDROCK),
        ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", Scope("bedrock", "us-gov-west-1")),
        ("bedrock-runtime.cn-north-1.amazonaws.com.cn", Scope("bedrock", "cn-north-1")),
        ("bedrock-runtime.eu-west-1.api.aws:443", Scope("bedrock", "eu-west-1")),
        ("bedrock-mantle.us-east-1.api.aws", Scope("bedrock-mantle", "us-east-1")),
        ("vpce-0a-1b.bedrock-runtime.us-east-1.vpce.amazonaws.com", BEDROCK),
        ("127.0.0.1:9001", None),
        ("bedrock-runtime.us-east-1.amazonaws.com.evil.example", None),
        ("api.openai.com", None),
    ],
)
def test_what_a_host_says_of_its_scope(authority: str, scope: Scope | None) -> None:
    assert scope_of(authority) == scope


def test_secrets_are_in_no_repr() -> None:
    keys = AwsKeys("AKIDSECRET", "secret-secret", "token-secret", 5.0)
    assert repr(keys) == "AwsKeys(expires=5.0)"
    for thing in (AwsSigned(keys, BEDROCK, FakeClock()), SigV4(BEDROCK, FakeClock())):
        assert "secret" not in repr(thing).lower()
