"""Attempts with a provider's several regions: where each goes, what signs it, and what is told."""

from __future__ import annotations

from typing import Any

import pytest

from extproc.app import line
from extproc.config.schema import Region, RetryBudget, Routing, Secret, Settings
from extproc.flow.attempt import Word
from extproc.flow.messages import Continue
from extproc.model.call import Failure
from tests.flow.hops import DIALECTS, Hop, again, good, head, targets
from tests.kit import provider


def regional(*others: str, **more: Any) -> Settings:
    """Model `chat`: `a` in two regions, then the others."""
    config = targets("a", *others, **more)
    regions = tuple(
        Region(
            name=name, endpoint=f"http://{name}.example/{name}", api_key=Secret(f"secret-{name}")
        )
        for name in ("eu", "us")
    )
    config.providers["a"] = provider(
        "a", dialect=DIALECTS["a"], endpoint=regions[0].endpoint, models=("m",), regions=regions
    )
    return config


@pytest.mark.parametrize(
    ("status", "failure"), [(503, Failure.OVERLOADED), (403, Failure.CREDENTIAL)]
)
async def test_the_other_region_is_asked_there_and_in_its_name(
    status: int, failure: Failure
) -> None:
    """It is another host, so that the budget for asking again has no word in it."""
    hop = Hop(regional("b", routing=Routing(budget=RetryBudget(percent=0.0, minimum=0))))
    await hop.out()
    first, sent = await hop.begin()
    assert again(first.on_head(head(status))) is failure
    second, next_ = await hop.begin()
    went: list[str] = []
    for one in (sent, next_):
        assert one.route is not None
        (cluster,) = one.route.clusters
        name = cluster.removeprefix("provider-a@")
        said = dict(one.set)
        assert said["authorization"] == f"Bearer secret-{name}"
        assert said[":authority"] == f"{name}.example"
        assert said[":path"].startswith(f"/{name}/")
        went.append(name)
    assert sorted(went) == ["eu", "us"]
    assert second.on_head(head()) is Word.PASS
    await hop.reply_head()
    last = await hop.reply_body(good("a"))
    assert isinstance(last, Continue)
    assert dict(last.set)["x-sluice-provider"] == "a"
    told: Any = line(await hop.exchange.close())
    assert (told["provider"], told["region"], told.get("key_name")) == ("a", went[1], None)
    assert [one.split()[0] for one in told["tried"]] == [f"a@{one}/m" for one in went]
