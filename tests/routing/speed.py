"""What a decision takes, in microseconds: `python -m tests.routing.speed`.

Fifty targets in one group, of which each strategy keeps three; then with a condition for each
that holds for none but the last.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable, Mapping

from extproc.config.schema import Strategy, TargetRef
from extproc.routing.router import plan
from tests.kit import provider
from tests.routing.world import World, chat, target

TARGETS = 50
NAMES = [f"p{number}" for number in range(TARGETS)]
CALLS, ROUNDS = 2000, 5


def microseconds(call: Callable[[], object]) -> float:
    call()
    return min(timeit.repeat(call, number=CALLS, repeat=ROUNDS)) / CALLS * 1e6


def decision(refs: list[TargetRef], strategy: Strategy) -> float:
    prices = {ref.provider: provider(ref.provider, cost_per_token=1e-6) for ref in refs}
    world = World.of(refs, strategy=strategy, providers=prices)
    for number, ref in enumerate(refs):
        world.ended(f"{ref.provider}/gpt-4o", seconds=0.1 + number / 100)
    asked = world.asked(chat("hello " * 150, raw=b"x" * 1000), headers={"x-tier": "gold"})
    return microseconds(lambda: plan(world.atlas, world.health, asked))


def decisions() -> Mapping[str, float]:
    """By strategy."""
    found: dict[str, float] = {}
    for strategy in Strategy:
        weighs = strategy in (Strategy.WEIGHTED, Strategy.STICKY)
        refs = [target(n, weight=1.0 + i % 3 if weighs else 1.0) for i, n in enumerate(NAMES)]
        found[strategy.value] = decision(refs, strategy)
    return found


def condition() -> float:
    """What one more costs."""
    when = 'headers["x-tier"] == "silver" && request.tokens > 100'
    refs = [target(name, when=when) for name in NAMES[:-1]] + [target(NAMES[-1])]
    without = decision([target("p")] * 2, Strategy.ORDER)
    return (decision(refs, Strategy.ORDER) - without) / TARGETS


def main() -> None:
    for strategy, took in decisions().items():
        print(f"{strategy:16} {took:6.2f}")
    print(f"each condition   {condition():6.2f}")
    plain = World.of([target("a")])
    asked = plain.asked(chat(model="gpt-4o"))
    print(f"plain name       {microseconds(lambda: plan(plain.atlas, plain.health, asked)):6.2f}")


if __name__ == "__main__":
    main()
