"""What a provider's block means: dialects, variants, regions, headers, capabilities, signing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from extproc.config.catalogue import DIALECTS, KNOWN, VARIANTS, listing
from extproc.config.load import decode, encode, load
from extproc.config.report import check_report
from extproc.config.schema import (
    Auth,
    AwsAuth,
    AzureAuth,
    GoogleAuth,
    KeyAuth,
    Probing,
    Provider,
    Secret,
    Settings,
)
from extproc.model.call import Capabilities, OnLossy

OPENAI = ("openai_responses", "openai_completions")
ROLE = "arn:aws:iam::123456789012:role/sluice"
AWS_HOME = "https://bedrock-runtime.us-east-1.amazonaws.com"


def loads(folder: Path, text: str, **env: str) -> Settings:
    file = folder / "sluice.yaml"
    file.write_text(text)
    return load(file, env)


def one(folder: Path, block: str, name: str = "acme", **env: str) -> Provider:
    """The provider of that name, written as a YAML map in one line."""
    return loads(folder, f"providers: {{{name}: {{{block}}}}}", **env).providers[name]


def acme(folder: Path, more: str, **env: str) -> Provider:
    return one(folder, f"dialect: openai_chat, endpoint: 'https://acme.example/v1', {more}", **env)


def test_a_plain_provider_has_the_defaults(tmp_path: Path) -> None:
    provider = acme(tmp_path, "")
    assert (provider.also, provider.variant, provider.api_version) == ((), "", None)
    assert (provider.headers, provider.capabilities) == ({}, {})
    assert (provider.on_lossy, provider.auth) == (OnLossy.DROP, KeyAuth())


@pytest.mark.parametrize(
    ("name", "dialect", "also", "variant"),
    [
        ("openai", "openai_chat", OPENAI, ""),
        ("azure", "openai_chat", OPENAI[:1], "azure"),
        ("xai", "openai_chat", OPENAI[:1], ""),
        ("deepseek", "openai_chat", (), ""),
        ("vertex", "gemini_generate", ("anthropic_messages",), "vertex"),
        ("bedrock", "bedrock_converse", ("anthropic_messages",), "bedrock"),
        ("mock", "openai_chat", OPENAI, ""),
    ],
)
def test_what_a_name_says(
    tmp_path: Path, name: str, dialect: str, also: tuple[str, ...], variant: str
) -> None:
    provider = one(tmp_path, "endpoint: 'https://x.example'", name)
    assert (provider.dialect, provider.also, provider.variant) == (dialect, also, variant)


@pytest.mark.parametrize("known", [one for one in KNOWN.values() if one.variant], ids=str)
def test_known_variants_fit_their_dialects(known: Any) -> None:
    assert VARIANTS[known.variant].keys() >= set(known.dialects)


def test_a_list_of_dialects(tmp_path: Path) -> None:
    provider = one(
        tmp_path, "dialect: [ollama_chat, openai_chat], endpoint: 'http://127.0.0.1:1', models: [x]"
    )
    assert (provider.dialect, provider.also) == ("ollama_chat", ("openai_chat",))


def test_the_file_s_dialect_replaces_all_that_the_name_says(tmp_path: Path) -> None:
    provider = one(tmp_path, "dialect: openai_chat", "openai")
    assert provider.also == ()
    claude = "dialect: anthropic_messages, endpoint: 'https://acme.services.ai.azure.com/anthropic'"
    assert one(tmp_path, claude, "azure").variant == ""


@pytest.mark.parametrize(
    ("region", "endpoint"),
    [
        ("global", "https://aiplatform.googleapis.com"),
        ("eu", "https://aiplatform.eu.rep.googleapis.com"),
        ("us", "https://aiplatform.us.rep.googleapis.com"),
        ("europe-west4", "https://europe-west4-aiplatform.googleapis.com"),
    ],
)
def test_vertex_lives_in_its_region(tmp_path: Path, region: str, endpoint: str) -> None:
    known = one(tmp_path, f"project: acme, region: {region}", "vertex")
    custom = one(
        tmp_path, f"dialect: gemini_generate, variant: vertex, project: acme, region: {region}"
    )
    for provider in (known, custom):
        assert (provider.endpoint, provider.unavailable) == (endpoint, None)
        assert (provider.project, provider.region, provider.api_version) == ("acme", region, None)
        assert provider.auth == GoogleAuth()


def test_vertex_without_its_details_is_unavailable(tmp_path: Path) -> None:
    assert one(tmp_path, "", "vertex").unavailable == (
        "project: GOOGLE_CLOUD_PROJECT is not set; region: GOOGLE_CLOUD_LOCATION is not set"
    )
    custom = one(tmp_path, "dialect: gemini_generate, variant: vertex, region: '${R}'")
    assert custom.unavailable == "region: R is not set; project: not given, and vertex needs it"


def test_vertex_from_the_environment_alone() -> None:
    env = {"GOOGLE_CLOUD_PROJECT": "acme", "GOOGLE_CLOUD_LOCATION": "eu"}
    assert load(None, env).providers == {}
    vertex = load(None, {**env, "ALL_PROVIDERS": "vertex"}).providers["vertex"]
    assert (vertex.project, vertex.region, vertex.unavailable) == ("acme", "eu", None)


@pytest.mark.parametrize(
    ("block", "env", "region"),
    [
        ("", {}, "us-east-1"),
        ("", {"AWS_DEFAULT_REGION": "eu-west-1"}, "eu-west-1"),
        ("", {"AWS_REGION": "eu-west-2", "AWS_DEFAULT_REGION": "eu-west-1"}, "eu-west-2"),
        ("region: eu-west-3", {"AWS_REGION": "eu-west-2"}, "eu-west-3"),
    ],
)
def test_bedrock_lives_in_its_region(
    tmp_path: Path, block: str, env: dict[str, str], region: str
) -> None:
    bedrock = one(tmp_path, block, "bedrock", **env)
    assert bedrock.region == region
    assert bedrock.endpoint == f"https://bedrock-runtime.{region}.amazonaws.com"
    assert bedrock.auth == AwsAuth()


def test_bedrock_under_another_name_needs_no_endpoint(tmp_path: Path) -> None:
    bedrock = one(tmp_path, "dialect: bedrock_converse, region: cn-north-1, models: [x]")
    assert bedrock.endpoint == "https://bedrock-runtime.cn-north-1.amazonaws.com.cn"
    assert (bedrock.variant, bedrock.auth) == ("bedrock", AwsAuth())


@pytest.mark.parametrize(
    ("given", "version", "endpoint"),
    [
        ("https://a.openai.azure.com", "2024-10-21", "https://a.openai.azure.com/openai"),
        ("https://a.openai.azure.com/openai/", "2024-10-21", "https://a.openai.azure.com/openai"),
        ("https://a.openai.azure.com/", None, "https://a.openai.azure.com/openai/v1"),
        ("https://a.openai.azure.com/openai", None, "https://a.openai.azure.com/openai/v1"),
        ("https://a.openai.azure.com/openai/v1", None, "https://a.openai.azure.com/openai/v1"),
        ("https://gate.example/ai", "2024-10-21", "https://gate.example/ai/openai"),
    ],
)
def test_azure_s_endpoint(tmp_path: Path, given: str, version: str | None, endpoint: str) -> None:
    block = f"endpoint: '{given}'" + (f", api_version: {version}" if version else "")
    azure = one(tmp_path, block, "azure")
    assert (azure.endpoint, azure.api_version) == (endpoint, version)
    env = {"AZURE_OPENAI_ENDPOINT": given, "AZURE_OPENAI_API_KEY": "k"}
    env |= {"OPENAI_API_VERSION": version} if version else {}
    (from_env,) = load(None, env).providers.values()
    assert (from_env.endpoint, from_env.api_version) == (endpoint, version)
    assert from_env.api_key == Secret("k")


def test_azure_s_variable_does_not_version_v1_paths(tmp_path: Path) -> None:
    block = "endpoint: 'https://a.openai.azure.com/openai/v1'"
    azure = one(tmp_path, block, "azure", OPENAI_API_VERSION="2024-10-21")
    assert azure.api_version is None
    assert one(tmp_path, f"{block}, api_version: preview", "azure").api_version == "preview"


def test_anthropic_s_version(tmp_path: Path) -> None:
    assert one(tmp_path, "", "anthropic").api_version == "2023-06-01"
    assert one(tmp_path, "api_version: '2026-10-21'", "anthropic").api_version == "2026-10-21"
    assert one(tmp_path, "", "bedrock").api_version is None


@pytest.mark.parametrize(
    ("name", "block", "auth"),
    [
        ("openai", "", KeyAuth()),
        ("bedrock", "auth: none", KeyAuth()),
        ("bedrock", "endpoint: 'http://proxy.example:7090/invoke'", KeyAuth()),
        ("bedrock", "endpoint: 'http://127.0.0.1:1', auth: aws", AwsAuth()),
        ("bedrock", f"auth: {{aws: {{role_arn: '{ROLE}'}}}}", AwsAuth(role_arn=ROLE)),
        ("azure", "endpoint: 'https://a.openai.azure.com', auth: azure", AzureAuth()),
        (
            "azure",
            "endpoint: 'https://a.openai.azure.com', auth: {azure: {client_id: app}}",
            AzureAuth(client_id="app"),
        ),
        (
            "azure",
            "endpoint: 'https://a.openai.azure.com', "
            "auth: {azure: {tenant: t, client_id: app, client_secret: '${S}'}}",
            AzureAuth(tenant="t", client_id="app", client_secret=Secret("s3")),
        ),
        ("vertex", "project: p, region: eu, endpoint: 'http://127.0.0.1:1'", KeyAuth()),
        ("vertex", "project: p, region: eu, api_key: '${S}'", KeyAuth()),
        ("vertex", "project: p, region: eu, auth: google", GoogleAuth()),
    ],
)
def test_how_it_signs(tmp_path: Path, name: str, block: str, auth: Auth) -> None:
    assert one(tmp_path, block, name, S="s3").auth == auth


def test_files_of_auth_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "account.json").write_text("{}")
    block = "project: p, region: eu, auth: {google: {credentials_file: account.json}}"
    vertex = one(tmp_path, block, "vertex")
    assert vertex.auth == GoogleAuth(credentials_file=tmp_path / "account.json")


def test_bedrock_s_own_key_comes_first_unless_the_file_says_otherwise(tmp_path: Path) -> None:
    env = {"AWS_BEARER_TOKEN_BEDROCK": "bedrock-key"}
    bedrock = one(tmp_path, "", "bedrock", **env)
    assert (bedrock.api_key, bedrock.auth) == (Secret("bedrock-key"), KeyAuth())
    signed = one(tmp_path, "auth: aws", "bedrock", **env)
    assert (signed.api_key, signed.auth) == (None, AwsAuth())
    (alone,) = load(None, env).providers.values()
    assert (alone.endpoint, alone.auth) == (AWS_HOME, KeyAuth())


def test_azure_by_entra_needs_no_key(tmp_path: Path) -> None:
    azure = one(tmp_path, "auth: azure", "azure", AZURE_OPENAI_ENDPOINT="https://a.example")
    assert (azure.api_key, azure.unavailable) == (None, None)


def test_an_unset_secret_of_auth_makes_it_unavailable(tmp_path: Path) -> None:
    block = (
        "endpoint: 'https://a.openai.azure.com', "
        "auth: {azure: {tenant: t, client_id: app, client_secret: '${SECRET}'}}"
    )
    azure = one(tmp_path, block, "azure")
    assert azure.unavailable == "auth.azure.client_secret: SECRET is not set"


def test_headers(tmp_path: Path) -> None:
    headers = "headers: {OpenAI-Organization: org-1, x-team: '${TEAM}'}"
    provider = acme(tmp_path, headers, TEAM="se arch")
    assert provider.headers == {
        "openai-organization": Secret("org-1"),
        "x-team": Secret("se arch"),
    }
    assert acme(tmp_path, headers).unavailable == "headers.x-team: TEAM is not set"


def test_lossy_and_capabilities(tmp_path: Path) -> None:
    provider = acme(
        tmp_path,
        "on_lossy: reject, capabilities: {gpt-4*: {vision: false, context: 8192}, '*': {tools: true}}",
    )
    assert provider.on_lossy is OnLossy.REJECT
    assert provider.capabilities == {
        "gpt-4*": Capabilities(vision=False, context=8192),
        "*": Capabilities(tools=True),
    }


def test_all_of_it_travels_to_a_child_and_back(tmp_path: Path) -> None:
    (tmp_path / "account.json").write_text("{}")
    settings = loads(
        tmp_path,
        f"""
