"""Two configurations: their names, what differs, and what waits for a restart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from extproc.config.schema import Limits, Log, LogFormat, LogLevel, ProviderTls, Secret, Server
from extproc.supervisor.versions import Differences, Revisions, differences, kept, shown, version
from tests.kit import ALICE, provider, route, settings

ONE = settings(keys=(ALICE,))


def test_a_version_names_what_a_reload_applies() -> None:
    assert version(ONE) == version(settings(keys=(ALICE,)))
    assert len(version(ONE)) == 12
    elsewhere = replace(ONE, server=Server(port=1), workers=7, source="x", warnings=("w",))
    assert version(elsewhere) == version(ONE)
    assert version(Revisions(ONE).of(ONE)) == version(ONE)
    others = [
        settings(keys=()),
        settings(keys=(replace(ALICE, key=Secret("alice-key-0123456780")),)),
        replace(ONE, providers={"acme": provider(models=("gpt-4o",))}),
        replace(ONE, models={}),
        replace(ONE, limits=Limits(idle_timeout=1.0)),
        replace(ONE, files={"ca.pem": "another content"}),
    ]
    assert len({version(one) for one in (ONE, *others)}) == 7


def test_what_is_shown_has_no_secret() -> None:
    hashed = replace(ALICE, key=None, hash="blake2b$12345678$ab$cd")
    told = shown(
        settings(
            keys=(ALICE, hashed),
            providers={"acme": provider(headers={"x-team": Secret("hidden-team")})},
            blocks={"cache": {"url": Secret("redis://:hidden@host")}},
            files={"key.txt": "a hash"},
        )
    )
    text = json.dumps(told)
    for secret in ("alice-key", "provider-secret", "hidden", "ab$cd", "a hash"):
        assert secret not in text
    assert told["keys"][0]["key"] == "***"  # pyright: ignore[reportIndexIssue]
    assert '"models": ["gpt-4o", "gpt-4o-mini"]' in text
    assert "revision" not in text


def test_what_differs_is_named_without_its_value() -> None:
    other = replace(
        ONE,
        providers={
            "acme": provider(api_key=Secret("another-secret")),
            "new": provider("new"),
        },
        models={"slow": route(("acme", "gpt-4o"))},
        keys=(replace(ALICE, models=("fast",)),),
        limits=Limits(idle_timeout=1.0),
        files={"a": "1"},
    )
    found = differences(ONE, other)
    assert found == Differences(
        added=("files.a", "models.slow", "providers.new"),
        removed=("models.fast",),
        changed=("keys.alice.models", "limits.idle_timeout", "providers.acme.api_key"),
    )
    assert str(found).startswith("+files.a +models.slow +providers.new -models.fast keys.alice")
    assert not differences(ONE, replace(ONE, warnings=("w",), source="x"))


def test_what_only_a_start_takes_is_kept_and_named() -> None:
    active = replace(ONE, server=Server(port=4711))
    started = replace(ONE, server=Server(port=0))
    wanted = replace(
        started,
        workers=9,
        server=Server(port=80),
        limits=Limits(body=1024, connections=5, in_flight_bytes=9, idle_timeout=3.0),
        log=Log(level=LogLevel.DEBUG, format=LogFormat.CONSOLE),
    )
    found, restart = kept(active, started, wanted)
    assert restart == (
        "server",
        "workers",
        "limits.body",
        "limits.connections",
        "limits.in_flight_bytes",
        "log.format",
    )
    assert (found.server.port, found.workers) == (4711, ONE.workers)
    assert (found.limits.body, found.limits.idle_timeout) == (ONE.limits.body, 3.0)
    assert (found.log.level, found.log.format) == (LogLevel.DEBUG, ONE.log.format)
    assert kept(active, started, started) == (active, ())


def test_a_provider_that_is_reached_otherwise_gets_a_cluster_of_its_own() -> None:
    revisions = Revisions(ONE)

    def revision(files: dict[str, str] | None = None, **changes: Any) -> int:
        new = replace(ONE, providers={"acme": provider(**changes)}, files=files or {})
        tried = revisions.of(new)
        assert revisions.of(new) == tried
        revisions.used(tried)
        return tried.providers["acme"].revision

    assert revision() == 0
    assert revision(models=("*",), api_key=Secret("x"), timeout=3.0) == 0
    assert revision(endpoint="http://127.0.0.1:9001/v2") == 0
    assert revision(endpoint="http://127.0.0.1:9002/v1") == 1
    assert revision() == 2
    assert revision(proxy="proxy:3128") == 3
    tls = ProviderTls(sni="a")
    assert revision(proxy="proxy:3128", tls=tls) == 4
    assert revision(proxy="proxy:3128", tls=tls, files={"unrelated": "1"}) == 4
    assert revisions.of(replace(ONE, providers={})).providers == {}
    assert revision(proxy="proxy:3128", tls=tls) == 4


def test_another_content_of_a_certificate_is_another_way() -> None:
    tls = ProviderTls(ca=Path("ca.pem"))
    first = replace(ONE, providers={"acme": provider(tls=tls)}, files={"ca.pem": "1"})
    revisions = Revisions(first)
    assert revisions.of(first).providers["acme"].revision == 0
    assert revisions.of(replace(first, files={"ca.pem": "2"})).providers["acme"].revision == 1
