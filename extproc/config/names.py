"""Names that several folders must agree on: clusters, metadata namespaces, internal headers."""

from __future__ import annotations

EXT_PROC_CLUSTER = "extproc"
ADMIN_CLUSTER = "admin"
DENY_CLUSTER = "deny"
"""a cluster without a single host: what an undecided request is sent to"""

ROUTE_NAMESPACE = "sluice.route"
"""dynamic metadata that names the clusters (`priority_groups`)"""
PLAN_NAMESPACE = "sluice.plan"
"""dynamic metadata for the access log: flat strings"""
ANSWERED = "answered"
"""key in PLAN_NAMESPACE: the worker made this reply, so Envoy must not reword it"""

CALL_STATE = "sluice.call"
"""filter state in which Envoy keeps the call id"""
CALL_METADATA = "x-sluice-call"
PEER_METADATA = "x-sluice-peer"
"""gRPC initial metadata: call id and address of the connection's other end, from Envoy alone"""
CALL_PADDING = 11 * "\\"
"""behind a call id in the metadata: 19 bits each as Huffman code, so that the header is sent
as plain text, which costs nothing to decode. Hexadecimal digits save at most 3 bits each."""

CALL_HEADER = "x-sluice-call-id"
COUNT_HEADER = "x-sluice-count"
"""of a counted prompt: `provider` or `estimate`, whoever did the counting"""

MANAGEMENT_PATHS = ("/health", "/health/ready", "/health/detailed", "/metrics", "/providers")
"""exact paths that go to the admin process, beside everything under /admin/"""


def provider_cluster(name: str) -> str:
    """Envoy's name for the hosts of a provider."""
    return f"provider-{name}"
