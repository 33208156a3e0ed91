"""`python -m tests.fuzz.equal`: so many scenes for both transports, from a seed that is printed."""

from __future__ import annotations

import argparse
import secrets
import time

from hypothesis import given, seed, settings

from tests import conftest
from tests.wire.agreement import SCENES, Scene, pair


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32))
    args = parser.parse_args()
    print(f"{args.scenes} scenes for both transports, --seed {args.seed}", flush=True)
    begun = time.monotonic()
    profile = settings.get_profile(conftest.PROFILE)
    with pair() as both:

        @seed(args.seed)
        @settings(profile, max_examples=args.scenes, database=None)
        @given(SCENES)
        def played(scene: Scene) -> None:
            both.compare(scene)

        played()
    print(f"they agree, {args.scenes / (time.monotonic() - begun):.0f} scenes a second")


if __name__ == "__main__":
    main()
