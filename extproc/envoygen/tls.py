"""TLS on both sides: the certificate that clients see, and how providers are verified.

Files are named, never read. There is no setting that turns verification off.
"""

from __future__ import annotations

from pathlib import Path

from extproc.config.schema import Provider, ServerTls
from extproc.envoygen.nodes import Node, RenderError, extension, file, is_ip

_AT_LEAST_1_2 = {"tls_minimum_protocol_version": "TLSv1_2"}


def downstream(tls: ServerTls) -> Node:
    """The listener's transport socket."""
    return extension(
        "envoy.transport_sockets.tls",
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        common_tls_context={
            "tls_params": _AT_LEAST_1_2,
            "tls_certificates": [_certificate(tls.cert, tls.key)],
            "alpn_protocols": ["h2", "http/1.1"],
        },
    )


def upstream(provider: Provider, host: str, roots: Path | None) -> Node:
    """A provider's transport socket: its certificate must be valid for `host` (or for `tls.sni`).

    `roots` is the system's file of trusted authorities, used where the provider
    has no `tls.ca` of its own.
    """
    own = provider.tls
    trusted = own.ca if own is not None and own.ca is not None else roots
    if trusted is None:
        raise RenderError(
            f"providers.{provider.name}: no file of trusted certificate authorities was found "
            f"on this machine; install ca-certificates or set providers.{provider.name}.tls.ca"
        )
    expected = own.sni if own is not None and own.sni is not None else host
    context: Node = {
        "tls_params": _AT_LEAST_1_2,
        "validation_context": {
            "trusted_ca": file(trusted),
            "match_typed_subject_alt_names": [
                {
                    "san_type": "IP_ADDRESS" if is_ip(expected) else "DNS",
                    "matcher": {"exact": expected},
                }
            ],
        },
    }
    if own is not None and own.cert is not None and own.key is not None:
        context["tls_certificates"] = [_certificate(own.cert, own.key)]
    # RFC 6066: an IP literal is not allowed in SNI
    sni: Node = {} if is_ip(expected) else {"sni": expected}
    return extension(
        "envoy.transport_sockets.tls",
        "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        common_tls_context=context,
        **sni,
    )


def _certificate(cert: Path, key: Path) -> Node:
    return {"certificate_chain": file(cert), "private_key": file(key)}
