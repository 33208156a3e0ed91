"""The log by which Envoy tells a worker what became of an exchange that was cut (decision 019).

One access log for each worker's number, with a cluster of its own whose only host is that
worker: a log cannot choose one for each entry. The socket is a link to the one that the
worker of that number has, so nothing here ever changes. An exchange that ended without a
response flag passes all of them by.
"""

from __future__ import annotations

from extproc.config.layout import Layout
from extproc.config.names import (
    CALL_TAG,
    DETAILS_TAG,
    FLAGS_TAG,
    STATUS_TAG,
    WORKER,
    cuts_cluster,
)
from extproc.config.schema import Settings
from extproc.envoygen.clusters import cluster, options
from extproc.envoygen.nodes import (
    CALL_ID,
    WINDOW,
    Node,
    assignment,
    endpoint,
    extension,
    pipe,
    planned,
)

_FLAGS = ["DC", "DR", "DPE", "UC", "UPE", "UR", "LR", "UT", "SI"]
"""those that an exchange may end with once its reply has begun"""
_TAGS = {
    CALL_TAG: CALL_ID,
    STATUS_TAG: "%RESPONSE_CODE%",
    FLAGS_TAG: "%RESPONSE_FLAGS%",
    DETAILS_TAG: "%RESPONSE_CODE_DETAILS%",
}
_SELDOM = "3600s"
"""each entry leaves at once, so there is never anything to flush"""


def _numbers(settings: Settings) -> range:
    """One more than serve: the place of a replacement."""
    return range(1, settings.workers + 2)


def clusters(settings: Settings, layout: Layout) -> list[Node]:
    return [_cluster(number, layout) for number in _numbers(settings)]


def _cluster(number: int, layout: Layout) -> Node:
    name = cuts_cluster(number)
    return cluster(
        name,
        type="STATIC",
        connect_timeout="1s",
        load_assignment=assignment(name, [endpoint(pipe(layout.cuts_socket(number)))]),
        typed_extension_protocol_options=options(
            explicit_http_config={
                "http2_protocol_options": {
                    "initial_stream_window_size": WINDOW,
                    "initial_connection_window_size": WINDOW,
                }
            }
        ),
    )


def logs(settings: Settings) -> list[Node]:
    """Of a connection manager: one for each worker."""
    return [_log(number) for number in _numbers(settings)]


def _log(number: int) -> Node:
    log = extension(
        "envoy.access_loggers.http_grpc",
        "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",
        common_config={
            "log_name": cuts_cluster(number),
            "transport_api_version": "V3",
            "buffer_size_bytes": 0,
            "buffer_flush_interval": _SELDOM,
            "grpc_service": {
                "envoy_grpc": {"cluster_name": cuts_cluster(number), "skip_envoy_headers": True}
            },
            "custom_tags": [{"tag": tag, "value": value} for tag, value in _TAGS.items()],
        },
    )
    cut = {"response_flag_filter": {"flags": _FLAGS}}
    its = planned(WORKER, str(number), when_absent=False)
    return {**log, "filter": {"and_filter": {"filters": [cut, its]}}}
