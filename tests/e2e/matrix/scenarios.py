"""What every client asks of every provider, and what must come back.

A scenario leads one conversation through a `Run`, in the client's own words, and
asserts on what the SDK's user reads and on what arrived at the provider: a field
that got lost in silence is a failure, whatever was answered.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from extproc.mock import MockProvider
from tests.e2e.matrix.talk import Ask, Client, Said, Talk, Tool

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
WEATHER = Tool("get_weather", "The weather in a city.", "city")
TIME = Tool("get_time", "The time in a zone.", "zone")
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"headline": {"type": "string"}, "score": {"type": "integer"}},
    "required": ["headline", "score"],
    "additionalProperties": False,
}

WORDLESS = frozenset({"ollama_chat", "cohere_chat", "openai_completions"})
"""providers that refuse in plain text"""


@dataclass(slots=True)
class Run:
    """One scenario between one client and one provider. Gathers what the gateway said it dropped."""

    client: Client
    provider: str
    mock: MockProvider
    stream: bool
    dropped: dict[str, None] = field(default_factory=dict[str, None])

    def talk(self, skill: str = "", **ask: Any) -> Talk:
        """A conversation with the provider's model that has this skill."""
        return self.client.talk(Ask(alias(self.provider, skill), **ask))

    def ask(self, talk: Talk) -> Said:
        self.mock.clear()
        said = talk.ask(stream=self.stream)
        self.dropped |= dict.fromkeys(self.client.last.dropped)
        return said

    def arrived(self, *needles: str) -> None:
        """Asserts that the provider was sent all of these."""
        (request,) = self.mock.requests
        body = json.dumps(request.json, ensure_ascii=False)
        missing = [one for one in needles if json.dumps(one, ensure_ascii=False)[1:-1] not in body]
        assert not missing, f"{missing} did not arrive: {body}"

    def ended(self, said: Said, how: str) -> None:
        """Asserts the reply's end, and that a stream came in pieces."""
        assert said.finish == self.client.finishes[how], said
        if self.stream:
            assert said.deltas > 1, f"a stream in {said.deltas} pieces: {said}"


def alias(provider: str, skill: str = "") -> str:
    """What clients call the model of this language's provider."""
    return f"{skill}-on-{provider.replace('_', '-')}".removeprefix("-")


@dataclass(frozen=True, slots=True)
class Scenario:
    """`needs` is what the client's language must be able to ask for; `play` leads it."""

    name: str
    title: str
    needs: frozenset[str]
    play: Callable[[Run], None]


def _text(run: Run) -> None:
    talk = run.talk()
    talk.user("Tell me about rivers, größer 🏞")
    said = run.ask(talk)
    run.arrived("Tell me about rivers, größer 🏞")
    assert said.text.startswith("You said: Tell me about rivers, größer 🏞"), said
    assert not said.calls
    run.ended(said, "stop")


def _turns(run: Run) -> None:
    talk = run.talk(system="Answer as a botanist would.")
    talk.user("Which tree is oldest?")
    first = run.ask(talk)
    run.arrived("Answer as a botanist would.", "Which tree is oldest?")
    talk.user("And which is tallest?")
    second = run.ask(talk)
    run.arrived(
        "Answer as a botanist would.", "Which tree is oldest?", first.text, "And which is tallest?"
    )
    assert second.text.startswith("You said: "), second
    run.ended(second, "stop")


def _parallel(run: Run) -> None:
    talk = run.talk(tools=(WEATHER, TIME))
    talk.user("Use get_weather and get_time in parallel")
    said = run.ask(talk)
    run.arrived("get_weather", "The weather in a city.", "city", "get_time", "zone")
    assert [call.name for call in said.calls] == ["get_weather", "get_time"], said
    assert [list(call.arguments) for call in said.calls] == [["city"], ["zone"]], said
    assert len({call.id for call in said.calls}) == 2 or not said.calls[0].id
    run.ended(said, "tool")
    talk.results([(said.calls[0], "twelve degrees"), (said.calls[1], "half past nine")])
    answer = run.ask(talk)
    run.arrived("Use get_weather and get_time in parallel", "twelve degrees", "half past nine")
    assert answer.text.startswith("You said: "), answer
    assert not answer.calls
    run.ended(answer, "stop")


def _forced(run: Run) -> None:
    talk = run.talk(tools=(WEATHER, TIME), force="get_time")
    talk.user("Hello there")
    said = run.ask(talk)
    assert [call.name for call in said.calls] == ["get_time"], said
    assert list(said.calls[0].arguments) == ["zone"], said


def _structured(run: Run) -> None:
    talk = run.talk(schema=SCHEMA)
    talk.user("Judge this book")
    said = run.ask(talk)
    run.arrived("headline", "score")
    answer = json.loads(said.text)
    assert answer.keys() == {"headline", "score"}, said
    assert isinstance(answer["score"], int)
    assert not said.calls
    run.ended(said, "stop")


def _image(run: Run) -> None:
    talk = run.talk("seeing")
    talk.user("What is in this picture?", PNG)
    said = run.ask(talk)
    run.arrived("What is in this picture?", _data(run))
    run.ended(said, "stop")


def _data(run: Run) -> str:
    data = base64.b64encode(PNG)
    if (run.client.dialect, run.provider) == ("gemini_generate", "gemini_generate"):
        # Google's SDK writes the alphabet of URLs, and what goes home goes as it is.
        data = base64.urlsafe_b64encode(PNG)
    return data.decode()


def _thinking(run: Run) -> None:
    talk = run.talk("thinking", tools=(WEATHER, TIME), think=True)
    talk.user("Use get_weather")
    said = run.ask(talk)
    if (run.client.dialect, run.provider) != ("openai_chat", "openai_responses"):
        # An effort is all that a chat client can ask for, and there it shows nothing.
        assert said.thinking, said
    assert [call.name for call in said.calls] == ["get_weather"], said
    run.ended(said, "tool")
    talk.results([(said.calls[0], "twelve degrees")])
    answer = run.ask(talk)
    run.arrived("twelve degrees")
    assert answer.text, answer
    run.ended(answer, "stop")


def _long(run: Run) -> None:
    talk = run.talk(max_tokens=16)
    talk.user("Write a long story [[mock words=60]]")
    said = run.ask(talk)
    assert len(said.text.split()) == 16, said
    run.ended(said, "length")


def _refusal(run: Run) -> None:
    talk = run.talk()
    talk.user("Please refuse this")
    said = run.ask(talk)
    if run.provider in WORDLESS:
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
    Scenario("text", "Text", frozenset(), _text),
    Scenario("turns", "Several turns with a system prompt", frozenset({"system"}), _turns),
    Scenario(
        "parallel", "Two tool calls at once, then their results", frozenset({"tools"}), _parallel
    ),
    Scenario("forced", "A tool that must be called", frozenset({"force"}), _forced),
    Scenario("structured", "An answer by JSON schema", frozenset({"schema"}), _structured),
    Scenario("image", "A picture as bytes", frozenset({"image"}), _image),
    Scenario("thinking", "Thinking, then a tool, then its result", frozenset({"think"}), _thinking),
    Scenario("long", "An answer cut at the most tokens", frozenset(), _long),
    Scenario("refusal", "The model refuses", frozenset({"refusal"}), _refusal),
    Scenario("usage", "Token counts", frozenset({"usage"}), _usage),
)
