"""What `load` makes of good files: defaults, variables, secrets, paths, known providers."""

from __future__ import annotations

from pathlib import Path

import pytest

from extproc import discover
from extproc.config.load import ConfigErrors, decode, encode, load
from extproc.config.report import check_report
from extproc.config.schema import Secret, SecurityLevel, Settings

HERE = Path(__file__).parent
KEY = "alice-0123456789-abc"
SERVICE_ENV = {
    "OLLAMA_ENDPOINT": "http://ollama-consistency:11434",
    "OPENAI_API_KEY": "sk-your-key-here",
    "ANTHROPIC_API_KEY": "sk-ant-your-key-here",
    "BEDROCK_ENDPOINT": "http://bedrock-proxy:7090/invoke",
    "GROK_API_KEY": "grok-your-key-here",
}


def loads(folder: Path, text: str, **env: str) -> Settings:
    file = folder / "sluice.yaml"
    file.write_text(text)
    return load(file, env)


def errors(folder: Path, text: str, **env: str) -> str:
    with pytest.raises(ConfigErrors) as caught:
        loads(folder, text, **env)
    return str(caught.value)


def test_no_file_is_the_defaults(tmp_path: Path) -> None:
    settings = load(None, {})
    plain = Settings()
    assert (settings.server, settings.limits, settings.log) == (
        plain.server,
        plain.limits,
        plain.log,
    )
    assert settings.data == Path(".sluice")
    assert settings.providers == {}
    assert "no providers" in settings.warnings[0]


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "server:\nproviders:\nlimits:\n"])
def test_an_empty_file_is_the_defaults(tmp_path: Path, text: str) -> None:
    assert loads(tmp_path, text).server == Settings().server


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match=r"nope.yaml: cannot be read: No such file"):
        load(tmp_path / "nope.yaml", {})


def test_the_example_at_the_top_loads() -> None:
    settings = load(
        HERE.parent.parent / "sluice.example.yaml",
        {"OPENAI_API_KEY": "sk-x"},
        stages=discover.registry().blocks,
    )
    assert settings.inactive == ()
    assert settings.warnings == ()
    assert settings.providers["acme"].unavailable == "api_key: ACME_KEY is not set"
    assert settings.providers["openai"].unavailable is None
    assert [target.provider for target in settings.models["best"].targets] == ["openai", "acme"]


def test_the_service_config_loads_as_it_stands() -> None:
    settings = load(HERE / "service.yaml", SERVICE_ENV)
    assert list(settings.providers) == ["ollama", "openai", "anthropic", "bedrock", "grok"]
    assert not [one.unavailable for one in settings.providers.values() if one.unavailable]
    bedrock = settings.providers["bedrock"]
    assert bedrock.endpoint == "http://bedrock-proxy:7090/invoke"
    assert bedrock.model == "anthropic.claude-3-sonnet-20240229-v1:0"
    assert (bedrock.timeout, bedrock.cost_per_token) == (60.0, 0.000015)
    assert settings.providers["openai"].api_key == Secret("sk-your-key-here")
    assert settings.providers["ollama"].security_level is SecurityLevel.HIGH
    assert settings.inactive == ("rate_limiting", "security", "cache", "metrics")
    assert settings.blocks["cache"] == {
        "max_size": 1000,
        "default_ttl": 3600,
        "cleanup_interval": 300,
        "enable_compression": True,
    }
    assert any("0.0.0.0 is not a loopback" in text for text in settings.warnings)


def test_the_service_config_without_its_variables() -> None:
    settings = load(HERE / "service.yaml", {}, dialects=frozenset({"openai_chat"}))
    why = {name: one.unavailable for name, one in settings.providers.items()}
    assert why["ollama"] == (
        "endpoint: OLLAMA_ENDPOINT is not set; dialect ollama_chat is not built in yet"
    )
    assert why["grok"] == "api_key: GROK_API_KEY is not set"


def test_the_dialects_judge_only_when_given(tmp_path: Path) -> None:
    text = "providers: {anthropic: {api_key: '${K}'}}\n"
    assert loads(tmp_path, text, K="x").providers["anthropic"].unavailable is None
    judged = load(tmp_path / "sluice.yaml", {"K": "x"}, dialects=frozenset({"openai_chat"}))
    assert (
        judged.providers["anthropic"].unavailable
        == "dialect anthropic_messages is not built in yet"
    )


@pytest.mark.parametrize(
    ("text", "env", "host"),
    [
        ("${HOST}", {"HOST": "::1"}, "::1"),
        ("${HOST:-localhost}", {}, "localhost"),
        ("${HOST:-localhost}", {"HOST": ""}, "localhost"),
        ("${HOST:-localhost}", {"HOST": "::1"}, "::1"),
        ("${A}.${B:-b}.example", {"A": "a"}, "a.b.example"),
    ],
)
def test_variables_fill_strings(tmp_path: Path, text: str, env: dict[str, str], host: str) -> None:
    assert loads(tmp_path, f"server: {{host: '{text}'}}", **env).server.host == host


def test_dollars_are_escaped(tmp_path: Path) -> None:
    text = "security: {sensitive_keywords: ['$$x', '$${A}', '$5', 'a$$$$']}"
    words = {"sensitive_keywords": ["$x", "${A}", "$5", "a$$"]}
    assert loads(tmp_path, text).blocks["security"] == words


