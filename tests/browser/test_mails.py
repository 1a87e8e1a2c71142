"""The mails as a browser shows them: axe-core finds nothing, no phone scrolls sideways, and they read with pictures blocked."""

from __future__ import annotations

import base64
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from playwright.sync_api import Browser, Page

from inference.records.counts import Latencies
from inference.scoring import plots
from inference.scoring.metrics import Estimate
from promotion import names
from promotion.domain.model import Evidence
from promotion.rendering.mail import Message, compose
from tests.browser.conftest import shot
from tests.browser.test_looking import findings
from tests.rules import scenarios
from tests.rules.scenario import LINKS, Scenario

# What is looked at: the story, the kind of event whose newest mail it is.
LOOKS: dict[str, tuple[Callable[[], Scenario], str]] = {
    "registration": (scenarios.first_request, names.APPROVAL_REQUESTED),
    "metrics-open": (scenarios.open_gate, names.APPROVAL_REQUESTED),
    "metrics-shut": (scenarios.shut_gate, names.APPROVAL_REQUESTED),
    "nothing-known": (scenarios.nothing_known, names.APPROVAL_REQUESTED),
    "run-failed": (scenarios.in_trouble, names.APPROVAL_REQUESTED),
    "hostile": (scenarios.hostile, names.APPROVAL_REQUESTED),
    "promoted": (scenarios.approved, names.MODEL_PROMOTED),
    "rejected": (scenarios.rejected, names.DECISION_RECORDED),
    "rolled-back": (scenarios.undone, names.MODEL_ROLLED_BACK),
    "revoked": (scenarios.undone, names.MODEL_REVOKED),
    "drift": (scenarios.drifting, names.DRIFT_DETECTED),
    "integrity": (scenarios.in_trouble, names.INTEGRITY_BROKEN),
}
Shows = Callable[..., Page]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the pictures."""
    return tmp_path_factory.mktemp("pictures")


def draw(folder: Path, version: int, evidence: Evidence) -> None:
    """The pictures of a run, as the scoring job draws them."""
    estimates = {
        name: Estimate(value=m.value, low=m.low, high=m.high, n=m.n or 0)
        for name, m in evidence.metrics.items()
        if m.value is not None and m.low is not None and m.high is not None
    }
    gates = [plots.Bound("rougeL", 0.6, None), plots.Bound("exact_match", 0.1, None)]
    live = {"rougeL": 0.64} if version > 1 else {}
    plots.draw_metrics(folder / "metrics.png", f"v{version} in dev, 240 records", estimates, gates, live)
    latencies = Latencies()
    for step in range(240):
        latencies.add(0.03 + (step * 7919 % 100) ** 3 / 1e7)
    plots.draw_latency(folder / "latency.png", latencies)


def by_region(evidence: Evidence) -> dict[str, Any]:
    """Slices that come to the whole."""
    value = evidence.metrics["rougeL"].value if "rougeL" in evidence.metrics else None
    if value is None:
        return {}
    worse, better = {"value": value * 0.6, "n": 80}, {"value": value * 1.2, "n": 160}
    return {"region": {"north": {"rougeL": worse}, "south": {"rougeL": better}}}


@pytest.fixture
def shows(browser: Browser, drawn: Path) -> Iterator[Shows]:
    """Opens the newest mail of a story; `blocked` without its pictures."""
    opened: list[Page] = []

    def show(name: str, *, width: int, dark: bool, blocked: bool = False) -> Page:
        html = written(name, drawn).html
        for content_id, picture, data, _ in written(name, drawn).pictures:
            assert picture.endswith(".png")
            source = "" if blocked else f"data:image/png;base64,{base64.b64encode(data).decode()}"
            html = html.replace(f"cid:{content_id}", source)
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light")
        opened.append(page)
        page.set_content(html, wait_until="load")
        return page

    yield show
    for page in opened:
        page.close()


@functools.cache
def written(name: str, drawn: Path) -> Message:
    begin, kind = LOOKS[name]
    scenario = begin()
    event = [event for event in scenario.events if event.kind == kind][-1]
    evidence = msgspec.convert(event.data.get("evidence") or {"source": "registration"}, Evidence)
    if evidence.pictures:
        draw(drawn, event.version or 0, evidence)
    return compose(
        event,
        view=scenario.view,
        config=scenario.config,
        links=LINKS,
        picture=lambda address: (drawn / address.rpartition("/")[2]).read_bytes(),
        slices=lambda address: by_region(evidence),
    )[0]


@pytest.mark.parametrize("name", LOOKS)
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (360, True)], ids=["wide-light", "phone-dark"])
def test_axe_finds_nothing_and_no_mail_is_too_wide(shows: Shows, name: str, width: int, dark: bool) -> None:
    page = shows(name, width=width, dark=dark)
    shot(page, f"mail-{name}-{'phone-dark' if dark else 'wide-light'}")
    assert findings(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize(("width", "dark"), [(1280, True), (360, False)], ids=["wide-dark", "phone-light"])
def test_the_evidence_the_other_way_round(shows: Shows, width: int, dark: bool) -> None:
    page = shows("metrics-shut", width=width, dark=dark)
    shot(page, f"mail-metrics-shut-{'wide-dark' if dark else 'phone-light'}")
    assert findings(page) == []


def test_with_pictures_blocked_their_words_stand_there(shows: Shows) -> None:
    page = shows("metrics-open", width=640, dark=False, blocked=True)
    shot(page, "mail-metrics-open-blocked")
    alternatives = [image.get_attribute("alt") or "" for image in page.locator("img").all()]
    assert alternatives[0].startswith("Metrics against gates and the live version: rougeL 0.66")
    assert page.evaluate("document.documentElement.scrollWidth") <= 640
