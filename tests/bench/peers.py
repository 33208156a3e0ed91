"""What others cost, as it was measured once, beside one another, on another day. Quoted, never run.

Two shared cores, upstream and load generator in C, medians of three interleaved
rounds, one worker. CPU is of the whole process tree.
"""

from __future__ import annotations

MEASURED = "2026-11-21"
LITELLM_RATE = 97.0
"""requests a second: 1 KB, concurrency 16, one worker"""

_HEADER = (
    "elsewhere",
    "requests/s",
    "CPU us, 1 KB whole",
    "CPU ms, stream of 50 events",
    "added p50 ms",
    "added p99 ms",
    "p99 ms at 64",
)
_ROWS = (
    ("bare Envoy", "21,404", "43", "0.7", "+0.08", "+0.40", "4.0"),
    ("Envoy + no-op grpc.aio", "2,507", "669", "7.6", "+1.24", "+2.16", "37"),
    ("vLLM router (Rust, no policy)", "9,489", "119", "-", "+0.19", "+0.45", "13"),
    ("Hardcap (Python, budgets only)", "1,803", "583", "3.7", "+1.03", "+1.43", "53"),
    ("MLflow gateway", "1,237", "806", "3.8", "+1.05", "+1.43", "196"),
    ("Portkey", "904", "1,357", "4.4", "+1.33", "+6.05", "491"),
    ("Inferrail", "194", "4,221", "9.1", "+4.01", "+8.26", "1,207"),
    ("LiteLLM", "97", "10,087", "39.8", "+9.96", "+14.02", "2,317"),
)


def markdown() -> str:
    lines = [_HEADER, ["---"] * len(_HEADER), *_ROWS]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return (
        f"Others, not run here: measured {MEASURED} on 2 shared cores, upstream and load in C,"
        f" 1 KB at concurrency 16, added latency at concurrency 1.\n\n{table}"
    )
