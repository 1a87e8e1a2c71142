"""Pages with all that evidence can bring, samples, slices, charts and trouble, as a browser shows them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

import pytest
from playwright.sync_api import Browser

from promotion.domain.model import EnvironmentState
from tests.browser.conftest import shot
from tests.browser.made_pages import Shows, showing
from tests.browser.test_looking import findings
from tests.rules import scenarios
from tests.rules.scenario import ANN, BEGINNING, CONFIG, Scenario, measured, page

MANY_SCRIPTS = ("Ann Adler", "조민서", "יעל כהן", "王小明", "Zoë 🙂 Ångström")


def many_groups(people: Sequence[str] = MANY_SCRIPTS) -> str:
    """A board of a dozen models, some of them in trouble, by people of many scripts."""
    scenario = scenarios.in_trouble()
    scenario.later(hours=5)
    others = [
        EnvironmentState(
            group=f"{name}-{kind}",
            name=environment,
            live=number + 3 - step if step < 3 else None,
            live_since=scenario.now - timedelta(days=3 * number + step, hours=1),
            live_by=(people[number % 5], *people[:step]),
            pending=number + 4 if step == number % 4 else None,
            pending_since=BEGINNING,
            pending_expires_at=scenario.now + timedelta(hours=10 * number + 1),
            pending_id=f"{name}-{kind}:{number + 4}:{environment}:1",
            pending_gates_open=number % 3 > 0,
            pending_requester=scenario.view.version(1).package.requester,
            drift=number == 4 and step == 1,
            drift_since=BEGINNING if number == 4 and step == 1 else None,
            revoked=number == 2 and step == 3,
        )
        for number, (name, kind) in enumerate(
            (name, kind) for name in ("fraud", "harbour", "support-mail") for kind in ("ranker", "summariser", "labels")
        )
        for step, environment in enumerate(CONFIG.environment_names)
    ]
    return page("board", scenario.board(ANN, *others))


def many_versions() -> str:
    """A model whose quality rose, fell and rose again."""
    scenario = Scenario()
    for version, rouge in enumerate((0.61, 0.63, 0.62, 0.66, 0.64, 0.69), start=1):
        scenario.registers(version)
        scenario.decides("dev", version)
        scenario.later(hours=1)
        scenario.runs("dev", version, measured(rouge, run_id=f"run-{version}"))
        scenario.later(days=2)
    return page("model", scenario.model())


PAGES = {**scenarios.pages(), "board-dozen": many_groups(), "model-versions": many_versions()}


@pytest.fixture(scope="module")
def shows(browser: Browser) -> Iterator[Shows]:
    with showing(browser, PAGES) as show:
        yield show


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (360, True)], ids=["wide-light", "phone-dark"])
def test_axe_finds_nothing_and_nothing_is_too_wide(shows: Shows, name: str, width: int, dark: bool) -> None:
    seen = shows(name, width=width, dark=dark)
    shot(seen, f"story-{name}-{'phone-dark' if dark else 'wide-light'}")
    assert findings(seen) == []
    assert seen.evaluate("document.documentElement.scrollWidth") <= width
    seen.close()
