"""The hop: a listener inside Envoy through which each attempt of an exchange goes.

An exchange that may need several attempts, or a look at a reply before it goes
out, is routed to the cluster `attempt`, which leads here. A second ext_proc
filter asks the worker that holds the exchange: it renders the attempt, and
answers with `x-sluice-again` where the next one is to be made, on which the
retry policy of the route to here makes it. Nothing else is ever retried. The hop is there
even if no model needs it: it costs nothing then, and no reload adds or removes it.
"""

from __future__ import annotations

from extproc.config.names import (
    AGAIN_HEADER,
    ATTEMPT_CLUSTER,
    ATTEMPT_ROLE,
    CALL_METADATA,
    CALL_PADDING,
    CALL_STATE,
    DEST_HEADER,
    DEST_STATE,
    END_HEADER,
    EXT_PROC_CLUSTER,
    HOLD_HEADER,
    LENGTH,
    PLAN_NAMESPACE,
    ROLE_METADATA,
    ROUTE_NAMESPACE,
    WHOLE,
)
from extproc.config.schema import Limits, Settings
from extproc.envoygen.clusters import POOL_IDLE, options
from extproc.envoygen.clusters import cluster as base
from extproc.envoygen.filters import kept, narrow, router
from extproc.envoygen.nodes import (
    BUFFER,
    CALL_ID,
    EXT_PROC_TYPE,
    FILTER,
    PER_ROUTE_TYPE,
    Node,
    assignment,
    endpoint,
    extension,
    seconds,
    set_header,
    typed,
)
from extproc.envoygen.routes import WIDE, as_told, flowing, where_told

_LUA = "envoy.filters.http.lua"
_LUA_PER_ROUTE = "envoy.extensions.filters.http.lua.v3.LuaPerRoute"
_HOLD = """
function envoy_on_response(reply)
  local head = reply:headers()
  local length = tonumber(head:get("content-length") or "0")
  if head:get(":status"):sub(1, 1) == "2" and length and length <= MOST then reply:body() end
end
"""
_HEADERS = 220
_HEADERS_KB = 96
"""of a reply: more than a provider's may have, for the codecs in between add their own"""


def cluster() -> Node:
    """What leads to the hop."""
    address: Node = {"envoy_internal_address": {"server_listener_name": ATTEMPT_CLUSTER}}
    clear = extension(
        "envoy.transport_sockets.raw_buffer",
        "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
    )
    return base(
        ATTEMPT_CLUSTER,
        type="STATIC",
        connect_timeout="1s",
        per_connection_buffer_limit_bytes=BUFFER,
        load_assignment=assignment(ATTEMPT_CLUSTER, [endpoint(address)]),
        transport_socket=extension(
            "envoy.transport_sockets.internal_upstream",
            "envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport",
            transport_socket=clear,
        ),
        typed_extension_protocol_options=options(
            common_http_protocol_options={
                "idle_timeout": seconds(POOL_IDLE),
                "max_headers_count": _HEADERS,
                "max_response_headers_kb": _HEADERS_KB,
            },
            explicit_http_config={"http_protocol_options": {}},
        ),
    )


def listener(settings: Settings) -> Node:
    """The hop itself, whole: nothing is lost when it changes. A connection that the attempts
    before a change left open serves one more in the former way, then it is closed."""
    manager = extension(
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=ATTEMPT_CLUSTER,
        codec_type="HTTP1",
        generate_request_id=False,
        skip_xff_append=True,
        server_header_transformation="PASS_THROUGH",
        scheme_header_transformation={"match_upstream": True},
        # the way here has a limit on silence
        stream_idle_timeout="0s",
        # else the outside hears of a reset a second later
        delayed_close_timeout="0s",
        local_reply_config=_broken(),
        route_config=_routes(settings.limits),
        http_filters=[
            _kept_in_mind(),
            _ext_proc(settings),
            _length(),
            narrow(),
            _whole(settings.limits),
            router(),
        ],
    )
    return typed(
        "envoy.config.listener.v3.Listener",
        name=ATTEMPT_CLUSTER,
        internal_listener={},
        per_connection_buffer_limit_bytes=BUFFER,
        filter_chains=[{"filters": [manager]}],
    )


def _broken() -> Node:
    """A reply that breaks while it is held becomes Envoy's own, which asks for the next attempt.

    So does one that is more than may be held, and then nobody else is asked.
    """
    more = {"default_value": 500, "runtime_key": "sluice.attempt.status"}
    return {
        "mappers": [
            {
                "filter": {"response_flag_filter": {"flags": ["UC", "UPE", "UR"]}},
                "headers_to_add": [set_header(AGAIN_HEADER, "%RESPONSE_FLAGS%")],
            },
            {
                "filter": {"status_code_filter": {"comparison": {"op": "EQ", "value": more}}},
                "headers_to_add": [set_header(END_HEADER, "%RESPONSE_CODE_DETAILS%")],
            },
        ]
    }


