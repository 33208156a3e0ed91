"""The laws, for every dialect that lies in the folder: a new one is tested before anybody writes it a test.

Only what every language can say is asked here: one text, whole or streamed. Each
dialect's own tests ask for the rest of it, with fixtures in its own shapes.
"""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extproc.model.call import Target
from extproc.model.dialect import ReplyDecoder, ReplyHead, RequestHead
from extproc.model.errors import GatewayError
from extproc.model.reply import Failed, Finished, Reason
from tests.dialects.kit_laws import DIALECTS, asked, at_home, reply, written
from tests.dialects.reading import assert_cuts_agree, assert_well_formed, drain, endings, text

WORDS = st.lists(
    st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12),
    min_size=1,
    max_size=5,
)
GARBAGE = (b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b"data: {", b'{"a":1e999}', b"\x00" * 64)

each = pytest.mark.parametrize("name", DIALECTS)
both = pytest.mark.parametrize("stream", [False, True])


def test_there_are_dialects() -> None:
    assert {"openai_chat", "anthropic_messages"} <= DIALECTS.keys()
    assert all(one.name == name for name, one in DIALECTS.items())


@both
@each
@settings(max_examples=6, deadline=None)
@given(words=st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20))
def test_law_render_of_parse_is_the_same(name: str, stream: bool, words: str) -> None:
    """S3-2, S3-24, S3-55: law 3, with the raw bytes thrown away."""
    rendered = asked(name, f"x{words}", stream=stream)
    request = at_home(name, rendered)
    assert request.dialect == name
    assert request.stream == stream
    again = DIALECTS[name].render_request(
        replace(request, raw=b""), Target("acme", "a-model", name)
    )
    assert again.path == rendered.path
    assert json.loads(again.body) == json.loads(rendered.body)
    kept = DIALECTS[name].render_request(request, Target("acme", "a-model", name))
    assert kept.body is request.raw or stream


@both
@each
@settings(max_examples=6, deadline=None)
@given(pieces=WORDS, reason=st.sampled_from([Reason.STOP, Reason.LENGTH]))
def test_laws_of_replies(name: str, stream: bool, pieces: list[str], reason: Reason) -> None:
    """S3-55: law 2, that what is written is read again; and law 1, that cuts agree."""
    rendered = asked(name, "x", stream=stream)
    events = reply(pieces, reason)
    head, body = written(name, at_home(name, rendered), events)
    assert head.streams == stream

    def new() -> ReplyDecoder:
        return DIALECTS[name].decoder(head, rendered)

    decoded, _ = drain(new(), [body])
    assert_well_formed(decoded)
    assert text(decoded) == "".join(pieces)
    assert endings(decoded)[0].reason is reason
    assert_cuts_agree(new, body, [1, 7])


@each
@both
def test_law_half_a_reply_is_no_whole_one(name: str, stream: bool) -> None:
    """S3-55: law 4, at every byte."""
    rendered = asked(name, "x", stream=stream)
    words = ["Two", " wörds"]
    head, body = written(name, at_home(name, rendered), reply(words, Reason.LENGTH))
    for end in range(len(body)):
        events, _ = drain(DIALECTS[name].decoder(head, rendered), [body[:end]])
        if isinstance(events[-1], Finished):
            assert text(events) == "".join(words)
            assert endings(events)[0].reason is Reason.LENGTH
        else:
            assert isinstance(events[-1], Failed)


@each
@pytest.mark.parametrize("garbage", GARBAGE, ids=repr)
def test_garbage_raises_nothing_else(name: str, garbage: bytes) -> None:
    dialect = DIALECTS[name]
    for one in dialect.endpoints:
        head = RequestHead(one.method, one.path.replace("*", "x"), "", {}, one.operation)
        try:
            dialect.parse_request(head, garbage)
        except GatewayError as error:
            assert dialect.render_error(error, "gw-1").status == error.status or error.status >= 400
    rendered = asked(name, "x", stream=True)
    for kind in ("application/json", "text/event-stream", "text/html"):
        for status in (200, 429, 500):
            events, _ = drain(
                dialect.decoder(ReplyHead(status, {"content-type": kind}), rendered), [garbage]
            )
            assert isinstance(events[-1], Failed)
            assert sum(isinstance(event, Failed | Finished) for event in events) == 1
