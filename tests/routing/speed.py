"""What a decision takes, in microseconds: `python -m tests.routing.speed`.

Fifty targets in one group, of which each strategy keeps three; then with a condition for each
that holds for none but the last.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable

from extproc.config.schema import Strategy, TargetRef
from extproc.routing.router import plan
from tests.kit import provider
from tests.routing.world import World, chat, target

TARGETS = 50
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


def main() -> None:
    names = [f"p{number}" for number in range(TARGETS)]
    for strategy in Strategy:
        weighs = strategy in (Strategy.WEIGHTED, Strategy.STICKY)
        refs = [target(n, weight=1.0 + i % 3 if weighs else 1.0) for i, n in enumerate(names)]
        print(f"{strategy:16} {decision(refs, strategy):6.2f}")
    when = 'headers["x-tier"] == "silver" && request.tokens > 100'
    refs = [target(name, when=when) for name in names[:-1]] + [target(names[-1])]
    each = (decision(refs, Strategy.ORDER) - decision([target("p")] * 2, Strategy.ORDER)) / TARGETS
    print(f"each condition   {each:6.2f}")
    plain = World.of([target("a")])
    asked = plain.asked(chat(model="gpt-4o"))
    print(f"plain name       {microseconds(lambda: plan(plain.atlas, plain.health, asked)):6.2f}")


if __name__ == "__main__":
    main()
