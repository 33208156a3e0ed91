"""Model names in paths: read once, never another path."""

from __future__ import annotations

import posixpath
from urllib.parse import quote, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.dialects import _names as names
from extproc.model.errors import InvalidRequest

ARN = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.x.y-v1:0"


@pytest.mark.parametrize(
    "name",
    ["gemini-2.5-pro", "us.anthropic.claude-v1:0", "meta-llama/Llama-3", "a@b+c_d", ARN],
)
def test_names_that_models_have(name: str) -> None:
    assert names.read(name) == name
    assert names.read(quote(name, safe="")) == name
    assert names.read(names.write(name)) == name
    assert "/" not in names.write(name)
    assert names.write("a:b/c", safe=":") == "a:b%2Fc"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "..",
        "a/../b",
        "a%2F..%2Fb",
        "a//b",
        "/a",
        "a/",
        "a;b",
        "a?b",
        "a%3Fb",
        "a%252Fb",
        "a b",
        "a\n",
        "ä",
        ".a",
        "a" * 257,
        "arn:aws:bedrock:us-east-1:1:x/..",
    ],
)
def test_trap_63_names_that_could_be_another_path(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        names.read(text)
    assert caught.value.param == "model"


@given(st.text(max_size=30))
@settings(max_examples=100)
def test_whatever_is_read_is_one_segment_when_written(text: str) -> None:
    try:
        name = names.read(text)
    except InvalidRequest:
        return
    written = names.write(name)
    assert not set(written) & set("/?#; ")
    assert ".." not in written


@pytest.mark.parametrize(
    "name",
    [
        "../x", "a/..", "a%2Fb", "a;b", "a?b", "a#b", "a\\b", "a\nb", "a\x7f", "a\ud800",
        "", ".", "./a", "a/.", "a/./b", "/a", "a/", "a//b", "publishers/../x",
    ],
)  # fmt: skip
def test_trap_63_a_body_names_no_other_path_either(name: str) -> None:
    for safe in ("", "/", "@"):
        with pytest.raises(InvalidRequest) as caught:
            names.write(name, safe=safe)
        assert caught.value.param == "model"


REAL = (
    "gpt-4o", "gpt-4o-2024-08-06", "ft:gpt-4o:org::id", "ft:gpt-4o-mini-2024-07-18:my-org:tides:9aBc",
    "claude-sonnet-4-5@20250929", "publishers/anthropic/models/claude@2025",
    "publishers/google/models/gemini-2.5-pro", "projects/p/locations/us/endpoints/123",
    "endpoints/4511608470067216384", "models/gemini-2.5-flash", "tunedModels/tides-x1y2",
    "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "amazon.nova-pro-v1:0", "cohere.embed-v4:0",
    "arn:aws:bedrock:us-east-1:123:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "arn:aws:bedrock:eu-west-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0",
    "arn:aws-us-gov:bedrock:us-gov-west-1:123456789012:provisioned-model/ab12cd34ef56",
    "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/ab12cd34ef56",
    "arn:aws:bedrock:us-east-1:123456789012:custom-model-deployment/ab12cd34ef56",
    "arn:aws:bedrock:us-east-1:123456789012:prompt/ABCDEFGHIJ:1",
    "arn:aws:sagemaker:us-east-1:123456789012:endpoint/my-endpoint",
    "hf.co/user/model:Q4", "hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M", "llama3.2:latest",
    "qwen3:8b", "meta-llama/Llama-3.3-70B-Instruct-Turbo", "accounts/fireworks/models/deepseek-v3p1",
    "openai/gpt-oss-120b:free", "my_Azure.deployment-2", "a+b",
)  # fmt: skip
"""as makers and hosts write them"""


@pytest.mark.parametrize("name", REAL)
def test_the_ids_of_real_models_pass(name: str) -> None:
    """In a client's path as in a client's body; and one segment is all that they become."""
    assert names.read(name) == names.read(quote(name, safe="")) == name
    written = names.write(name)
    assert unquote(written) == name
    assert "/" not in written and quote(name, safe="-._~") == written
    assert unquote(names.write(name, safe="/@")) == name


def stays(path: str, begin: str, end: str) -> bool:
    """Whether whoever decodes the path, twice even, and resolves its dots is still in that place."""
    for _ in range(3):
        plain = posixpath.normpath(path)
        if not (plain.startswith(begin) and plain.endswith(end) and len(plain) > len(begin + end)):
            return False
        path = unquote(path)
    return not set(path[len(begin) : len(path) - len(end)]) & set("?#;\\")


@given(st.one_of(st.text(max_size=30), st.text("./%25Fe;?#a:\\\ud800", max_size=12)))
@settings(max_examples=300)
def test_trap_63_no_name_leaves_its_place(name: str) -> None:
    for begin, end, safe in (
        ("/model/", "/converse", ""),
        ("/openai/deployments/", "/chat/completions", ""),
        ("/v1/projects/p/locations/us/", ":generateContent", "/"),
        ("/v1/publishers/anthropic/models/", ":rawPredict", "@"),
    ):
        try:
            written = names.write(name, safe=safe)
        except InvalidRequest:
            continue
        assert stays(begin + written + end, begin, end)


@pytest.mark.parametrize("name", REAL)
def test_real_ids_stay_in_their_place(name: str) -> None:
    assert stays(f"/model/{names.write(name)}/converse", "/model/", "/converse")
