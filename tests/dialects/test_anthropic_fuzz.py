"""Nothing that a provider or a client sends makes the Anthropic dialect raise what it should not."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extproc.model.errors import GatewayError
from extproc.model.reply import Failed, Finished

from . import kit_anthropic as kit
from . import reading
from .test_anthropic_decoder import WHOLE, framed

BODIES = [(kit.fixture(name), kit.SSE) for name in kit.streams()]
BODIES += [(kit.fixture(name), kit.JSON) for name in WHOLE]
BODIES += [(framed(kit.fixture("text.sse")), kit.FRAMES)]
JUNK = st.sampled_from([b"", b"{", b"}", b'"', b"null", b"\n\n", b"7", b"\xff", b"\\ud800", b"[]"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)


@st.composite
def mutated(draw: st.DrawFn) -> tuple[bytes, Any]:
    body, headers = draw(st.sampled_from(BODIES))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(body)))
        end = min(len(body), at + draw(st.integers(0, 30)))
        body = body[:at] + draw(JUNK) + body[end:]
    return body, headers


@given(mutated(), st.integers(1, 200))
@settings(max_examples=250, deadline=None)
def test_any_reply(reply: tuple[bytes, Any], step: int) -> None:
    body, headers = reply
    pieces = [body[at : at + step] for at in range(0, len(body), step)]
    events, _ = reading.drain(kit.decoder(headers), pieces)
    assert isinstance(events[-1], Finished | Failed)
    if isinstance(events[-1], Finished):
        reading.assert_well_formed(events)
        kit.encode(events)
        kit.encode(events, stream=False)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            found.extend(places(item, (*path, key)))
    return found


EVERYTHING = json.loads(kit.fixture("request_everything.json"))
PLACES = places(EVERYTHING)


@given(st.lists(st.tuples(st.sampled_from(PLACES), VALUES), min_size=1, max_size=2))
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_request(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
    """It is refused, or comes back from the canonical fields as it came."""
    body = json.loads(kit.fixture("request_everything.json"))
    for path, value in changes:
        at = body
        try:
            for key in path[:-1]:
                at = at[key]
            at[path[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue
    try:
        chat = kit.parse(body)
    except GatewayError:
        return
    if "\0wrapped" not in chat.extra.fields:
        assert kit.rebuilt(chat) == body
