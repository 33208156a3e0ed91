"""`/admin/config` and `/admin/reload`: which configuration is in use, and: read it again.

Takes what the supervisor said of it, and a way to ask the supervisor; gives replies.
Secrets are masked before they come here.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from extproc.admin.errors import CALL_ID, render
from extproc.model.errors import Internal, InvalidRequest, MethodNotAllowed, Timeout

NO_STORE = {"cache-control": "no-store"}
PATIENCE = 25.0
"""seconds that a reload may take until its asker is told to look later"""


@dataclass(frozen=True, slots=True)
class Answer:
    """How a reload ended: `result` in a word, `report` as a JSON object."""

    result: str
    report: bytes


@dataclass(slots=True)
class Active:
    """The configuration in use. Its host updates it; everything here only reads it.

    `about` is a JSON object for people, `last` the report of the last reload. `ask` asks for
    a reload and raises TimeoutError when it takes longer than PATIENCE.
    """

    version: str
    about: bytes
    ask: Callable[[], Awaitable[Answer]]
    last: bytes = b"null"

    def shown(self) -> Response:
        body = {**json.loads(self.about), "last_reload": json.loads(self.last)}
        return JSONResponse(body, headers=NO_STORE)

    async def reload(self, request: Request) -> Response:
        """200 with what changed, 422 with what is wrong, 503 when the gateway did not follow."""
        if request.method != "POST":
            raise MethodNotAllowed("A reload is asked for by POST.", allow=("POST",))
        try:
            answer = await self.ask()
        except TimeoutError:
            message = "The reload takes long; GET /admin/config says how it ended."
            raise Timeout(message, code="reload_not_over") from None
        report = cast("dict[str, object]", json.loads(answer.report))
        if "findings" not in report:
            return JSONResponse(report, headers=NO_STORE)
        findings = "\n".join(cast("list[str]", report["findings"]))
        refused = answer.result == "refused"
        message = f"Nothing was changed:\n{findings}"
        error = (
            InvalidRequest(message, code="configuration_refused", status=422)
            if refused
            else Internal(message, code="reload_failed", status=503)
        )
        return render(error, request.headers.get(CALL_ID, ""), reload=report)
