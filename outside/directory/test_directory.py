"""Everybody of an Active Directory behind oidc-provider: groups by objectGUID, names and addresses at userinfo."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from local.ports import Held
from local.service import LocalService
from outside.directory import people
from outside.directory.active_directory import Account, Directory
from outside.directory.conftest import Tally
from outside.directory.installation import SHORT_S, Installation, configure, installed
from outside.directory.people import APPROVERS, RENAMED
from outside.directory.providers import CLIENT_ID, oidc_provider

NEXT_S = 0.5


def log_in(page: Page, person: Account) -> None:
    page.get_by_label("Login").fill(person.login)
    page.get_by_label("Password").fill(person.password)
    page.get_by_role("button", name="Sign in").click()


@pytest.fixture(scope="module")
def there(directory: Directory, browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("oidc-provider")
    ids = {"approvers": directory.id_of(APPROVERS), "auditors": directory.id_of(people.AUDITORS)}
    config = configure(folder, **ids, renamed=directory.id_of(RENAMED))
    service = LocalService(config=config, inference=False)
    with (
        Held() as port,
        oidc_provider(port.number, service.url, folder) as provider,
        installed(service, provider, browser, log_in) as running,
    ):
        yield running


@pytest.mark.parametrize(
    "person",
    [people.ANN, people.BEN, people.CHO, people.MANY_GROUPS, people.JOERG, people.NO_MAIL],
    ids=lambda person: str(person.login),
)
def test_a_member_comes_from_the_mail_to_the_applied_decision(
    there: Installation, tally: Tally, person: Account
) -> None:
    with tally.of(person):
        group = f"by-{person.login}"
        page = there.sign_in(person, there.ask(group))
        expect(page.get_by_role("heading", name=f"{group} v1")).to_be_visible()
        there.decides(page)
        assert there.status(group) == "Approved"
        (vote,) = there.document(page)["votes"]
        assert vote["name"] == person.name


def test_an_auditor_reads_and_may_not_decide(there: Installation, tally: Tally) -> None:
    with tally.of(people.DAN):
        link = there.ask("read-only")
        page = there.sign_in(people.DAN, link)
        expect(page.get_by_text("You are not in the group that answers for dev.")).to_be_visible()
        expect(page.get_by_role("button", name="Approve for dev")).to_be_hidden()
        assert there.post(page, link, there.document(page)["csrf"]).status == 403
        assert there.document(page)["state"] == "Pending"


def test_somebody_in_other_groups_is_told_how_many_came(there: Installation, tally: Tally) -> None:
    with tally.of(people.EVE):
        page = there.sign_in(people.EVE, there.ask("not-eves"))
        expect(page.get_by_text("Your sign-in brought 2 groups, none of which may read here.")).to_be_visible()


def test_a_disabled_account_does_not_sign_in(there: Installation, tally: Tally) -> None:
    with tally.of(people.OFF):
        page = there.sign_in(people.OFF, there.ask("not-offs"))
        expect(page.get_by_role("alert")).to_be_visible()
        assert page.url.startswith(there.provider.issuer)


@pytest.mark.parametrize("person", [people.ANN, people.JOERG], ids=["ann", "joerg"])
def test_a_requester_known_by_the_upn_does_not_approve_by_the_mail(
    there: Installation, tally: Tally, person: Account
) -> None:
    with tally.of(person):
        link = there.ask(f"own-{person.login}", requested_by=person.upn)
        page = there.sign_in(person, link)
        expect(page.get_by_role("button", name="Approve for dev")).to_be_hidden()
        answer = there.post(page, link, there.document(page)["csrf"])
        assert answer.status == 403
        assert person.upn in answer.text()


def test_two_people_with_one_mail_count_as_one(there: Installation, tally: Tally) -> None:
    with tally.of(people.TWIN_ONE, people.TWIN_TWO):
        link = there.ask("twins")
        there.press_approve(there.sign_in(people.TWIN_ONE, link))
        page = there.sign_in(people.TWIN_TWO, link)
        expect(page.get_by_text("You have already voted on this request").first).to_be_visible()
        assert there.document(page)["state"] == "Pending"


def test_a_decision_soon_after_the_sign_in_makes_no_round_trip(there: Installation, tally: Tally) -> None:
    with tally.of(people.BEN):
        page = there.sign_in(people.BEN, there.ask("no-round-trip"))
        expect(page.get_by_label("Your reason")).to_be_visible()
        before = there.provider.count_requests()
        there.decides(page)
        assert there.provider.count_requests() == before


def test_a_decision_past_fresh_within_makes_one_and_keeps_the_form(there: Installation, tally: Tally) -> None:
    with tally.of(people.BEN):
        page = there.sign_in(people.BEN, there.ask("short-round-trip"))
        expect(page.get_by_label("Your reason")).to_be_visible()
        there.after(time.monotonic(), SHORT_S + NEXT_S)
        before = there.provider.count_requests()
        there.press_approve(page, "Typed before.")
        page.get_by_role("link", name="Sign in again").click()
        expect(page.get_by_label("Your reason")).to_have_value("Typed before.")
        assert there.provider.count_requests() == before + 1


@pytest.mark.parametrize(("person", "group"), [(people.GUS, "short-removed"), (people.HAL, "each-removed")])
def test_somebody_taken_out_of_the_group_does_not_decide(
    there: Installation, directory: Directory, tally: Tally, person: Account, group: str
) -> None:
    with tally.of(person):
        link = there.ask(group)
        page = there.sign_in(person, link)
        expect(page.get_by_label("Your reason")).to_be_visible()
        csrf = there.document(page)["csrf"]
        directory.remove_member(APPROVERS, person)
        if group.startswith("short-"):
            there.after(time.monotonic(), SHORT_S + NEXT_S)
        there.press_approve(page)
        page.get_by_role("link", name="Sign in again").click()
        expect(
            page.get_by_text("none of which may read here").or_(page.get_by_text("no groups at all"))
        ).to_be_visible()
        assert there.post(page, link, csrf).status == 403
        assert there.status(group) == "PendingManualApproval"


@pytest.mark.parametrize(("person", "group"), [(people.JAN, "short-disabled"), (people.IDA, "each-disabled")])
def test_somebody_whose_account_is_disabled_does_not_decide(
    there: Installation, directory: Directory, tally: Tally, person: Account, group: str
) -> None:
    with tally.of(person):
        link = there.ask(group)
        page = there.sign_in(person, link)
        expect(page.get_by_label("Your reason")).to_be_visible()
        csrf = there.document(page)["csrf"]
        directory.disable(person)
        if group.startswith("short-"):
            there.after(time.monotonic(), SHORT_S + NEXT_S)
        there.press_approve(page)
        page.get_by_role("link", name="Sign in again").click()
        log_in(page, person)
        expect(page.get_by_role("alert")).to_be_visible()
        assert there.post(page, link, csrf).status == 401
        assert there.status(group) == "PendingManualApproval"


def test_a_renamed_group_known_by_its_id_goes_on(there: Installation, directory: Directory, tally: Tally) -> None:
    with tally.of(people.REMO):
        link = there.ask("renamed-group")
        directory.rename_group(RENAMED, "ML approvers, the whole of EMEA")
        try:
            there.decides(there.sign_in(people.REMO, link))
        finally:
            directory.rename_group("ML approvers, the whole of EMEA", RENAMED)


def test_a_signature_asks_for_the_password_again(there: Installation, tally: Tally) -> None:
    with tally.of(people.ANN):
        group = "signed-by-ann"
        page = there.sign_in(people.ANN, there.ask(group))
        expect(page.get_by_text("Your decision is an electronic signature")).to_be_visible()
        there.press_approve(page, "Read before the password.")
        page.get_by_role("link", name="Sign in again").click()
        log_in(page, people.ANN)
        expect(page.get_by_label("Your reason")).to_have_value("Read before the password.")
        there.decides(page)
        assert there.status(group) == "Approved"


def test_signing_out_at_the_provider_ends_the_session_here(there: Installation, tally: Tally) -> None:
    with tally.of(people.BEN):
        page, elsewhere = (there.sign_in(people.BEN, "/") for _ in range(2))
        for each in (page, elsewhere):
            expect(each.get_by_role("button", name="Sign out")).to_be_visible()
        page.goto(f"{there.provider.issuer}/session/end?client_id={CLIENT_ID}")
        page.get_by_role("button", name="Yes, sign me out").click()
        expect(page.get_by_text("Sign-out Success")).to_be_visible()
        page.goto(f"{there.service.url}/")
        expect(page.get_by_label("Password")).to_be_visible()
        elsewhere.goto(f"{there.service.url}/")
        expect(elsewhere.get_by_role("button", name="Sign out")).to_be_visible()
