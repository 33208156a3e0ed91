"""Signatures through a client of another language, and home again."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.dialects._signatures import unwrap, wrap


@given(
    st.text(max_size=40), st.sampled_from(["a_b", "gemini_generate"]), st.sampled_from(["a_b", "x"])
)
@settings(max_examples=60)
def test_what_is_wrapped_comes_home(signature: str, origin: str, carrier: str) -> None:
    if signature.startswith("sluice1."):
        return
    assert unwrap(wrap(signature, origin, carrier), carrier) == (signature, origin)


def test_at_home_it_goes_as_it_is() -> None:
    assert wrap("EqQB+/=", "anthropic_messages", "anthropic_messages") == "EqQB+/="
    assert unwrap("EqQB+/=", "anthropic_messages") == ("EqQB+/=", "anthropic_messages")
    assert wrap("ab", "x", "y") == "sluice1.x.YWI="


@pytest.mark.parametrize(
    "broken", ["sluice1.", "sluice1.x", "sluice1.x.a", "sluice1.x.ä", "sluice1.x._w=="]
)
def test_what_is_broken_belongs_to_nobody(broken: str) -> None:
    signature, origin = unwrap(broken, "y")
    assert signature == ""
    assert origin in ("", "x")
