"""The stages of one exchange, in order: requests pass inwards, events outwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from extproc.model.call import Attempt, Call, Ending
from extproc.model.reply import Event
from extproc.model.stage import Answer, Stage


class Pipeline:
    """`touches` is true when a stage may change the reply, so that its raw bytes cannot pass.

    `reads_requests`: a stage must see what a request says.
    `settles` is true when a stage has something to do at the end, and may wait for it.
    """

    __slots__ = ("_outwards", "_stages", "reads_requests", "settles", "touches")

    def __init__(self, stages: Sequence[Callable[[], Stage]]) -> None:
        self._stages = [stage() for stage in stages]
        self._outwards = [
            s for s in reversed(self._stages) if type(s).on_event is not Stage.on_event
        ]
        self.touches = bool(self._outwards)
        self.reads_requests = any(s.READS_REQUESTS for s in self._stages)
        self.settles = any(type(s).on_end is not Stage.on_end for s in self._stages)

    async def on_request(self, call: Call) -> Call | Answer:
        for stage in self._stages:
            answer = await stage.on_request(call)
            if isinstance(answer, Answer):
                return answer
            call = answer
        return call

    async def on_attempt(self, call: Call, attempt: Attempt) -> None:
        for stage in self._stages:
            await stage.on_attempt(call, attempt)

    def on_events(self, events: Sequence[Event]) -> Sequence[Event]:
        for stage in self._outwards:
            events = [out for event in events for out in stage.on_event(event)]
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