providers:
  bedrock:
    auth: {{aws: {{role_arn: "{ROLE}", external_id: "${{S}}"}}}}
  vertex:
    project: acme
    region: eu
    auth: {{google: {{credentials_file: account.json}}}}
  azure:
    endpoint: https://a.openai.azure.com
    auth: {{azure: {{tenant: t, client_id: c, token_file: token}}}}
    headers: {{x-team: "${{S}}"}}
    capabilities: {{"*": {{tools: false, max_output: 10}}}}
    on_lossy: reject
""",
        S="not-to-be-shown",
    )
    assert decode(encode(settings)) == settings
    assert "not-to-be-shown" not in repr(settings) + check_report(settings)


@pytest.mark.parametrize(
    ("block", "connects", "probing"),
    [
        ("", True, None),
        ("probe: false", False, None),
        ("probe: {exchange: false, interval: 9}", True, None),
        ("probe: {exchange: true}", True, Probing(interval=4.0, timeout=2.0, failures=2)),
        (
            "probe: {exchange: true, interval: 1m, timeout: 500ms, failures: 5, path: '/up?a=1'}",
            True,
            Probing(interval=60.0, timeout=0.5, failures=5, path="/up?a=1"),
        ),
    ],
)
def test_how_it_is_probed(
    tmp_path: Path, block: str, connects: bool, probing: Probing | None
) -> None:
    told = "dialect: openai_chat, endpoint: 'https://acme.example/v1'"
    provider = one(tmp_path, f"{told}, {block}" if block else told)
    assert (provider.probe, provider.probing) == (connects, probing)


def test_every_dialect_has_a_list_of_models_but_in_some_variants() -> None:
    assert {name for name in DIALECTS if listing(name, "") is None} == {"bedrock_converse"}
    for variant, dialects in VARIANTS.items():
        for name in dialects:
            assert (listing(name, variant) is None) is (variant != "azure")
