"""A provider with several keys: how they are written, what they are called, which are left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from extproc.config.load import decode, encode, load
from extproc.config.report import check_report
from extproc.config.schema import ApiKey, AwsAuth, KeyAuth, Provider, Secret, Settings
from extproc.supervisor.versions import differences, shown, version

FIRST, SECOND, THIRD = "first-0123", "second-0123", "third-0123"
ENV = {"A": FIRST, "B": SECOND}


def loads(folder: Path, keys: str, name: str = "openai", **env: str) -> Settings:
    file = folder / "sluice.yaml"
    file.write_text(f"providers: {{{name}: {{api_keys: {keys}}}}}")
    return load(file, {**ENV, **env})


def one(folder: Path, keys: str, name: str = "openai", **env: str) -> Provider:
    return loads(folder, keys, name, **env).providers[name]


def test_each_way_to_write_one(tmp_path: Path) -> None:
    secret = tmp_path / "third"
    secret.write_text(f"{THIRD}\n")
    secret.chmod(0o600)
    block = "{key: '${B}', name: b, weight: 3}"
    provider = one(tmp_path, f"['${{A}}', {block}, {{file: third}}]")
    assert provider.api_keys == (
        ApiKey(name="1", key=Secret(FIRST)),
        ApiKey(name="b", key=Secret(SECOND), weight=3.0),
        ApiKey(name="3", key=Secret(THIRD)),
    )
    assert (provider.api_key, provider.auth, provider.unavailable) == (None, KeyAuth(), None)
    deep = one(tmp_path, "[{key: {file: third}, name: c}, '${A}']")
    assert [key.name for key in deep.api_keys] == ["c", "2"]


def test_one_of_a_list_is_the_only_one(tmp_path: Path) -> None:
    provider = one(tmp_path, "[{key: '${A}', name: a, weight: 2}]")
    assert (provider.api_key, provider.api_keys) == (Secret(FIRST), ())


def test_those_that_are_not_there_are_done_without(tmp_path: Path) -> None:
    settings = loads(tmp_path, "['${A}', {key: '${GONE}', name: g}, '${B}', '${EMPTY}']", EMPTY="")
    provider = settings.providers["openai"]
    assert [key.name for key in provider.api_keys] == ["1", "3"], "the others keep their names"
    assert provider.unavailable is None
    assert settings.warnings == (
        "providers.openai.api_keys[1].key: GONE is not set, so the provider does without this key",
        "providers.openai.api_keys[3]: EMPTY is empty, so the provider does without this key",
    )
    provider = one(tmp_path, "['${GONE}', '${B}']")
    assert (provider.api_key, provider.api_keys) == (Secret(SECOND), ())


def test_without_any_it_is_unavailable(tmp_path: Path) -> None:
    settings = loads(tmp_path, "['${GONE}', {key: '${AWAY}'}]", OPENAI_API_KEY=FIRST)
    provider = settings.providers["openai"]
    assert provider.unavailable == "api_keys[0]: GONE is not set; api_keys[1].key: AWAY is not set"
    assert (provider.api_key, provider.api_keys, settings.warnings) == (None, (), ())


def test_the_environment_adds_none(tmp_path: Path) -> None:
    provider = one(tmp_path, "['${A}', '${B}']", OPENAI_API_KEY=THIRD)
    assert [key.key for key in provider.api_keys] == [Secret(FIRST), Secret(SECOND)]
    assert provider.api_key is None


def test_keys_go_before_what_a_machine_has(tmp_path: Path) -> None:
    assert one(tmp_path, "['${A}', '${B}']", "bedrock").auth == KeyAuth()
    file = tmp_path / "plain.yaml"
    file.write_text("providers: {bedrock: {}}")
    assert load(file, {}).providers["bedrock"].auth == AwsAuth()


def test_once_for_each_key(tmp_path: Path) -> None:
    provider = one(tmp_path, "['${A}', '${B}']")
    for (key, alone), secret in zip(provider.by_key(), (FIRST, SECOND), strict=True):
        assert key.key == alone.api_key == Secret(secret)
        assert (alone.name, alone.endpoint, alone.api_keys) == ("openai", provider.endpoint, ())


def test_no_secret_is_shown_and_all_reach_the_workers(tmp_path: Path) -> None:
    settings = loads(tmp_path, "['${A}', {key: '${B}', name: b}]")
    assert decode(encode(settings)) == settings
    assert version(decode(encode(settings))) == version(settings)
    told = [repr(settings), json.dumps(shown(settings)), check_report(settings)]
    assert not [text for text in told for secret in (FIRST, SECOND) if secret in text]
    assert '"name": "b"' in told[1]
    assert "keys 1 b, serves" in told[2]


@pytest.mark.parametrize(
    ("keys", "changed"),
    [("['${B}', '${A}']", True), ("['${A}', '${B}']", False), ("['${A}']", True)],
)
def test_another_list_is_another_configuration(tmp_path: Path, keys: str, changed: bool) -> None:
    old, new = loads(tmp_path, "['${A}', '${B}']"), loads(tmp_path, keys)
    found = differences(old, new)
    assert ("providers.openai.api_keys" in found.changed) is changed
    assert (version(old) != version(new)) is changed
