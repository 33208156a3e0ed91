"""The stages of one exchange, in order: requests pass inwards, events outwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from extproc.model.call import Attempt, Call, Ending
from extproc.model.reply import Event
from extproc.model.stage import Answer, Stage


class Pipeline:
    """Once the request has passed, the stages have said whether they watch the reply:

    `touches` is true when one may change it, so that its raw bytes cannot pass;
    `looks` when there is anybody to whom its events must be shown.
    """

    __slots__ = ("_outwards", "_stages", "looks", "touches")

    def __init__(self, stages: Sequence[Callable[[], Stage]]) -> None:
        self._stages = [stage() for stage in stages]
        self._outwards: list[tuple[Stage, bool]] = []
        self.touches = self.looks = False

    @property
    def reads_requests(self) -> bool:
        """A stage must see what a request says."""
        return any(s.READS_REQUESTS for s in self._stages)

    @property
    def settles(self) -> bool:
        """A stage has something to do at the end, and may wait for it."""
        return any(type(stage).on_end is not Stage.on_end for stage in self._stages)

    async def on_request(self, call: Call) -> Call | Answer:
        for stage in self._stages:
            answer = await stage.on_request(call)
            if isinstance(answer, Answer):
                self._watch()
                return answer
            call = answer
        self._watch()
        return call

    def _watch(self) -> None:
        for stage in self._stages:
            if not stage.watches:
                continue
            if type(stage).on_event is not Stage.on_event:
                self._outwards.insert(0, (stage, True))
                self.touches = self.looks = True
            elif type(stage).on_seen is not Stage.on_seen:
                self._outwards.insert(0, (stage, False))
                self.looks = True

    async def on_attempt(self, call: Call, attempt: Attempt) -> None:
        for stage in self._stages:
            await stage.on_attempt(call, attempt)

    def on_events(self, events: Sequence[Event]) -> Sequence[Event]:
        """What is left of the events when all have seen them, each in its place."""
        for stage, changes in self._outwards:
            if changes:
                events = [out for event in events for out in stage.on_event(event)]
            else:
                for event in events:
                    stage.on_seen(event)
        return events

    async def on_end(self, ending: Ending) -> BaseException | None:
        """Every stage is told, whatever another one does; the first defect is handed back."""
        defect: BaseException | None = None
        for stage in self._stages:
            try:
                await stage.on_end(ending)
            except Exception as error:
                defect = defect or error
        return defect


NO_STAGES = Pipeline(())
"""for all exchanges of a gateway that has none: it keeps nothing of them"""
