"""Model names in paths: read once, never another path."""

from __future__ import annotations

from urllib.parse import quote

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


@pytest.mark.parametrize("name", ["../x", "a/..", "a%2Fb", "a;b", "a?b", "a#b", "a\\b", "a\nb"])
def test_trap_63_a_body_names_no_other_path_either(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        names.write(name)
    assert caught.value.param == "model"
