"""Answers: their form, their end, how many they are and what is told of them."""

from __future__ import annotations

import json
from typing import Any

from extproc.model.fields import Field
from tests.e2e.matrix.run import Run, Scenario
from tests.e2e.matrix.words import in_words

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"headline": {"type": "string"}, "score": {"type": "integer"}},
    "required": ["headline", "score"],
    "additionalProperties": False,
}


def _structured(run: Run) -> None:
    talk = run.talk(schema=SCHEMA)
    talk.user("Judge this book")
    said = run.ask(talk)
    run.arrived("headline", "score")
    answer = json.loads(said.text)
    assert not said.calls
    run.ended(said, "stop")
    if in_words(run.client.dialect, Field.OUTPUT) not in run.dropped:
        assert answer.keys() == {"headline", "score"}, said
        assert isinstance(answer["score"], int)


def _long(run: Run) -> None:
    talk = run.talk(max_tokens=16)
    talk.user("Write a long story [[mock words=60]]")
    said = run.ask(talk)
    assert len(said.text.split()) == 16, said
    run.ended(said, "length")


def _stop(run: Run) -> None:
    talk = run.talk(stop=("three",))
    talk.user("Count: one two three four")
    said = run.ask(talk)
    assert said.text.strip() == "You said: Count: one two", said
    run.ended(said, "stop", "stop sequence")


def _answers(run: Run) -> None:
    talk = run.talk(answers=2)
    talk.user("Say it in two ways")
    said = run.ask(talk)
    assert said.answers == 2, said
    run.ended(said, "stop")


def _logprobs(run: Run) -> None:
    talk = run.talk(logprobs=True)
    talk.user("How likely is it?")
    said = run.ask(talk)
    assert said.probable, said
    run.ended(said, "stop")


def _refusal(run: Run) -> None:
    talk = run.talk()
    talk.user("Please refuse this")
    said = run.ask(talk)
    if run.provider.wordless:
        assert "cannot help" in said.text, said
    elif said.finish != run.client.finishes["refusal"]:
        # OpenAI's own ends as usual, and says the refusal in a field of its own.
        assert "cannot help" in said.refusal, said
        assert not said.text or said.text == said.refusal
        run.ended(said, "stop")


def _usage(run: Run) -> None:
    talk = run.talk()
    talk.user("Count [[mock usage=120,30]]")
    said = run.ask(talk)
    assert said.usage == (120, 30), said


SCENARIOS = (
    Scenario("structured", "An answer by JSON schema", frozenset({"schema"}), _structured),
    Scenario("long", "An answer cut at the most tokens", frozenset(), _long),
    Scenario("stop", "A stop sequence", frozenset({"stop"}), _stop),
    Scenario("answers", "Two answers at once", frozenset({"answers"}), _answers),
    Scenario("logprobs", "Probabilities of tokens", frozenset({"logprobs"}), _logprobs),
    Scenario("refusal", "The model refuses", frozenset({"refusal"}), _refusal),
    Scenario("usage", "Token counts", frozenset({"usage"}), _usage),
)
