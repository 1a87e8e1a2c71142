"""The longest names, addresses and numbers that a package, a run or a directory can bring: no page cuts or covers them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from playwright.sync_api import Browser

from promotion import names
from promotion.config.loading import Config
from promotion.domain.curves import Confusion
from promotion.domain.metrics import LONGEST_NAME
from promotion.domain.model import EndpointState, EnvironmentState, Evidence, Metric
from promotion.domain.people import SYSTEM, Actor, Person, Requester
from promotion.ledger.events import NewEvent, OpenDifferences
from promotion.rendering.documents.board import board_document
from promotion.rendering.documents.board_filter import BoardFilter
from tests.browser.conftest import shot
from tests.browser.made_pages import Shows, showing
from tests.rules.scenario import CONFIG, LINKS, Scenario, measured, page, registered

WIDTHS = (360, 768, 1280)
# Capitals without a place to break, as wide as letters are.
GROUP = "WM" * 31 + "W"
METRIC = ("MACRO_WEIGHTED_" * 9)[:LONGEST_NAME]
MAIL = f"{'M' * 64}@{'W' * 63}.example.com"
ENVIRONMENTS = {name: name + "w" * (32 - len(name)) for name in CONFIG.environment_names}
DEV, TEST = ENVIRONMENTS["dev"], ENVIRONMENTS["test"]
DEE = MAIL.replace("M", "D")
ANN = Person(
    subject="ann", name=MAIL, email=MAIL, groups=frozenset({"ml-dev", "ml-test", "ml-uat", "ml-prod", "ml-auditors"})
)
SLICES = {"R" * 60: {"W" * 60: {METRIC: {"value": 0.00012345, "n": 123_456_789}}}}
SAMPLES = [{"id": "I" * 200, "input": "W" * 400, "output": "M" * 400, "reference": "W" * 400, "score": 0.4}]


def evidence(value: float, **more: Any) -> Evidence:
    long = {
        "metrics": {METRIC: Metric(value=value, low=value - 0.012345, high=value + 0.012345, n=123_456_789)},
        "counts": {"C" * LONGEST_NAME: 123_456_789, "records": 5},
        "latency_ms": {"L" * LONGEST_NAME: 123_456.789},
        "throughput": {"T" * LONGEST_NAME: 123_456.789},
        "engine": {"E" * LONGEST_NAME: "W" * 200, "name": "W" * 200},
        "drift": {"D" * LONGEST_NAME: 0.12345},
        "confusion": Confusion(labels=("W" * 60, "M" * 60), counts=((123_456_789, 9), (9, 123_456_789)), left_out=3),
        "roc": ((0.0, 0.0), (0.1, 0.8), (1.0, 1.0)),
        "run_id": "R" * 63,
        "problem": "P" * 400,
    }
    return replace(measured(value), **{**long, **more})


def settings() -> Config:
    """Environments, groups of approvers and gates with the longest names."""
    environments = tuple(
        replace(
            each,
            name=ENVIRONMENTS[each.name],
            approver_group=replace(each.approver_group, name="G" * 120),
            gates=tuple(replace(gate, metric=METRIC) for gate in each.gates[:1]),
        )
        for each in CONFIG.environments
    )
    return replace(CONFIG, environments=environments)


def scenario() -> Scenario:
    """Version 1 is live in test; version 2 asks to take its place, and everything about both is long."""
    told = Scenario(settings(), group=GROUP)
    requester = Requester(actor=Actor(kind="requester", subject=DEE, name=DEE, email=DEE), declared_by="self")
    for version, value in ((1, 0.61), (2, 0.66)):
        told.registers(
            version,
            evidence=replace(registered(value), metrics=evidence(value).metrics, task="T" * LONGEST_NAME),
            requester=requester,
            description="D" * 300,
            metadata={"K" * 128: "V" * 256, "base_model": "B" * 256, "licence": "L" * 256},
            described={"Domain": "D" * 128, "Task": "T" * 128, "Framework": "F" * 128, "Reports": "s3://" + "r" * 500},
            card=(("S" * 120, "T" * 500),),
            content_types=("application/" + "x" * 200,),
        )
        told.later(hours=1)
        told.decides(DEV, version, by=ANN, reason="R" * 1000)
        told.later(minutes=20)
        told.runs(DEV, version, evidence(value, run_id=f"{version}" * 63))
        told.runs(DEV, version, evidence(value + 0.01, run_id=f"{version + 2}" * 63))
        if version == 1:
            told.decides(TEST, 1, by=ANN, reason="R" * 1000)
            told.later(days=1)
    return told


def in_trouble() -> Scenario:
    told = scenario()
    data = {
        "drift": {METRIC: 0.41},
        "reason": "W" * 300,
        "retraining": f"arn:aws:sagemaker:us-east-1:1:pipeline/{'p' * 200}",
    }
    told.happens(NewEvent(kind=names.DRIFT_DETECTED, actor=SYSTEM, version=1, environment=TEST, data=data))
    endpoint = {"status": "Failed", "endpoint": "e" * 63, "problem": "P" * 600}
    told.happens(NewEvent(kind=names.ENDPOINT_CHANGED, actor=SYSTEM, version=1, environment=TEST, data=endpoint))
    told.happens(
        NewEvent(kind=names.INTEGRITY_BROKEN, actor=SYSTEM, version=1, environment=TEST, data={"problem": "W" * 300})
    )
    return told


def board() -> str:
    told = in_trouble()
    differs = OpenDifferences(count=9, since=told.now - timedelta(days=1), lines=("/promotion/" + "p" * 200,) * 3)
    others = [
        EnvironmentState(
            group=f"{GROUP[:-1]}{number}", name=name, live=1_000_000, live_since=told.now, live_by=(MAIL, MAIL),
            pending=1_000_001, pending_since=told.now, pending_expires_at=told.now + timedelta(hours=1),
            pending_id=f"{GROUP[:-1]}{number}:1000001:{name}:1", pending_gates_open=number == 0,
            endpoint=EndpointState(name="e" * 63, status="InService", version=1_000_000),
        )
        for number in range(2)
        for name in told.config.environment_names
    ]  # fmt: skip
    document = board_document(
        [*told.view.environments.values(), *others], ANN, told.config, links=LINKS, now=told.now, csrf="t",
        wanted=BoardFilter(), unreadable=[GROUP], differences={GROUP: differs},
    )  # fmt: skip
    return page("board", document, ANN)


def pages() -> dict[str, str]:
    told, trouble = scenario(), in_trouble()
    refused = [{"address": MAIL, "at": told.now.isoformat(), "reason": "R" * 300}]
    asked = {"samples": SAMPLES, "slices": SLICES}
    decided = scenario()
    decided.decides(TEST, 2, by=ANN, reason="R" * 1000)
    message = {"title": f"{GROUP} is unknown", "text": f"You are signed in as {MAIL}.", "link": None}
    return {
        "request": page("request", told.request(TEST, 2, ANN, **asked) | {"mail_refused": refused}, ANN),
        "request-decided": page("request", decided.request(TEST, 2, ANN, **asked), ANN),
        "board": board(),
        "model": page("model", trouble.model(ANN), ANN),
        "version": page("version", told.version(2, ANN, with_=1), ANN),
        "message": page("message", message, ANN),
    }


PAGES = pages()

# Lines of text, by their boxes. Text that only readers by ear get, and a closed menu's, has none on the screen.
CUT = """() => {
  const problems = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const unseen = element => element.closest('.unseen, .skip, select, textarea, script') || !element.checkVisibility();
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const parent = node.parentElement;
    if (!node.data.trim() || unseen(parent)) continue;
    const clip = getComputedStyle(parent.closest('thead') || parent).clipPath;
    if (clip !== 'none') continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) {
      if (box.width < 1) continue;
      const said = node.data.trim().slice(0, 40);
      const where = parent.tagName.toLowerCase() + '.' + parent.getAttribute('class');
      if (box.left < -0.5 || box.right > window.innerWidth + 0.5) problems.push(`beside the screen: ${where} ${said}`);
      for (let holder = parent; holder; holder = holder.parentElement) {
        const style = getComputedStyle(holder);
        if (style.display.startsWith('inline') && holder.tagName !== 'text') continue;
        const edge = holder.getBoundingClientRect();
        if (box.left < edge.left - 1 || box.right > edge.right + 1) {
          problems.push(`out of ${holder.tagName.toLowerCase()}.${holder.getAttribute('class')}: ${where} ${said}`);
          break;
        }
      }
    }
  }
  return [...new Set(problems)];
}"""


@pytest.fixture(scope="module")
def shows(browser: Browser) -> Iterator[Shows]:
    with showing(browser, PAGES) as show:
        yield show


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_no_text_is_cut_or_covered(shows: Shows, name: str, width: int) -> None:
    seen = shows(name, width=width)
    seen.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
    shot(seen, f"long-{name}-{width}")
    assert seen.evaluate("document.documentElement.scrollWidth") <= width
    assert seen.evaluate(CUT) == []


def test_a_text_that_is_cut_is_found(browser: Browser) -> None:
    opened = browser.new_page(viewport={"width": 360, "height": 400})
    opened.set_content(
        f'<p class="a" style="width: 9rem; overflow: hidden">{GROUP}</p>'
        f'<p class="b" style="width: 9rem; overflow-wrap: anywhere">{GROUP}</p><p class="c" style="width: 9rem">Short</p>'
    )
    found = opened.evaluate(CUT)
    opened.close()
    assert {each.split(": ")[0] for each in found} == {"beside the screen", "out of p.a"}
