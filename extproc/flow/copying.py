"""Shadow copies: what leaves as one, and how one that comes back is known; so are probes.

A copy is the client's own request, sent once more through the private listener: it passes the
same stages, in the same caller's name, and goes to the one target that was drawn for it. What
makes it a copy is its token, which any worker of this gateway can check. Waits for nothing.
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from hashlib import blake2b

from extproc.config.names import SHADOW_HEADER
from extproc.flow.identify import KEY_HEADERS
from extproc.model.call import Call, CallId
from extproc.model.dialect import RequestHead
from extproc.model.embed import Count, Opaque, Routed
from extproc.model.errors import Unauthenticated
from extproc.model.ports import Clock, Copies, Copy
from extproc.model.value import value
from extproc.routing.backend import Plan
from extproc.routing.decide import copied

LIFE = 30.0
"""seconds for which a token is good: longer than a copy ever waits to be sent"""
LONGEST_NAME = 1024
"""characters of a model's, which a client may choose and a token has to hold"""
_LEAST_KEY = 16
_OF_A_PROBE = 2
"""of a token's members: what a probe's has beside its end and its number"""
_STAYS = frozenset(
    (
        *KEY_HEADERS,
        "authorization",
        "connection",
        "content-length",
        "cookie",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-forwarded-proto",
    )
)
"""of the client's headers: its credentials, and what is said of its connection or body alone"""


@value
class Shadow:
    """What a copy is: of which call, in which caller's name, made under which `model` of the
    configuration, and for whom."""

    of: CallId
    caller: str
    model: str
    provider: str
    asked: str


@value
class Probe:
    """What a probe is: which one, of which provider, and which `place` (`config.targets`) of it."""

    of: CallId
    provider: str
    place: str


class Tokens:
    """Signs what a request of our own is, and takes each token once. `key` is the same for all workers.

    A token says nothing secret, but who holds one may speak in a caller's name: none is ever
    logged, and they travel over a socket that is ours alone. Each worker remembers what it took.
    """

    def __init__(self, key: bytes, clock: Clock) -> None:
        if len(key) < _LEAST_KEY:
            raise ValueError("a key that could be guessed")
        self._key = key
        self._clock = clock
        self._taken: dict[CallId, float] = {}

    def issue(self, own: Shadow | Probe) -> str:
        match own:
            case Shadow(of, caller, model, provider, asked):
                who = (of, caller, model, provider, asked)
            case Probe(of, provider, place):
                who = (of, provider, place)
        fields = (self._clock.time() + LIFE, *who)
        said = urlsafe_b64encode(json.dumps(fields).encode()).decode()
        return f"{said}.{self._mac(said)}"

    def redeem(self, token: str) -> Shadow | Probe:
        """Raises Unauthenticated."""
        said, _, mac = token.rpartition(".")
        if not hmac.compare_digest(mac.encode(), self._mac(said).encode()):
            raise _refused()
        until, of, *rest = json.loads(urlsafe_b64decode(said))
        now = self._clock.time()
        self._forget(now)
        if until < now or of in self._taken:
            raise _refused()
        self._taken[of] = until
        return Probe(of, *rest) if len(rest) == _OF_A_PROBE else Shadow(of, *rest)

    def _forget(self, now: float) -> None:
        """They come in the order of their ends, near enough."""
        while self._taken:
            first = next(iter(self._taken))
            if self._taken[first] >= now:
                return
            del self._taken[first]

    def _mac(self, said: str) -> str:
        return blake2b(said.encode(), key=self._key, digest_size=32).hexdigest()


class Copying:
    """One of each worker, for all its configurations."""

    def __init__(self, tokens: Tokens, copies: Copies) -> None:
        self._tokens = tokens
        self._copies = copies

    def send(self, head: RequestHead, call: Call, request: Routed, plan: Plan) -> None:
        """A copy of `request`, the client's own, if it is drawn.

        None is made of what is not translated, since to do that twice may do harm, none of a
        question for tokens, and none for a model whose name is longer than any.
        """
        drawn = None if isinstance(request, Opaque | Count) else copied(plan, call.id)
        if drawn is None:
            return
        to = drawn.target
        if len(to.model) > LONGEST_NAME:
            return
        shadow = Shadow(call.id, call.caller.name, plan.name, drawn.backend.name, to.model)
        token = (SHADOW_HEADER, self._tokens.issue(shadow))
        path = f"{head.path}?{head.query}" if head.query else head.path
        self._copies.post(
            Copy(to.provider, head.method, path, (*_own(head.headers), token), request.raw)
        )

    def known(self, token: str) -> Shadow | Probe:
        """What a request is that brings this token. Raises Unauthenticated."""
        return self._tokens.redeem(token)


def _refused() -> Unauthenticated:
    return Unauthenticated("This is no request of the gateway's own.", code="invalid_token")


def _own(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (name, said) for name, said in headers.items() if name[0] != ":" and name not in _STAYS
    )
