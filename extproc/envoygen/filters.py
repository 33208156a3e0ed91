"""The HTTP filters of the gateway's listener, ext_proc first among them.

ext_proc is served by ECDS, not written into the listener: a change of its
settings then drains nothing.
"""

from __future__ import annotations

from extproc.config.layout import Layout
from extproc.config.names import (
    CALL_METADATA,
    CALL_PADDING,
    CALL_STATE,
    EXT_PROC_CLUSTER,
    HOP_HEADERS,
    PEER_METADATA,
    PLAN_NAMESPACE,
    ROUTE_NAMESPACE,
)
from extproc.config.schema import Limits
from extproc.envoygen.nodes import (
    CALL_ID,
    EXT_PROC_TYPE,
    FILTER,
    NARROW,
    PEER,
    Node,
    extension,
    remove_prefix,
    seconds,
    typed,
    watched,
)


def http_filters(layout: Layout) -> list[Node]:
    """In the order in which a request meets them."""
    return [_call_id(), _discovered(layout), narrow(), router()]


def _call_id() -> Node:
    # filter state, not a header: nobody outside can set it, and nobody has to strip it
    return extension(
        "sluice.call_id",
        "envoy.extensions.filters.http.set_filter_state.v3.Config",
        on_request_headers=[kept(CALL_STATE, "gw-%UNIQUE_ID%")],
    )


def kept(key: str, value: str) -> Node:
    """A filter state that lasts as long as its stream. `value` is a format string."""
    return {
        "object_key": key,
        "factory_key": "envoy.string",
        "format_string": {"text_format_source": {"inline_string": value}},
    }


def _discovered(layout: Layout) -> Node:
    return {
        "name": FILTER,
        "config_discovery": {
            "config_source": watched(layout.xds("ecds")),
            "type_urls": [f"type.googleapis.com/{EXT_PROC_TYPE}"],
        },
    }


def narrow() -> Node:
    """Behind ext_proc: it asks the route that was found with the worker's answer.

    Nothing else in Envoy lowers a stream's buffer limit: routes only raise it.
    """
    return extension(
        NARROW,
        "envoy.extensions.filters.http.buffer.v3.Buffer",
        # never asked for: every route has its own word
        max_request_bytes=1,
    )


def router() -> Node:
    return extension(
        "envoy.filters.http.router",
        "envoy.extensions.filters.http.router.v3.Router",
        suppress_envoy_headers=True,
        dynamic_stats=False,
    )


def early_headers(*more: str) -> list[Node]:
    """What a client may not say, taken out before any filter, route or log sees it; `more` are
    names of headers.

    The rest of `x-sluice-*` reaches the worker, which reads the few that clients
    may send and forwards none.
    """
    removed: list[Node] = [
        {"remove": "x-request-id"},
        remove_prefix("x-envoy-"),
        remove_prefix("x-forwarded-"),
        remove_prefix(CALL_METADATA),
        remove_prefix(PEER_METADATA),
        *({"remove": name} for name in (*HOP_HEADERS, *more)),
    ]
    return [
        extension(
            "sluice.early_headers",
            "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
            mutations=removed,
        )
    ]


def ext_proc(limits: Limits) -> Node:
    """The filter that asks a worker about every exchange, as an ECDS resource.

    Closed in every direction: an error or a timeout is a 503, and a request
    that no worker routed goes to the deny cluster.
    """
    return typed(
        "envoy.config.core.v3.TypedExtensionConfig",
        name=FILTER,
        typed_config=typed(
            EXT_PROC_TYPE,
            grpc_service=_grpc_service(),
            failure_mode_allow=False,
            status_on_error={"code": 503},
            message_timeout=seconds(limits.stage_timeout),
            # response headers are asked for by the worker, per request: with SEND here
            # Envoy's own replies to protocol errors (400, 431) would be lost
            processing_mode={
                "request_header_mode": "SEND",
                "request_body_mode": "BUFFERED",
                "request_trailer_mode": "SKIP",
                "response_header_mode": "SKIP",
                "response_body_mode": "NONE",
                "response_trailer_mode": "SKIP",
            },
            allow_mode_override=True,
            mutation_rules={"allow_all_routing": True, "allow_envoy": True},
            metadata_options={
                "receiving_namespaces": {"untyped": [ROUTE_NAMESPACE, PLAN_NAMESPACE]}
            },
            response_attributes=["response.code_details"],
        ),
    )


def _grpc_service() -> Node:
    return {
        "envoy_grpc": {"cluster_name": EXT_PROC_CLUSTER, "skip_envoy_headers": True},
        "initial_metadata": [
            {"key": CALL_METADATA, "value": CALL_ID + CALL_PADDING},
            {"key": PEER_METADATA, "value": PEER},
        ],
        # a worker that has just gone must not become a black hole until its health
        # check fails; envoy_grpc.retry_policy would not do this
        "retry_policy": {
            "retry_on": (
                "connect-failure,reset,refused-stream,unavailable,cancelled,resource-exhausted"
            ),
            "num_retries": 2,
            "host_selection_retry_max_attempts": 30,
            "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.02s"},
            "retry_host_predicate": [
                extension(
                    "envoy.retry_host_predicates.previous_hosts",
                    "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
                )
            ],
        },
    }
