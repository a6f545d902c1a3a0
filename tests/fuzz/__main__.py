"""`make test-fuzz`: campaigns until the service has answered so many calls; prints which route answered what."""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from tests.fuzz.campaign import run
from tests.fuzz.service import FuzzedService, fuzzed_service

_SECONDS_OF_ONE_RUN = 90


def main() -> int:
    """0 when nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--calls", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    is_clean = True
    with fuzzed_service() as service:
        seed = options.seed
        while is_clean and sum(service.statuses().values()) < options.calls:
            for real_ids in (True, False):
                code, said = run(service, seconds=_SECONDS_OF_ONE_RUN, examples=50, seed=seed, real_ids=real_ids)
                print(said[said.rfind("=== SUMMARY") :] if code == 0 else said, flush=True)
                is_clean &= code == 0
            seed += 1
        print_statuses(service)
        for crash in service.crashes():
            is_clean = False
            print(crash)
    return 0 if is_clean else 1


def print_statuses(service: FuzzedService) -> None:
    """One line a route: how often it answered with which status."""
    counted = service.statuses()
    routes = sorted({(route, method) for method, route, _ in counted})
    for route, method in routes:
        answers = {status: count for (m, r, status), count in sorted(counted.items()) if (m, r) == (method, route)}
        print(f"{method:8}{route:56}{'  '.join(f'{status}×{count}' for status, count in answers.items())}")
    totals: Counter[int] = Counter()
    for (_, _, status), count in counted.items():
        totals[status] += count
    print(f"{sum(totals.values())} calls: {', '.join(f'{status}×{count}' for status, count in sorted(totals.items()))}")


if __name__ == "__main__":
    sys.exit(main())