def test_variables_fill_numbers_flags_and_sizes(tmp_path: Path) -> None:
    text = "server: {port: '${P}'}\nlog: {access: '${F}'}\nlimits: {body: '${S:-2MiB}'}\n"
    settings = loads(tmp_path, text, P="80", F="false")
    assert (settings.server.port, settings.log.access) == (80, False)
    assert settings.limits.body == 2 * 1024 * 1024


@pytest.mark.parametrize(
    ("text", "seconds"), [("30", 30.0), ("1.5", 1.5), ("30s", 30.0), ("5m", 300.0), ("250ms", 0.25)]
)
def test_times(tmp_path: Path, text: str, seconds: float) -> None:
    assert loads(tmp_path, f"limits: {{idle_timeout: {text}}}").limits.idle_timeout == seconds


@pytest.mark.parametrize(
    ("text", "size"), [("4096", 4096), ("512KiB", 524288), ("1.5MiB", 1572864), ("1MB", 1000000)]
)
def test_sizes(tmp_path: Path, text: str, size: int) -> None:
    assert loads(tmp_path, f"limits: {{body: {text}}}").limits.body == size


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "c.pem").write_text("x")
    text = "data: d\nserver: {tls: {cert: c.pem, key: c.pem}}\n"
    settings = loads(tmp_path, text)
    assert settings.data == tmp_path / "d"
    assert settings.server.tls is not None
    assert settings.server.tls.cert == tmp_path / "c.pem"
    assert loads(tmp_path, "data: /var/x").data == Path("/var/x")


def test_a_secret_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f" {KEY}\n")
    file.chmod(0o600)
    settings = loads(tmp_path, "providers: {openai: {api_key: {file: key}}}")
    assert settings.providers["openai"].api_key == Secret(KEY)
    assert settings.warnings == ()
    file.chmod(0o644)
    assert (
        "api_key.file: every user"
        in loads(tmp_path, "providers: {openai: {api_key: {file: key}}}").warnings[0]
    )


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "api_key: its file cannot be read (No such file or directory)"),
        (b" \n", "api_key: its file is empty"),
        (b"\xff", "api_key: its file is not UTF-8 text"),
        (b"a\nb", "api_key: its file holds characters that a header cannot carry"),
    ],
)
def test_a_secret_file_that_does_not_serve(tmp_path: Path, content: bytes | None, why: str) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
        (tmp_path / "key").chmod(0o600)
    openai = loads(tmp_path, "providers: {openai: {api_key: {file: key}}}").providers["openai"]
    assert (openai.api_key, openai.unavailable) == (None, why)


def test_a_literal_secret_and_a_short_key_warn(tmp_path: Path) -> None:
    text = "providers: {openai: {api_key: sk-literal}}\nkeys: [{name: a, key: '${K}'}]"
    settings = loads(tmp_path, text, K="short")
    assert [warning.split(":")[0] for warning in settings.warnings] == [
        "providers.openai.api_key",
        "keys[0].key",
    ]


def test_a_key_from_the_environment_goes_home_only(tmp_path: Path) -> None:
    text = "providers: {openai: {endpoint: 'http://elsewhere.example'}}"
    openai = loads(tmp_path, text, OPENAI_API_KEY="sk-1").providers["openai"]
    assert (openai.api_key, openai.unavailable) == (None, None)
    assert loads(tmp_path, "providers: {openai: }", OPENAI_API_KEY="sk-1").providers[
        "openai"
    ].api_key == Secret("sk-1")


def test_models_of_a_known_provider(tmp_path: Path) -> None:
    text = (
        "providers: {anthropic: {model: my-claude}, grok: {model: grok-1}, ollama: {models: ['*']}}"
    )
    providers = loads(tmp_path, text).providers
    assert providers["anthropic"].models == ("claude-*", "my-claude")
    assert providers["grok"].models == ("grok-*",)
    assert providers["ollama"].models == ("*",)


def test_yaml_merges(tmp_path: Path) -> None:
    text = """
providers:
  a: &a {dialect: openai_chat, endpoint: "http://a.example", models: ["x"], timeout: 5}
  b:
    <<: *a
    timeout: 7
"""
    providers = loads(tmp_path, text).providers
    assert (providers["a"].timeout, providers["b"].timeout) == (5.0, 7.0)
    assert providers["b"].endpoint == "http://a.example"


def test_an_alias_bomb_is_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "found too many values" in errors(tmp_path, "\n".join(lines))


def test_a_giant_and_a_deep_file_are_refused(tmp_path: Path) -> None:
    assert "expected a file of at most 1048576" in errors(tmp_path, "#" * (1024 * 1024 + 1))
    assert "nested too deep" in errors(tmp_path, "[" * 100_000)


def test_settings_travel_to_a_child_and_back() -> None:
    settings = load(HERE / "service.yaml", SERVICE_ENV)
    assert decode(encode(settings)) == settings


def test_the_report() -> None:
    env = {**SERVICE_ENV, "GROK_API_KEY": ""}
    report = check_report(load(HERE / "service.yaml", env))
    assert "server: http://0.0.0.0:5055\n" in report
    assert "  grok: openai_chat, https://api.x.ai/v1, medium, UNAVAILABLE " in report
    assert "(api_key: GROK_API_KEY is empty)" in report
    assert "cache: understood, but this build has no such stage yet\n" in report
    assert "keys: none" in report
    assert "models: catalogue of 2026-" in report
    assert "warning: server.host: no keys" in report
