"""Measure approval links: every attack of tests/security, fifty simultaneous decisions, and the time of the page.

Writes docs/benchmarks/approver.md and build/bench/approver.json: `adversarial_cases`, `refused` (with the right code and nothing
written), `page_ms_median`, `page_ms_p95`, `simultaneous`, `decided`, `roles_tried`, `forgeries`, `forgeries_refused`,
`hostile_items`, `blinded` (groups whose own difference was not told because of an item of another group). Run it alone on the
machine. `directory_people` and `directory_right` are those of `make test-outside SUITES=directory`.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks import hostile, tables
from local.service import LocalService
from tests.identity.claim_checks import count_right
from tests.identity.claim_sets import CLAIM_SETS
from tests.security.attacked import ANN, CONFIG, Attacked
from tests.security.attacks import ATTACKS
from tests.security.test_stories import at_once

ROOT = Path(__file__).resolve().parent.parent
SIMULTANEOUS = 50
PAGES = 100


def main(long: bool = False) -> dict[str, Any]:
    """Run it all once; `long` repeats the race and the pages twenty times."""
    rounds, load = 20 if long else 1, os.getloadavg()[0]
    with LocalService(config=CONFIG, inference=False) as service:
        attacked = Attacked(service)
        attacked.seed()
        # The first page of a cold start is another matter.
        for _ in range(5):
            attacked.send("GET", attacked.link("quorum:1:test:1"), who=ANN)
        pages = sorted(page_ms(attacked) for _ in range(PAGES * rounds))
        before = attacked.state()
        refused = sum(is_refused(attacked, index) for index in range(len(ATTACKS)))
        if attacked.state() != before:
            refused = 0
        decided = [race(attacked, number) for number in range(rounds)]
        forged, blinded = hostile.forge(attacked), hostile.blind(attacked)
    figures = {
        "adversarial_cases": len(ATTACKS),
        "refused": refused,
        "page_ms_median": round(statistics.median(pages), 1),
        "page_ms_p95": round(pages[int(len(pages) * 0.95)], 1),
        "simultaneous": SIMULTANEOUS,
        # Every race has to end with one; where one didn't, that is what is told.
        "decided": next((count for count in decided if count != 1), 1),
        "races": rounds,
        "roles_tried": forged.roles,
        "forgeries": forged.sent,
        "forgeries_refused": forged.refused,
        "hostile_items": blinded.items,
        "blinded": blinded.groups,
        "unnamed": blinded.unnamed,
        "claim_sets": len(CLAIM_SETS),
        "claim_sets_right": count_right(),
    }
    target = ROOT / "build" / "bench" / "approver.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {}
    # Those of outside/directory, which needs an Active Directory.
    figures |= {name: before[name] for name in ("directory_people", "directory_right") if name in before}
    target.write_text(json.dumps(figures, indent=2) + "\n")
    tables.write(
        "approver",
        "The approval link",
        "Over HTTP to the local service; docs/security.md names what is tried.",
        [
            ("Attacks refused with the right code, and nothing written", f"{figures['refused']} of {len(ATTACKS)}",
             "all of at least 60", "tests/security/attacks.py"),
            ("Decisions taken of those sent at once", f"{figures['decided']} of {SIMULTANEOUS}", "1", f"{rounds} times over"),
            ("A request's page, median", f"{figures['page_ms_median']} ms", "at most 150 ms",
             f"of {PAGES * rounds}; p95 {figures['page_ms_p95']} ms"),
            ("Forged events refused, and nothing written", f"{forged.refused} of {forged.sent}", "all",
             f"by {forged.roles} roles, and by whoever may invoke"),
            ("Groups whose difference a hostile item of another group hides", str(blinded.groups), "0",
             f"{blinded.items} items and parameters, one after the other; {blinded.unnamed} of them not named"),
        ],
        load=load,
    )  # fmt: skip
    return figures


def page_ms(attacked: Attacked) -> float:
    """Measure the time of a request's page with gates and votes, over HTTP."""
    begun = time.perf_counter()
    answer = attacked.send("GET", attacked.link("quorum:1:test:1"), who=ANN)
    assert answer.status == 200, answer.text
    return (time.perf_counter() - begun) * 1000


def is_refused(attacked: Attacked, index: int) -> bool:
    attack = ATTACKS[index]
    before = attacked.state("open", "two")
    return attack.attempt(attacked).status == attack.status and attacked.state("open", "two") == before


def race(attacked: Attacked, number: int) -> int:
    """Return how many of fifty simultaneous decisions were accepted."""
    group = f"race-{number}"
    attacked.register(group)
    return at_once(attacked, f"{group}:1:dev:1", SIMULTANEOUS)[303]
