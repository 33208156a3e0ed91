"""A secret is never repeated: not in an error, a warning, a repr or the report."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.config.load import ConfigErrors, load
from extproc.config.report import check_report

SECRETS = st.text(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=12, max_size=60
).map(lambda text: f"Zq9{text}")

GOOD = """
server: {{host: 0.0.0.0}}
providers:
  openai: {{api_key: "${{SECRET}}"}}
  anthropic: {{api_key: {secret}}}
  grok: {{api_keys: ["${{SECRET}}", {{key: "b{secret}", name: b}}, "c{secret}"]}}
  gemini: {{api_key: "${{UNSET:-{secret}}}", headers: {{x-team: "${{SECRET}}"}}}}
  azure:
    endpoint: https://acme.openai.azure.com
    auth: {{azure: {{tenant: t, client_id: c, client_secret: "${{SECRET}}"}}}}
  bedrock:
    auth: {{aws: {{role_arn: "arn:aws:iam::123456789012:role/x", external_id: "${{SECRET}}"}}}}
keys:
  - {{name: alice, key: "a${{SECRET}}"}}
  - {{name: bob, key: "b{secret}"}}
"""

BAD = [
    "providers: {{openai: {{api_kye: {secret}}}}}",
    "providers: {{openai: {{api_key: [{secret}]}}}}",
    "providers: {{openai: {{api_key: {{env: {secret}}}}}}}",
    "providers: {{openai: {{api_key: *{secret}}}}}",
    "providers: {{openai: {{api_keys: {secret}}}}}",
    "providers: {{openai: {{api_keys: ['{secret}', '${{SECRET}}']}}}}",
    "providers: {{openai: {{api_keys: [{{key: [{secret}]}}]}}}}",
    "providers: {{openai: {{api_keys: [a, {{key: b, name: '!${{SECRET}}'}}]}}}}",
    "providers: {{openai: {{api_key: !{secret} x}}}}",
    "providers: {{openai: {{api_key: !{secret}!x x}}}}",
    "providers: {{openai: {{api_key: '{secret}}}}}",
    'providers: {{openai: {{api_key: "{secret}\\q"}}}}',
    "providers:\n  openai:\n    api_key: {secret}: x",
    "providers:\n  openai:\n    api_key: {secret}\n   x: y",
    "providers:\n  openai:\n    api_key: @{secret}",
    "providers: {secret}",
    "providers: {{openai: {secret}}}",
    "providers: {{acme: {{dialect: openai_chat, endpoint: 'https://u:{secret}@acme.example'}}}}",
    "providers: {{acme: {{dialect: openai_chat, endpoint: 'https://acme.example/?key={secret}'}}}}",
    "providers: {{openai: {{headers: {{x-key: 'é{secret}'}}}}}}",
    "providers: {{openai: {{headers: {{authorization: '{secret}'}}}}}}",
    "providers: {{openai: {{headers: [{secret}]}}}}",
    "providers: {{azure: {{auth: {{azure: {{client_secret: ['{secret}']}}}}}}}}",
    "providers: {{azure: {{auth: {{azure: {{client_secret: '{secret}', token_file: x}}}}}}}}",
    "providers: {{bedrock: {{auth: {{aws: {{external_id: '${{SECRET}}'}}}}}}}}",
    "providers: {{openai: {{proxy: 'u:{secret}@proxy:3128'}}}}",
    "keys: [{secret}]",
    "keys: {secret}",
    "keys: [{{name: a, key: {secret}, hash: {secret}}}]",
    "keys: [{{name: a, hash: {secret}}}]",
    "keys: [{{name: a, key: '{secret}'}}, {{name: b, key: '${{SECRET}}'}}]",
    "server: {{port: '${{SECRET}}'}}",
    "log: {{level: '${{SECRET}}'}}",
    "workers: '${{SECRET}}'",
    "models: {{fast: [{{provider: 'x${{SECRET}}', model: x}}]}}",
    "providers: {{acme: {{dialect: '${{SECRET}}', endpoint: 'http://acme.example'}}}}",
]


@given(secret=SECRETS)
def test_good_settings(secret: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sluice.yaml"
        file.write_text(GOOD.format(secret=secret))
        settings = load(file, {"SECRET": secret, "GROK_API_KEY": secret})
    assert secret not in repr(settings)
    assert secret not in str(settings)
    assert secret not in check_report(settings)


@pytest.mark.parametrize("text", BAD)
def test_bad_settings(text: str, tmp_path: Path) -> None:
    @given(secret=SECRETS)
    def never_repeated(secret: str) -> None:
        file = tmp_path / "sluice.yaml"
        file.write_text(text.format(secret=secret))
        with pytest.raises(ConfigErrors) as caught:
            load(file, {"SECRET": secret})
        for shown in (str(caught.value), repr(caught.value), repr(caught.value.errors)):
            assert secret not in shown

    never_repeated()
