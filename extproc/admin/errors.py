"""Errors of the management paths: always JSON, always with the call id."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from extproc.model.errors import GatewayError, Internal, MethodNotAllowed, NotFound

CALL_ID = "x-sluice-call-id"
"""set by Envoy on the private socket, on the request and again on the reply"""


def render(error: GatewayError, call_id: str, **more: object) -> Response:
    """`{"error": {message, type, code, param, call_id}}` with the error's own status, and beside it
    what else is told."""
    headers: dict[str, str] = {
        "x-sluice-error-origin": error.origin.value,
        "cache-control": "no-store",
    }
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    if error.allow:
        headers["allow"] = ", ".join(error.allow)
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, round(error.retry_after)))
    body = {
        "error": {
            "message": error.message,
            "type": error.kind.value,
            "code": error.code or error.kind.value,
            "param": error.param,
            "call_id": call_id,
        },
        **more,
    }
    return JSONResponse(body, status_code=error.status, headers=headers)


def ours(request: Request, raised: Exception) -> Response:
    """A `GatewayError` that a handler raised; anything else is a defect and says no more than that."""
    error = raised if isinstance(raised, GatewayError) else Internal("The gateway failed inside.")
    return render(error, request.headers.get(CALL_ID, ""))


def from_router(request: Request, raised: Exception) -> Response:
    """Starlette's own 404 and 405, as ours."""
    assert isinstance(raised, HTTPException)
    path: str = request.scope["path"]
    error: GatewayError
    if raised.status_code == 405:
        error = MethodNotAllowed(
            f"{request.method} is not allowed on {path}.", allow=_allowed(raised.headers)
        )
    elif raised.status_code == 404:
        error = NotFound(f"There is no {path} here.", code="unknown_path")
    else:
        error = Internal(raised.detail, status=raised.status_code)
    return render(error, request.headers.get(CALL_ID, ""))


def _allowed(headers: Mapping[str, str] | None) -> tuple[str, ...]:
    listed = (headers or {}).get("Allow", "GET, HEAD")
    return tuple(sorted(method.strip() for method in listed.split(",")))
