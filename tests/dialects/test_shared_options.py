"""The wishes for the gateway itself, from headers and from a body."""

from __future__ import annotations

import pytest

from extproc.dialects._options import read_options
from extproc.model.chat import Json
from extproc.model.errors import InvalidRequest


@pytest.mark.parametrize(
    ("word", "meant"),
    [("use", "use"), ("bypass", "bypass"), ("refresh", "refresh"), ("no", "bypass")],
)
def test_words_for_the_cache(word: str, meant: str) -> None:
    assert read_options({}, {"cache": word}).cache == meant
    assert read_options({"x-sluice-cache": word}).cache == meant
    assert read_options({"x-sluice-cache": word}, {"cache": "use"}).cache == meant


@pytest.mark.parametrize("word", ["yes", "none", "NO"])
def test_other_words_are_refused(word: str) -> None:
    member: dict[str, Json] = {"cache": word}
    for headers, own, where in (
        ({}, member, "sluice.cache"),
        ({"x-sluice-cache": word}, None, "x-sluice-cache"),
    ):
        with pytest.raises(InvalidRequest, match="one of use, bypass, refresh, no") as caught:
            read_options(headers, own)
        assert caught.value.param == where
