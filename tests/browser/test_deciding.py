"""From the mail to the applied decision, by clicking; and what a scanner with a browser of its own can't do."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import PATIENCE_MS, Opens, shot
from tests.security.attacked import ANN, Attacked

APPLIED = "The registry and Parameter Store are up to date."


def sign_in(page: Page, name: str) -> None:
    page.get_by_label("Login").fill(name)
    page.get_by_label("Password").fill(name)
    page.get_by_role("button", name="Sign in").click()


def mail_of(attacked: Attacked, group: str) -> int:
    """The number of the mail that asks for a group's version, in the local mailbox."""
    found = attacked.wait_for(lambda: attacked.mails(f"{group} v1: approve"))
    return len(attacked.service.mailbox()) - attacked.service.mailbox().index(found[0])


def follow(page: Page) -> None:
    """A page waits for the decision to be applied; on a busy machine its reader has to look again."""
    applied, again = page.get_by_text(APPLIED, exact=True), page.get_by_role("link", name="Look again")
    for _ in range(10):
        expect(applied.or_(again)).to_be_visible()
        if applied.is_visible():
            return
        again.click()
    expect(applied).to_be_visible()


def test_from_the_mail_to_the_applied_decision(attacked: Attacked, opens: Opens) -> None:
    arn = attacked.register("clicked-through", ModelPackageDescription="Learned from a week more of logs.")
    mail_of(attacked, "clicked-through")
    page = opens("/_local/mailbox")
    page.get_by_role("link", name="clicked-through v1").first.click()
    shot(page, "flow-1-mail")
    link = page.frame_locator("iframe").get_by_role("link", name="Review and decide").first
    target = link.get_attribute("href")
    assert target is not None
    assert urlsplit(target).path == attacked.link("clicked-through:1:dev:1")
    with page.context.expect_page() as opened:
        link.click()
    page = opened.value
    expect(page.get_by_label("Login")).to_be_visible()
    shot(page, "flow-2-sign-in")
    sign_in(page, "ann")
    expect(page.get_by_role("heading", name="clicked-through v1")).to_be_visible()
    assert urlsplit(page.url).path == attacked.link("clicked-through:1:dev:1")
    shot(page, "flow-3-request")

    page.get_by_role("button", name="Approve for dev").click()
    assert attacked.read(attacked.link("clicked-through:1:dev:1"))["state"] == "Pending", "a reason is wanted first"
    page.get_by_label("Your reason").fill("Better on every slice, and as fast.")
    page.get_by_role("button", name="Approve for dev").click()
    expect(page.get_by_text("Your decision")).to_be_hidden()
    shot(page, "flow-4-decided")
    follow(page)
    shot(page, "flow-5-applied")
    package = attacked.aws("sagemaker").describe_model_package(ModelPackageName=arn)
    assert package["ModelApprovalStatus"] == "Approved"
    assert package["LastModifiedBy"]["IamIdentity"]["SourceIdentity"] == "ann"

    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("You are signed out here.")).to_be_visible()
    shot(page, "flow-6-signed-out")


def test_it_works_without_javascript_on_a_phone(attacked: Attacked, opens: Opens) -> None:
    attacked.register("without-scripts")
    asked = "without-scripts:1:dev:1"
    page = opens(attacked.link(asked), width=360, scripts=False)
    sign_in(page, "ben")
    page.get_by_label("Your reason").fill("It repeats itself.")
    page.get_by_role("button", name="Reject").click()
    expect(page.get_by_role("heading", name="without-scripts v1")).to_be_visible()
    follow(page)
    assert attacked.read(attacked.link(asked))["state"] == "Rejected"
    shot(page, "phone-rejected-without-scripts")
    page.get_by_label("What has changed").fill("Decoded with a repetition penalty.")
    page.get_by_role("button", name="Ask again").click()
    expect(page.get_by_text("attempt 2")).to_be_visible()
    assert attacked.read(attacked.link("without-scripts:1:dev:2"))["state"] == "Pending"


