"""One scenario between one client and one provider: what it may ask for, and what it may check.

Takes a client, a provider and the mock behind it; gathers what the gateway said it
dropped. A field that got lost in silence is a failure, whatever was answered.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from extproc.mock import MockProvider, Recorded
from tests.e2e.matrix.providers import Provider, alias
from tests.e2e.matrix.signed import check_signature
from tests.e2e.matrix.talk import Ask, Client, Medium, Said, Talk

TOKENS = "/token"
"""the end of the path where credentials are made, which is no request of a client's"""


@dataclass(slots=True)
class Run:
    """`dropped` are the names of everything that was dropped so far."""

    client: Client
    provider: Provider
    mock: MockProvider
    stream: bool
    dropped: dict[str, None] = field(default_factory=dict[str, None])

    def talk(self, skill: str = "", **ask: Any) -> Talk:
        """A conversation with the provider's model that has this skill."""
        if skill not in self.provider.skills:
            skill = ""
        return self.client.talk(Ask(alias(self.provider.name, skill), **ask))

    def ask(self, talk: Talk) -> Said:
        self.mock.clear()
        said = talk.ask(stream=self.stream)
        self.dropped |= dict.fromkeys(self.client.last.dropped)
        request = self.request()
        if self.provider.arrival is not None:
            body = cast("dict[str, Any]", request.json)
            self.provider.arrival.check(request.path, request.headers, body)
        if self.provider.signed:
            check_signature(request)
        return said

    def request(self) -> Recorded:
        """What the provider was sent."""
        (request,) = asked(self.mock.requests)
        return request

    def arrived(self, *needles: str) -> None:
        """Asserts that the provider was sent all of these."""
        body = json.dumps(self.request().json, ensure_ascii=False)
        missing = [one for one in needles if json.dumps(one, ensure_ascii=False)[1:-1] not in body]
        assert not missing, f"{missing} did not arrive: {body}"

    def written(self, medium: Medium) -> str:
        """The medium's bytes as they stand in the provider's request."""
        if (self.client.dialect, self.provider.dialect) == ("gemini_generate", "gemini_generate"):
            # Google's SDK writes the alphabet of URLs, and what goes home goes as it is.
            return base64.urlsafe_b64encode(medium.data).decode()
        return medium.base64

    def ended(self, said: Said, *how: str, pieces: bool = True) -> None:
        """Asserts that the reply ended in one of these ways, and that a stream came in `pieces`."""
        assert said.finish in [self.client.finishes.get(one) for one in how], said
        if self.stream and pieces:
            assert said.deltas > 1, f"a stream in {said.deltas} pieces: {said}"


def asked(requests: Sequence[Recorded]) -> list[Recorded]:
    """Those of a client's."""
    return [one for one in requests if not one.path.endswith(TOKENS)]


@dataclass(frozen=True, slots=True)
class Scenario:
    """`needs` is what the client's language must be able to ask for; `play` leads it."""

    name: str
    title: str
    needs: frozenset[str]
    play: Callable[[Run], None]
