"""Who is calling: keys from everywhere they may be, and from nowhere else."""

from __future__ import annotations

import os

import pytest

from extproc.config.schema import Key, KeyRole, Secret
from extproc.flow.identify import (
    Identifier,
    create_key,
    is_loopback,
    presented_key,
    without_key,
)
from extproc.model.errors import PermissionDenied, Unauthenticated

SECRET = b"k" * 32
PLAIN = "alice-key-0123456789"
LOCAL_HOST = {":authority": "localhost:5055"}


def ring(*keys: Key) -> Identifier:
    return Identifier(keys, SECRET)


def alice(**changes: object) -> Key:
    return Key(name="alice", key=Secret(PLAIN), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ({"authorization": f"Bearer {PLAIN}"}, ""),
        ({"authorization": f"bearer {PLAIN}"}, ""),
        ({"x-api-key": PLAIN}, ""),
        ({"api-key": PLAIN}, ""),
        ({"x-goog-api-key": PLAIN}, ""),
        ({}, f"alt=sse&key={PLAIN}"),
        ({"x-api-key": PLAIN, "authorization": "Bearer wrong"}, ""),
    ],
)
def test_key_is_found_in_each_place(headers: dict[str, str], query: str) -> None:
    assert ring(alice()).identify(headers, query, "192.0.2.1").name == "alice"


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Basic {PLAIN}"},
        {"authorization": PLAIN},
        {"x-key": PLAIN},
        {"cookie": f"key={PLAIN}"},
        {},
    ],
)
def test_key_in_the_wrong_place_is_no_key(headers: dict[str, str]) -> None:
    with pytest.raises(Unauthenticated) as refused:
        ring(alice()).identify(headers, "", "127.0.0.1")
    assert refused.value.code == "missing_api_key"
    assert "sluice keys create" in refused.value.message


def test_wrong_key_is_refused_without_echo() -> None:
    with pytest.raises(Unauthenticated) as refused:
        ring(alice()).identify({"x-api-key": PLAIN + "x"}, "", "127.0.0.1")
    assert refused.value.code == "invalid_api_key"
    assert PLAIN not in str(refused.value)


def test_created_key_is_recognised_by_its_hash_only() -> None:
    key, digest = create_key(os.urandom)
    other, _ = create_key(os.urandom)
    identifier = ring(Key(name="bob", hash=digest, role=KeyRole.ADMIN, models=("gpt-4o",)))
    bob = identifier.identify({"authorization": f"Bearer {key}"}, "", "192.0.2.1")
    assert (bob.name, bob.role.value, bob.models) == ("bob", "admin", frozenset({"gpt-4o"}))
    assert key.split("-")[2] not in digest
    for wrong in (other, key[:-1], "-".join([*key.split("-")[:2], other.split("-")[2]]), "x-y-z"):
        with pytest.raises(Unauthenticated):
            identifier.identify({"x-api-key": wrong}, "", "192.0.2.1")


def test_keyless_serves_loopback_whatever_credential_it_sends() -> None:
    identifier = ring()
    for peer in ("127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"):
        headers = {**LOCAL_HOST, "authorization": "Bearer whatever"}
        assert identifier.identify(headers, "", peer).name == "local"
    for peer in ("192.0.2.1", "10.0.0.1", "::ffff:192.0.2.1", "", "unix"):
        with pytest.raises(Unauthenticated, match="keys create"):
            identifier.identify(LOCAL_HOST, "", peer)


@pytest.mark.parametrize(
    "headers",
    [
        {**LOCAL_HOST, "origin": "https://evil.example"},
        {**LOCAL_HOST, "origin": "null"},
        {":authority": "evil.example"},
        {":authority": "localhost.evil.example:5055"},
        {":authority": "127.0.0.1.evil.example"},
        {":authority": ""},
    ],
)
def test_keyless_refuses_web_pages(headers: dict[str, str]) -> None:
    with pytest.raises(PermissionDenied):
        ring().identify(headers, "", "127.0.0.1")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1:5055", "[::1]:5055", "[::1]"]
)
def test_keyless_serves_loopback_hosts(host: str) -> None:
    assert ring().identify({":authority": host}, "", "127.0.0.1").name == "local"


def test_administrator_needs_the_role() -> None:
    admin = Key(name="root", key=Secret("root-key-0123456789"), role=KeyRole.ADMIN)
    identifier = ring(alice(), admin)
    assert identifier.administrator({"x-api-key": "root-key-0123456789"}, "", "::1").name == "root"
    with pytest.raises(PermissionDenied, match="role: admin"):
        identifier.administrator({"x-api-key": PLAIN}, "", "::1")


def test_key_is_taken_out_of_the_query() -> None:
    assert without_key("a=1&key=secret&b=2") == "a=1&b=2"
    assert without_key("key=1&key=2") == ""
    assert without_key("monkey=1") == "monkey=1"
    assert without_key("%6Bey=secret&x=key=1") == "x=key=1"
    assert presented_key({}, "key=a%2Bb") == "a+b"


def test_loopback_is_judged_by_address_not_by_text() -> None:
    assert not is_loopback("127.0.0.1.evil.example")
    assert not is_loopback("localhost")
