"""A provider with several regions: how they are written, what each is, which are left."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from extproc.config.load import ConfigErrors, decode, encode, load
from extproc.config.report import check_report
from extproc.config.schema import (
    ApiKey,
    AwsAuth,
    GoogleAuth,
    KeyAuth,
    Provider,
    Region,
    Secret,
    Settings,
)
from extproc.config.targets import keys, named, parts, places, split
from extproc.supervisor.versions import Revisions, differences, shown, version

FIRST, SECOND, THIRD = "first-0123", "second-0123", "third-0123"
ENV = {"A": FIRST, "B": SECOND}
AZURE = """
  azure:
    api_key: "${B}"
    regions:
      - {name: sweden, endpoint: https://a.openai.azure.com, api_key: "${A}"}
      - {name: east, endpoint: https://b.openai.azure.com, weight: 2, api_version: "2024-10-21"}
"""


def loads(folder: Path, providers: str, more: str = "", **env: str) -> Settings:
    file = folder / "sluice.yaml"
    file.write_text(f"providers:{providers}\n{more}")
    return load(file, {**ENV, **env})


def bedrock(folder: Path, regions: str, more: str = "", **env: str) -> Provider:
    return loads(folder, f" {{bedrock: {{regions: {regions}{more}}}}}", **env).providers["bedrock"]


def host(region: str) -> str:
    return f"https://bedrock-runtime.{region}.amazonaws.com"


def test_names_alone_are_enough_of_aws(tmp_path: Path) -> None:
    one = bedrock(tmp_path, "[us-west-2, {name: eu-west-1, weight: 3}]", AWS_REGION="us-east-1")
    assert [(r.name, r.region, r.endpoint, r.weight) for r in one.regions] == [
        ("us-west-2", "us-west-2", host("us-west-2"), 1.0),
        ("eu-west-1", "eu-west-1", host("eu-west-1"), 3.0),
    ]
    assert {type(r.auth) for r in one.regions} == {AwsAuth}
    assert (one.endpoint, one.region) == (host("us-west-2"), "us-west-2"), "the first one's"


def test_names_alone_are_enough_of_vertex(tmp_path: Path) -> None:
    text = " {vertex: {project: acme, regions: [europe-west4, global, {name: ours, region: us-east5, project: other}]}}"
    one = loads(tmp_path, text, GOOGLE_CLOUD_LOCATION="us-east1").providers["vertex"]
    assert one.unavailable is None
    assert [(r.endpoint, r.region, r.project) for r in one.regions] == [
        ("https://europe-west4-aiplatform.googleapis.com", "europe-west4", "acme"),
        ("https://aiplatform.googleapis.com", "global", "acme"),
        ("https://us-east5-aiplatform.googleapis.com", "us-east5", "other"),
    ]
    assert {type(r.auth) for r in one.regions} == {GoogleAuth}


def test_a_region_says_what_differs_from_the_block(tmp_path: Path) -> None:
    azure = loads(tmp_path, AZURE).providers["azure"]
    assert azure.regions == (
        Region(
            name="sweden", endpoint="https://a.openai.azure.com/openai/v1", api_key=Secret(FIRST)
        ),
        Region(
            name="east",
            weight=2.0,
            endpoint="https://b.openai.azure.com/openai",
            api_version="2024-10-21",
            api_key=Secret(SECOND),
        ),
    )
    assert (azure.auth, azure.unavailable) == (KeyAuth(), None)


def test_its_own_key_goes_before_the_keys_of_the_block(tmp_path: Path) -> None:
    text = """
  acme:
    dialect: openai_chat
    api_keys: ["${A}", "${B}"]
    headers: {x-team: blue}
    regions:
      - {name: one, endpoint: https://one.example, api_key: "${B}", headers: {x-team: red}}
      - {name: two, endpoint: https://two.example}
      - {name: three, endpoint: https://three.example, auth: none}
"""
    with pytest.raises(ConfigErrors, match="another `auth:`"):
        loads(tmp_path, text)
    acme = loads(tmp_path, text.replace(", auth: none", "")).providers["acme"]
    one, two, _ = acme.regions
    assert (one.api_key, one.api_keys, one.headers) == (
        Secret(SECOND),
        (),
        {"x-team": Secret("red")},
    )
    assert two.api_keys == (
        ApiKey(name="1", key=Secret(FIRST)),
        ApiKey(name="2", key=Secret(SECOND)),
    )
    assert two.headers == {"x-team": Secret("blue")}


def test_the_environments_key_goes_to_known_hosts_alone(tmp_path: Path) -> None:
    one = bedrock(tmp_path, "[us-west-2, eu-west-1]", AWS_BEARER_TOKEN_BEDROCK=THIRD)
    assert {r.api_key for r in one.regions} == {Secret(THIRD)}
    regions = "[us-west-2, {name: eu-west-1, endpoint: 'https://acme.example'}]"
    one = bedrock(tmp_path, regions, AWS_BEARER_TOKEN_BEDROCK=THIRD)
    assert {r.api_key for r in one.regions} == {None}
    assert [(r.region, type(r.auth)) for r in one.regions] == [
        ("us-west-2", AwsAuth),
        ("eu-west-1", KeyAuth),
    ]


def test_the_environments_endpoint_is_of_none(tmp_path: Path) -> None:
    azure = loads(tmp_path, AZURE, AZURE_OPENAI_ENDPOINT="https://env.openai.azure.com")
    assert "env.openai" not in str(shown(azure))


def test_those_that_cannot_be_used_are_done_without(tmp_path: Path) -> None:
    settings = loads(tmp_path, AZURE.replace("${A}", "${GONE}"))
    azure = settings.providers["azure"]
    assert [r.unavailable for r in azure.regions] == ["api_key: GONE is not set", None]
    assert (azure.unavailable, azure.endpoint) == (None, "https://b.openai.azure.com/openai")
    assert settings.warnings == (
        "providers.azure.regions[0]: api_key: GONE is not set, so the provider does without this region",
    )
    assert [one.region_name for one in azure.by_region()] == ["east"]


def test_without_any_it_is_unavailable(tmp_path: Path) -> None:
    text = AZURE.replace("${A}", "${GONE}").replace('"${B}"', '"${AWAY}"')
    settings = loads(tmp_path, text)
    azure = settings.providers["azure"]
    assert azure.unavailable == (
        "region sweden: api_key: GONE is not set; region east: api_key: AWAY is not set"
    )
    assert settings.warnings == ()
    shared = AZURE.replace(', api_key: "${A}"', "").replace('"${B}"', '"${AWAY}"')
    assert loads(tmp_path, shared).providers["azure"].unavailable == "api_key: AWAY is not set"


def test_a_warning_of_the_block_is_given_once(tmp_path: Path) -> None:
    settings = loads(
        tmp_path, " {bedrock: {api_keys: ['${A}', '${GONE}', '${B}'], regions: [eu-west-1, x]}}"
    )
    assert settings.warnings == (
        "providers.bedrock.api_keys[1]: GONE is not set, so the provider does without this key",
    )


def test_once_for_each_region(tmp_path: Path) -> None:
    azure = loads(tmp_path, AZURE).providers["azure"]
    found = azure.by_region()
    assert [(one.name, one.full_name, one.region_name) for one in found] == [
        ("azure", "azure@sweden", "sweden"),
        ("azure", "azure@east", "east"),
    ]
    for one, region in zip(found, azure.regions, strict=True):
        assert (one.endpoint, one.api_key) == (region.endpoint, region.api_key)
        assert one.by_region() == [one]
    assert azure.full_name == "azure"


def test_one_region_is_told_by_name_too(tmp_path: Path) -> None:
    one = bedrock(tmp_path, "[eu-west-1]")
    assert [each.full_name for each in one.by_region()] == ["bedrock@eu-west-1"]


def test_targets_may_name_one(tmp_path: Path) -> None:
    models = """
models:
  chat: ["azure@east/gpt-4o", azure/gpt-4o-mini]
  long: [{provider: azure@sweden, model: gpt-4o}]
  copied: {targets: [azure/o1], shadow: "azure@east/o1"}
"""
    settings = loads(tmp_path, AZURE, models)
    assert settings.models["chat"].targets[0].provider == "azure@east"
    assert ("azure", "gpt-4o") in named(settings)
    assert {key for key in keys(settings) if "gpt-4o" in key} == {
        "azure@east/gpt-4o",
        "azure@sweden/gpt-4o",
        "azure@sweden/gpt-4o-mini",
        "azure@east/gpt-4o-mini",
    }
    assert split("azure@east/gpt-4o", named(settings)) == ("azure", "gpt-4o")
    assert split("azure@east/other", named(settings)) == ("azure", "*")
    assert not [text for text in settings.warnings if "serves no model" in text]


def test_a_provider_that_one_of_its_regions_serves_is_used(tmp_path: Path) -> None:
    acme = " {acme: {dialect: openai_chat, regions: [{name: eu, endpoint: 'https://eu.example'}]}}"
    settings = loads(tmp_path, acme, "models: {chat: acme@eu/m}")
    assert settings.warnings == ()


def test_the_names_of_places(tmp_path: Path) -> None:
    acme = """
  acme:
    dialect: openai_chat
    api_keys: ["${A}", {key: "${B}", name: b}]
    regions: [{name: eu, endpoint: https://eu.example}, {name: us, endpoint: https://us.example, api_key: "${A}"}]
"""
    settings = loads(tmp_path, acme)
    assert places(settings, "acme") == ["acme@eu#1", "acme@eu#b", "acme@us"]
    assert places(settings, "acme@eu") == ["acme@eu#1", "acme@eu#b"]
    assert parts("acme@eu#b/x/y") == ("acme", "eu", "b", "x/y")
    assert parts("acme@eu#b/m").apart == {"region": "eu", "key_name": "b"}
    assert parts("acme/m@1#2").apart == {}


def test_no_secret_is_shown_and_all_reach_the_workers(tmp_path: Path) -> None:
    text = AZURE.replace(
        "weight: 2", f'weight: 2, headers: {{x-pass: {THIRD}}}, api_keys: ["${{B}}"]'
    )
    settings = loads(tmp_path, text)
    assert decode(encode(settings)) == settings
    assert version(decode(encode(settings))) == version(settings)
    told = [repr(settings), json.dumps(shown(settings)), check_report(settings)]
    assert not [one for one in told for secret in (FIRST, SECOND, THIRD) if secret in one]
    assert '"name": "sweden"' in told[1]
    assert "regions sweden https://a.openai.azure.com/openai/v1, east https://b" in told[2]


def test_another_region_is_another_configuration_and_another_way(tmp_path: Path) -> None:
    old, new = loads(tmp_path, AZURE), loads(tmp_path, AZURE.replace("//b.", "//c."))
    assert "providers.azure.regions" in differences(old, new).changed
    assert version(old) != version(new)
    known = Revisions(old)
    assert known.of(old).providers["azure"].revision == 0
    assert known.of(new).providers["azure"].revision == 1
    heavier = replace(
        old.providers["azure"],
        regions=tuple(replace(one, weight=9.0) for one in old.providers["azure"].regions),
    )
    same = replace(old, providers={"azure": heavier})
    assert known.of(same).providers["azure"].revision == 0, "a weight is no way"