def _whole(limits: Limits) -> Node:
    """Holds a good reply until it is whole, on the one route that has it enabled, before the worker
    sees its head. One whose length is above the limit is not held: its head is refused."""
    return extension(
        _LUA,
        "envoy.extensions.filters.http.lua.v3.Lua",
        default_source_code={"inline_string": _HOLD.replace("MOST", str(limits.body))},
    )


def _kept_in_mind() -> Node:
    return extension(
        "sluice.attempt",
        "envoy.extensions.filters.http.set_filter_state.v3.Config",
        on_request_headers=[
            kept(CALL_STATE, f"%REQ({CALL_METADATA})%"),
            kept(DEST_STATE, f"%REQ({DEST_HEADER})%"),
        ],
    )


def _ext_proc(settings: Settings) -> Node:
    return extension(
        FILTER,
        EXT_PROC_TYPE,
        # no retry policy: no other worker knows the exchange
        grpc_service={
            "envoy_grpc": {"cluster_name": EXT_PROC_CLUSTER, "skip_envoy_headers": True},
            "initial_metadata": [
                {"key": CALL_METADATA, "value": CALL_ID + CALL_PADDING},
                {"key": DEST_HEADER, "value": f"%FILTER_STATE({DEST_STATE}:PLAIN)%"},
                {"key": ROLE_METADATA, "value": ATTEMPT_ROLE},
            ],
        },
        failure_mode_allow=False,
        status_on_error={"code": 503},
        message_timeout=seconds(_patience(settings)),
        processing_mode=_mode("STREAMED"),
        # pieces come while the head waits for its answer; Envoy ignores every mode_override
        # with this, hence two routes
        send_body_without_waiting_for_header_response=True,
        mutation_rules={"allow_all_routing": True, "allow_envoy": True},
        metadata_options={"receiving_namespaces": {"untyped": [ROUTE_NAMESPACE, PLAN_NAMESPACE]}},
        response_attributes=["response.code_details", "response.flags"],
    )


def _patience(settings: Settings) -> float:
    """Seconds for a worker to answer, who may hold a stream's beginning for a whole window."""
    windows = (route.window.seconds for route in settings.models.values() if route.window)
    return settings.limits.stage_timeout + max(windows, default=0.0)


def _length() -> Node:
    # Envoy drops the length of a body that ext_proc puts in: providers would get it chunked.
    length = set_header("content-length", f"%DYNAMIC_METADATA({PLAN_NAMESPACE}:{LENGTH})%")
    return extension(
        "sluice.length",
        "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
        mutations={"request_mutations": [{"append": length}]},
    )


def _mode(response_body: str) -> Node:
    return {
        "request_header_mode": "SEND",
        "request_body_mode": "NONE",
        "request_trailer_mode": "SKIP",
        "response_header_mode": "SEND",
        "response_body_mode": response_body,
        "response_trailer_mode": "SKIP",
    }


def _routes(limits: Limits) -> Node:
    held = {"name": HOLD_HEADER, "present_match": True}
    unseen = typed(PER_ROUTE_TYPE, overrides={"processing_mode": _mode("NONE")})
    return {
        "name": ATTEMPT_CLUSTER,
        "virtual_hosts": [
            {
                "name": "all",
                "domains": ["*"],
                # with room for what rendering adds to a client's body
                "request_body_buffer_limit": 2 * limits.body,
                "request_headers_to_remove": ["x-forwarded-proto"],
                "typed_per_filter_config": {**WIDE, _LUA: typed(_LUA_PER_ROUTE, disabled=True)},
                "routes": [
                    # found when the worker has spoken: how it is asked was settled before
                    {
                        "match": where_told(WHOLE, "1"),
                        "route": as_told(0),
                        # nothing of its own: the listener's script
                        "typed_per_filter_config": {
                            **WIDE,
                            _LUA: typed(_LUA_PER_ROUTE, filter_context={}),
                        },
                    },
                    *flowing(limits, as_told(0)),
                    {"match": {"prefix": "/", "headers": [held]}, "route": as_told(0)},
                    {
                        "match": {"prefix": "/"},
                        "route": as_told(0),
                        "typed_per_filter_config": {FILTER: unseen},
                    },
                ],
            }
        ],
    }