def test_rolling_back_by_the_models_page(attacked: Attacked, opens: Opens) -> None:
    for version in (1, 2):
        attacked.register("clicked-back")
        attacked.took(attacked.decide(f"clicked-back:{version}:dev:1", ANN))
    page = opens("/models/clicked-back", ANN)
    shot(page, "model-before-rollback")
    form = page.locator('form[action$="/models/clicked-back/dev/rollback"]')
    if not form.is_visible():
        page.locator("details:has(form[action$='/dev/rollback']) > summary").first.click()
    form.locator("textarea, input[name=reason]").first.fill("Summaries came out in the wrong language.")
    form.get_by_role("button").first.click()
    expect(page.get_by_text("Summaries came out in the wrong language.").first).to_be_visible()
    assert [e["live"] for e in attacked.read("/models/clicked-back")["environments"] if e["name"] == "dev"] != [2]


def test_a_scanner_that_runs_scripts_and_submits_forms_decides_nothing(attacked: Attacked, browser: Browser) -> None:
    """As mail gateways do: a browser, no account, and everything clicked that can be."""
    attacked.register("scanned")
    mail = attacked.wait_for(lambda: attacked.mails("scanned v1"))[0]
    attacked.wait_for(lambda: attacked.read("/models/scanned")["versions"])
    before = attacked.state()
    for link in mail["links"]:
        context = browser.new_context()
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.goto(link)
        forms = page.locator("form").count()
        for index in range(forms):
            page.goto(link)
            form = page.locator("form").nth(index)
            for field in form.locator("input:visible, textarea:visible").all():
                field.fill("scanner")
            with page.expect_navigation():
                form.evaluate("form => form.requestSubmit ? form.requestSubmit() : form.submit()")
        # And the forms that it could know of from elsewhere.
        for path in (
            attacked.link("scanned:1:dev:1"),
            "/models/scanned/dev/rollback",
            "/models/scanned/versions/1/revoke",
        ):
            sent: dict[str, str | float | bool] = {"verdict": "Approved", "reason": "scan", "csrf": "x"}
            assert context.request.post(f"{attacked.service.url}{path}", form=sent).status == 401
        context.close()
    assert attacked.state() == before


def test_another_site_cannot_have_a_signed_in_person_decide(attacked: Attacked, opens: Opens) -> None:
    """The form of another origin, submitted in the browser of somebody who is signed in and may."""
    attacked.register("lured")
    asked = "lured:1:dev:1"
    page = opens("/", ANN)
    # The identity provider's port is another origin, and the same site: the nearest that an attacker could come.
    page.goto(f"{attacked.service.idp_url}/_local/healthz")
    page.set_content(
        f'<form method="post" action="{attacked.service.url}{attacked.link(asked)}"><input name="verdict" value="Approved">'
        f'<input name="reason" value="Lured."><input name="csrf" value="{attacked.csrf(ANN)}"><button>Win</button></form>'
    )
    with page.expect_navigation() as gone:
        page.get_by_role("button", name="Win").click()
    assert gone.value is not None
    assert gone.value.status in (401, 403)
    assert attacked.read(attacked.link(asked))["state"] == "Pending"


def test_no_page_of_ours_can_be_framed(attacked: Attacked, opens: Opens) -> None:
    page = opens("/", ANN)
    page.goto(f"{attacked.service.idp_url}/_local/healthz")
    with page.expect_console_message(lambda message: "frame-ancestors" in message.text) as refused:
        page.set_content(f'<iframe src="{attacked.service.url}{attacked.link("open:1:dev:1")}"></iframe>')
    assert attacked.service.url in refused.value.text
    frame = page.frames[-1]
    assert frame is not page.main_frame
    assert not frame.url.startswith(attacked.service.url)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_breaking_the_glass_is_offered_to_who_holds_it(attacked: Attacked, opens: Opens, dark: bool) -> None:
    from tests.security.attacked import GIL

    page = opens(attacked.link("shut:1:test:1"), GIL, dark=dark)
    page.get_by_text("Break the glass").click()
    expect(page.get_by_role("button", name="Approve for test all the same")).to_be_visible()
    shot(page, f"glass-{'dark' if dark else 'light'}")
