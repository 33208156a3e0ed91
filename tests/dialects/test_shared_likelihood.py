"""How likely tokens were, between all languages that tell it: each one's note, written and read in each other's."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from extproc.dialects import _likelihood
from extproc.model.reply import Note, NoteKind, Reason
from tests.dialects.kit_laws import DIALECTS, asked, at_home, reply, written
from tests.dialects.reading import assert_well_formed, drain

CHOSEN = [{"token": "Two", "logprob": -0.5}, {"token": " wörds", "logprob": -0.25}]
OTHER = {"token": "Too", "logprob": -2.0}
TOKENS: list[dict[str, Any]] = [
    {**one, "bytes": list(one["token"].encode()), "top_logprobs": []} for one in CHOSEN
]
TOKENS[0]["top_logprobs"] = [{**OTHER, "bytes": [84, 111, 111]}]


def _candidate(one: Any) -> Any:
    return {"token": one["token"], "logProbability": one["logprob"], "tokenId": 7}


SHAPES: dict[str, Any] = {
    "openai_chat": {"content": TOKENS, "refusal": None},
    "openai_responses": {"content": TOKENS},
    "openai_completions": {
        "tokens": [one["token"] for one in CHOSEN],
        "token_logprobs": [one["logprob"] for one in CHOSEN],
        "top_logprobs": [{OTHER["token"]: OTHER["logprob"]}, {}],
        "text_offset": [0, 3],
    },
    "gemini_generate": {
        "chosenCandidates": [_candidate(one) for one in CHOSEN],
        "topCandidates": [{"candidates": [_candidate(OTHER)]}, {"candidates": []}],
    },
    "ollama_chat": TOKENS,
}
"""one note in the shape of each language that tells of tokens"""
READERS = (*SHAPES, "cohere_chat")
"""languages whose clients can be told"""

both = pytest.mark.parametrize("stream", [False, True])
of_sources = pytest.mark.parametrize("source", SHAPES)


def note(source: str) -> Note:
    return Note(NoteKind.LOGPROBS, SHAPES[source], 0, 0, source)


@of_sources
def test_every_shape_tells_the_same(source: str) -> None:
    assert _likelihood.tokens_of(note(source)) == TOKENS


@both
@of_sources
@pytest.mark.parametrize("client", READERS)
def test_it_is_written_and_read_again(client: str, source: str, stream: bool) -> None:
    rendered = asked(client, "x", stream=stream)
    events = reply([one["token"] for one in CHOSEN], Reason.STOP)
    last = next(i for i, event in enumerate(events) if type(event).__name__ == "PartEnded")
    head, body = written(
        client, at_home(client, rendered), [*events[:last], note(source), *events[last:]]
    )
    decoded, _ = drain(DIALECTS[client].decoder(head, rendered), [body])
    assert_well_formed(decoded)
    told = [e for e in decoded if isinstance(e, Note) and e.kind is NoteKind.LOGPROBS]
    assert {one.dialect for one in told} == {client}
    if client == "cohere_chat":
        # It tells of stretches of text.
        assert [(v["text"], v["logprobs"]) for v in (one.value for one in told)] == [  # type: ignore[index]
            ("Two wörds", [-0.5, -0.25])
        ]
    else:
        assert [token for one in told for token in _likelihood.tokens_of(one)] == TOKENS


@pytest.mark.parametrize(
    "value", [None, 1, "x", {}, [], {"content": None}, {"content": [1]}, {"tokens": []}, [None]]
)
def test_what_tells_nothing_stays_away(value: Any) -> None:
    odd = Note(NoteKind.LOGPROBS, value, 0, 0, "other")
    assert _likelihood.tokens_of(odd) == []
    assert _likelihood.own(odd, "openai_chat", list[Any]) is odd


def test_notes_of_other_kinds_are_not_touched() -> None:
    cited = Note(NoteKind.CITATION, SHAPES["ollama_chat"], 0, 0, "other")
    assert _likelihood.own(cited, "openai_chat", list[Any]) is cited
    at_home = note("openai_chat")
    assert _likelihood.own(at_home, "openai_chat", list[Any]) is at_home
    assert import_module("extproc.dialects.openai_chat.parts").own(at_home) is at_home
