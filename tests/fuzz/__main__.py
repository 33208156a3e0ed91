"""`python -m tests.fuzz`: cases for as long as it is told, each from a seed that is printed if it fails.

`--seed N` plays one case again. The first failure of each kind is shown; the rest is counted.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter

from tests.fuzz.endless import endless
from tests.fuzz.laws import case
from tests.fuzz.material import Material


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--start", type=int, default=0, help="the first seed (default 0)")
    parser.add_argument("--seed", type=int, help="play this case only")
    parser.add_argument("--fixtures", action="store_true", help="without recorded exchanges")
    args = parser.parse_args()
    material = Material(recorded=not args.fixtures)
    if args.seed is not None:
        case(material, args.seed)
        return 0
    count = sum(len(some) for some in material.replies.values())
    print(f"{count} replies and {sum(map(len, material.asked.values()))} requests to spoil")
    found: Counter[str] = Counter()
    until = time.monotonic() + args.seconds
    most = max(1, int(args.seconds / 20))
    for name in material.names:
        for line in endless(material, name, most, args.start):
            found[line] += 1
            print(line)
    seed = args.start
    while time.monotonic() < until:
        try:
            case(material, seed)
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            kind = f"{type(error).__name__} at {where.filename}:{where.lineno}: {str(error)[:80]}"
            found[kind] += 1
            if found[kind] == 1:
                print(f"--- seed {seed}")
                traceback.print_exc(file=sys.stdout)
        seed += 1
    print(f"{seed - args.start} cases, {found.total()} failures")
    for kind, times in found.most_common():
        print(f"{times:6d}  {kind}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
