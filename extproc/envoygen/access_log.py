"""Envoy's access log: one JSON line an exchange, also for those that no worker saw.

No query string, no header of the client's, no body: nothing that could hold a
credential or a prompt.
"""

from __future__ import annotations

from extproc.config.layout import Layout
from extproc.config.names import CLUSTER, PLAN_NAMESPACE
from extproc.envoygen.local_replies import CALL_ID_OR_TIME
from extproc.envoygen.nodes import PEER, Node, extension, first_of

# Envoy sends an exchange with several attempts to the hop: a worker says whose reply it was.
_CLUSTER = first_of(("DYNAMIC_METADATA", f"{PLAN_NAMESPACE}:{CLUSTER}"), ("UPSTREAM_CLUSTER", ""))

FIELDS = {
    "time": "%START_TIME%",
    "call_id": CALL_ID_OR_TIME,
    "peer": PEER,
    "method": "%REQ(:METHOD)%",
    "path": "%PATH(NQ)%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration_ms": "%DURATION%",
    "request_ms": "%REQUEST_DURATION%",
    "response_ms": "%RESPONSE_DURATION%",
    "cluster": _CLUSTER,
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "upstream_failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "plan": f"%DYNAMIC_METADATA({PLAN_NAMESPACE})%",
}


def access_log(layout: Layout, **more: str) -> list[Node]:
    """`more` are members that are the same in every line."""
    return [
        extension(
            "envoy.access_loggers.file",
            "envoy.extensions.access_loggers.file.v3.FileAccessLog",
            path=str(layout.access_log),
            log_format={
                "json_format": {**FIELDS, **more},
                "json_format_options": {"sort_properties": False},
            },
        )
    ]
