"""Names that several folders must agree on: clusters, metadata namespaces, internal headers."""

from __future__ import annotations

EXT_PROC_CLUSTER = "extproc"
ADMIN_CLUSTER = "admin"
DENY_CLUSTER = "deny"
"""a cluster without a single host: what an undecided request is sent to"""
ATTEMPT_CLUSTER = "attempt"
"""the hop: a listener inside Envoy, and the cluster that leads to it. Each attempt of an exchange
that may need several is one request through it (decision 017)"""

ROUTE_NAMESPACE = "sluice.route"
"""dynamic metadata that names the clusters (`priority_groups`)"""
PLAN_NAMESPACE = "sluice.plan"
"""dynamic metadata for the access log: flat strings"""
ANSWERED = "answered"
"""key in PLAN_NAMESPACE: the worker made this reply, so Envoy must not reword it"""
LENGTH = "length"
"""key in PLAN_NAMESPACE, of an attempt: the content-length for the provider, in digits"""
CLUSTER = "cluster"
"""key in PLAN_NAMESPACE: the provider's cluster, where the exchange itself went to the hop"""
WORKER = "worker"
"""key in PLAN_NAMESPACE: the worker's number. Envoy tells it when the exchange is cut (decision 019)"""
PROBE = "probe"
"""key in PLAN_NAMESPACE, `yes`: nobody's exchange but our own, to see whether a provider answers"""
CALL_TAG = "call"
STATUS_TAG = "status"
FLAGS_TAG = "flags"
DETAILS_TAG = "details"
"""tags of an entry of that log: all that is read of it"""

FLOWS = "flows"
"""key in PLAN_NAMESPACE: the reply is to flow, so of it and of the request no more is ever held
than this, one of `FLOW_BUFFERS` in digits"""
FLOW_BUFFERS = (64 * 1024, 512 * 1024, 4 * 1024 * 1024)
"""bytes; the request as it goes out has to fit, and a whole reply that comes in the place of one
that flows (an error) into the least of them"""

WHOLE = "whole"
"""key in PLAN_NAMESPACE, of an attempt: its reply goes on when it is whole, so that one that
breaks off or falls silent may give way to the next"""

CALL_STATE = "sluice.call"
"""filter state in which Envoy keeps the call id"""
CALL_METADATA = "x-sluice-call"
PEER_METADATA = "x-sluice-peer"
"""gRPC initial metadata: call id and address of the connection's other end, from Envoy alone"""
CALL_PADDING = 11 * "\\"
"""behind a call id in the metadata: 19 bits each as Huffman code, so that the header is sent
as plain text, which costs nothing to decode. Hexadecimal digits save at most 3 bits each."""

ROLE_METADATA = "x-sluice-role"
ATTEMPT_ROLE = "attempt"
"""gRPC initial metadata: which of the two filters asks. The clients' sends none"""
DEST_HEADER = "x-sluice-dest"
"""the socket of the worker that holds the exchange: a header to the hop, metadata from there"""
DEST_STATE = "sluice.dest"
HOLD_HEADER = "x-sluice-hold"
"""to the hop: replies may be held, so their bodies are shown to the worker"""
AGAIN_HEADER = "x-sluice-again"
"""from the hop: this attempt failed, the next one is to begin; its value says why"""
END_HEADER = "x-sluice-end"
"""from the hop: there will be no further attempt; its value says why"""
SHADOW_HEADER = "x-sluice-shadow"
"""a request of our own: its token says what it is, a copy (decision 018) or a probe (decision 020).
Heard at the private listener alone, taken from clients"""
PROBE_HEADER = "x-sluice-probe"
"""of the reply to a probe (decision 020): what came of it, in a worker's word"""
PROBED_OK = "ok"
COPIES_LISTENER = "copies"
"""the private listener: everything that the clients' one does, on a socket for us alone"""
HOP_HEADERS = (ROLE_METADATA, DEST_HEADER, HOLD_HEADER, AGAIN_HEADER, END_HEADER)
"""between the two filters alone: taken from clients, and from what providers send and get"""

CALL_HEADER = "x-sluice-call-id"
ATTEMPTS_HEADER = "x-sluice-attempts"
WHY_HEADER = "x-sluice-why"
"""of an exchange that might have had several attempts: how many it took, and the reasons' codes"""
COUNT_HEADER = "x-sluice-count"
"""of a counted prompt: `provider` or `estimate`, whoever did the counting"""

MANAGEMENT_PATHS = ("/health", "/health/ready", "/health/detailed", "/metrics", "/providers")
"""exact paths that go to the admin process, beside everything under /admin/"""


def cuts_cluster(number: int) -> str:
    """Envoy's name for the worker of this number, as the receiver of its log."""
    return f"cuts-{number}"


def provider_cluster(name: str, revision: int = 0) -> str:
    """Envoy's name for the hosts of a provider, or of one of its regions (`provider@region`). No name
    of either has an `@` in it, and no region's begins with a digit."""
    return f"provider-{name}@{revision}" if revision else f"provider-{name}"
