"""Conversations: text, turns, system text, thinking, what was cited before."""

from __future__ import annotations

from tests.e2e.matrix.run import Run, Scenario
from tests.e2e.matrix.scenarios.tools import TIME, WEATHER

_SOURCE = "https://example.org/tower"


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


def _system_within(run: Run) -> None:
    talk = run.talk()
    talk.user("Which tree is oldest?")
    first = run.ask(talk)
    talk.user("And which is tallest?")
    talk.system("Answer in verse from now on.")
    second = run.ask(talk)
    run.arrived(first.text, "Answer in verse from now on.", "And which is tallest?")
    run.ended(second, "stop")


def _thinking(run: Run) -> None:
    talk = run.talk("thinking", tools=(WEATHER, TIME), think=True)
    talk.user("Use get_weather")
    said = run.ask(talk)
    shown = shows_thoughts(run)
    if shown:
        assert said.thinking, said
    assert [call.name for call in said.calls] == ["get_weather"], said
    # A call alone is one piece in some languages.
    run.ended(said, "tool", pieces=shown)
    talk.results([said.gave("twelve degrees")])
    answer = run.ask(talk)
    run.arrived("twelve degrees")
    assert answer.text, answer
    run.ended(answer, "stop")


def shows_thoughts(run: Run) -> bool:
    """An effort is all that a chat client can ask for, and OpenAI shows nothing for it."""
    quiet = (run.client.dialect, run.provider.dialect) == ("openai_chat", "openai_responses")
    return not (quiet or run.provider.hides)


def _cited(run: Run) -> None:
    talk = run.talk()
    talk.user("When was the tower built?")
    talk.cited("It was built in 1889.", _SOURCE)
    talk.user("How tall is it?")
    said = run.ask(talk)
    run.arrived("When was the tower built?", "It was built in 1889.", "How tall is it?")
    if run.provider.dialect == run.client.dialect:
        run.arrived(_SOURCE)
    run.ended(said, "stop")


SCENARIOS = (
    Scenario("text", "Text", frozenset(), _text),
    Scenario("turns", "Several turns with a system prompt", frozenset({"system"}), _turns),
    Scenario(
        "system within",
        "System text in the midst of a conversation",
        frozenset({"system within"}),
        _system_within,
    ),
    Scenario("thinking", "Thinking, then a tool, then its result", frozenset({"think"}), _thinking),
    Scenario("cited", "An earlier answer with its source", frozenset({"citations"}), _cited),
)
