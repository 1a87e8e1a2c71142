"""Every page, as everybody sees it: axe-core finds nothing, nothing is wider than a phone, and there are no scripts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from promotion.domain.people import Person
from tests.browser.conftest import Opens, shot
from tests.security.attacked import ANN, AUD, EVE, GIL, Attacked

AXE = Path(__file__).resolve().parents[2] / "node_modules" / "axe-core" / "axe.min.js"

# What is looked at: a name, the path (a request's id stands for its link), and who looks.
LOOKS: dict[str, tuple[str, Person | None]] = {
    "request": ("open:1:dev:1", ANN),
    "request-not-allowed": ("open:1:dev:1", AUD),
    "request-nobody-known": ("unknown-requester:1:dev:1", ANN),
    "request-broken-artifact": ("broken:1:dev:1", ANN),
    "request-gate-shut": ("shut:1:test:1", ANN),
    "request-glass": ("shut:1:test:1", GIL),
    "request-frozen": ("frozen:1:uat:1", ANN),
    "request-one-of-two": ("quorum:1:test:1", ANN),
    "request-approved": ("decided:1:dev:1", ANN),
    "request-rejected": ("rejected:1:dev:1", ANN),
    "request-superseded": ("superseded:1:dev:1", ANN),
    "request-asked-again": ("again:1:dev:1", ANN),
    "request-expired": ("short-lived:1:dev:1", ANN),
    "request-revoked": ("revoked:1:dev:1", ANN),
    "board": ("/", ANN),
    "board-auditor": ("/", AUD),
    "board-no-group": ("/", EVE),
    "model": ("/models/two", ANN),
    "model-auditor": ("/models/two", AUD),
    "version": ("/models/two/versions/2", ANN),
    "version-revoked": ("/models/revoked/versions/1", ANN),
    "unknown-model": ("/models/nothing", ANN),
    "unknown-link": ("/approvals/nonsense", ANN),
    "sign-in-failed": ("/callback?code=x&state=y", None),
}


def findings(page: Page) -> list[str]:
    """Return axe-core's findings, one line each, by all its rules, best practices included."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("async () => (await axe.run(document, {resultTypes: ['violations']})).violations")
    return [
        f"{rule['id']}: {node['html'][:200]} {node['failureSummary'][:300]}" for rule in found for node in rule["nodes"]
    ]


@pytest.mark.parametrize("name", LOOKS)
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (360, True)], ids=["wide-light", "phone-dark"])
def test_axe_finds_nothing_and_nothing_is_too_wide(
    attacked: Attacked, opens: Opens, name: str, width: int, dark: bool
) -> None:
    path, who = LOOKS[name]
    page = opens(path if path.startswith("/") else attacked.link(path), who, width=width, dark=dark)
    shot(page, f"{name}-{'phone-dark' if dark else 'wide-light'}")
    assert findings(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("script").count() == 0


def test_the_page_for_a_form_sent_while_signed_out(attacked: Attacked, opens: Opens) -> None:
    page = opens(attacked.link("open:1:dev:1"), ANN)
    page.get_by_label("Your reason").fill("Fine.")
    page.context.clear_cookies()
    page.get_by_role("button", name="Reject").click()
    expect(page).to_have_title(re.compile("^Signed out"))
    shot(page, "signed-out")
    assert findings(page) == []
    assert (
        page.get_by_role("link", name="Sign in").get_attribute("href")
        == f"/login?return_to={attacked.link('open:1:dev:1')}"
    )


def test_the_page_for_a_form_of_another_session(attacked: Attacked, opens: Opens) -> None:
    page = opens(attacked.link("open:1:dev:1"), ANN)
    page.locator('input[name="csrf"]').first.evaluate("(field) => { field.value = 'x' }")
    page.locator('form[action^="/approvals/"] input[name="csrf"]').evaluate("(field) => { field.value = 'x' }")
    page.get_by_label("Your reason").fill("Fine.")
    page.get_by_role("button", name="Approve for dev").click()
    expect(page).to_have_title(re.compile("^Form not accepted"))
    shot(page, "form-not-accepted")
    assert findings(page) == []


def test_the_first_stop_of_the_keyboard_leads_to_the_content(attacked: Attacked, opens: Opens) -> None:
    page = opens(attacked.link("open:1:dev:1"), ANN)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()


def test_nothing_is_asked_of_anybody_else(attacked: Attacked, opens: Opens) -> None:
    page = opens("/", ANN).context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    for path in (attacked.link("open:1:dev:1"), "/", "/models/two"):
        page.goto(f"{attacked.service.url}{path}")
    assert asked
    assert [url for url in asked if not url.startswith((attacked.service.url, "data:"))] == []


def test_the_content_security_policy_is_never_tripped(attacked: Attacked, opens: Opens) -> None:
    # A page of its own: for one that names no icon, such as /healthz, a browser asks for /favicon.ico whenever it likes.
    page = opens("/", ANN).context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    for path in (
        attacked.link("open:1:dev:1"),
        attacked.link("shut:1:test:1"),
        "/",
        "/models/two",
        "/models/two/versions/2",
    ):
        page.goto(f"{attacked.service.url}{path}")
    assert said == []
