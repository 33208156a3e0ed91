"""Tools: called at once and when they must be, and results of every kind."""

from __future__ import annotations

from tests.e2e.matrix.run import Run, Scenario
from tests.e2e.matrix.scenarios.media import PNG
from tests.e2e.matrix.talk import Result, Tool

WEATHER = Tool("get_weather", "The weather in a city.", "city")
TIME = Tool("get_time", "The time in a zone.", "zone")


def _parallel(run: Run) -> None:
    talk = run.talk(tools=(WEATHER, TIME))
    talk.user("Use get_weather and get_time in parallel")
    said = run.ask(talk)
    run.arrived("get_weather", "The weather in a city.", "city", "get_time", "zone")
    assert [call.name for call in said.calls] == ["get_weather", "get_time"], said
    assert [list(call.arguments) for call in said.calls] == [["city"], ["zone"]], said
    assert len({call.id for call in said.calls}) == 2 or not said.calls[0].id
    run.ended(said, "tool")
    weather, time = said.calls
    talk.results([Result(weather, "twelve degrees"), Result(time, "half past nine")])
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


def _failed(run: Run) -> None:
    talk = run.talk(tools=(WEATHER,))
    talk.user("Use get_weather")
    said = run.ask(talk)
    talk.results([Result(said.calls[0], "the station is silent", failed=True)])
    answer = run.ask(talk)
    run.arrived("the station is silent")
    assert answer.text, answer
    run.ended(answer, "stop")


def _pictured(run: Run) -> None:
    talk = run.talk("seeing", tools=(WEATHER,))
    talk.user("Use get_weather")
    said = run.ask(talk)
    talk.results([Result(said.calls[0], "as the picture shows", picture=PNG)])
    answer = run.ask(talk)
    run.arrived("as the picture shows", run.written(PNG))
    run.ended(answer, "stop")


SCENARIOS = (
    Scenario(
        "parallel", "Two tool calls at once, then their results", frozenset({"tools"}), _parallel
    ),
    Scenario("forced", "A tool that must be called", frozenset({"force"}), _forced),
    Scenario("failed", "A tool that failed", frozenset({"failed result"}), _failed),
    Scenario("pictured", "A picture in a tool's result", frozenset({"pictured result"}), _pictured),
)
