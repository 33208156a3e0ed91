"""A probe, as a worker has it: a request of the gateway's own for what costs no token.

Takes what its token says and the configuration; gives the request as it leaves, to that provider
alone and with its credential, and puts one word into the reply's head: `ok`, or the `Failure`
that it shows. The body passes unseen. No stage runs, and nothing is asked of `Health`: whoever
sent it judges (`admin/probing.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from extproc.config.catalogue import listing
from extproc.config.names import PROBE, PROBE_HEADER, PROBED_OK
from extproc.config.schema import Probing
from extproc.config.targets import place_of
from extproc.flow.copying import Probe
from extproc.flow.failures import VIA_UPSTREAM, of_network, of_status
from extproc.flow.messages import Continue, Mode, ResponseHead
from extproc.flow.record import Record
from extproc.flow.sending import leave
from extproc.model.call import Caller, Failure, Outcome
from extproc.model.dialect import Rendered, RequestHead
from extproc.model.embed import Opaque
from extproc.model.errors import GatewayError, NotFound
from extproc.routing.atlas import Atlas
from extproc.routing.backend import Planned

_PROBER = Caller("probe", models=frozenset())
_MARK = ((PROBE, "yes"),)


def asking(atlas: Atlas, probe: Probe, headers: Mapping[str, str], record: Record) -> Continue:
    """The question. Raises NotFound, or what the credential raises."""
    to, terms = _found(atlas, probe)
    record.probe, record.caller = True, _PROBER
    record.target, record.dialect = to.target, to.dialect.name
    asked, rendered = _question(to, terms)
    answer = leave(
        RequestHead(asked.method, asked.path, "", headers),
        to,
        asked,
        rendered,
        record,
        received=rendered.body,
        timeout=terms.timeout,
        mark=_MARK,
    )
    return replace(answer, mode=Mode.REQUEST)


def answered(atlas: Atlas, message: ResponseHead, record: Record) -> Continue:
    """A provider's reply, or Envoy's in its place: both say how the provider is."""
    status = message.headers.get(":status", "")
    record.status = int(status) if status.isdecimal() else 0
    if message.details != VIA_UPSTREAM:
        failure = of_network(message.details)
    elif record.status in atlas.dialects[record.dialect].key_refusals:
        # what was asked is ours, so that it is right, and the key is wrong
        failure = Failure.CREDENTIAL
    else:
        failure = of_status(record.status)
    record.outcome = Outcome.OK if failure is None else Outcome.PROVIDER_ERROR
    return Continue(set=((PROBE_HEADER, PROBED_OK if failure is None else failure.value),))


def _found(atlas: Atlas, probe: Probe) -> tuple[Planned, Probing]:
    backend = atlas.backends.get(probe.provider)
    for one in backend.each if backend is not None else ():
        dialect = one.dialects[one.provider.dialect]
        target = one.target("", dialect.name)
        if place_of(target.key) == probe.place and one.provider.probing is not None:
            return Planned(one, dialect, target), one.provider.probing
    raise NotFound("Nobody is to be probed there.")


def _question(to: Planned, terms: Probing) -> tuple[Opaque, Rendered]:
    """A path that a person gave is taken as it stands; its headers are the dialect's all the same."""
    target = to.target
    path = terms.path or listing(target.dialect, target.variant) or "/"
    asked = Opaque(target.dialect, "GET", path, "")
    try:
        rendered = to.dialect.render_request(asked, target)
    except GatewayError:
        return asked, Rendered(path, b"", method="GET")
    return asked, rendered if terms.path is None else replace(rendered, path=path)
