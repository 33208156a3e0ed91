"""A configuration in use, and a supervisor that answers a reload as a test says."""

from __future__ import annotations

import json
from dataclasses import dataclass

from extproc.admin.configuration import Active, Answer

ABOUT = {"version": "v1", "source": "sluice.yaml", "settings": {"keys": []}}


@dataclass
class PlayedSupervisor:
    """`report` None: it takes too long."""

    result: str = "unchanged"
    report: dict[str, object] | None = None
    asked: int = 0

    async def answer(self) -> Answer:
        self.asked += 1
        if self.report is None:
            raise TimeoutError
        return Answer(self.result, json.dumps(self.report).encode())


def active(supervisor: PlayedSupervisor | None = None) -> Active:
    about = json.dumps(ABOUT).encode()
    return Active("v1", about, (supervisor or PlayedSupervisor()).answer)
