"""The same people behind LemonLDAP::NG as it comes: groups by their names, and all claims at userinfo alone."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from local.ports import Held
from local.service import LocalService
from outside.directory import people
from outside.directory.active_directory import Account, Directory, Refused
from outside.directory.conftest import Tally
from outside.directory.installation import Installation, configure, installed
from outside.directory.people import APPROVERS, AUDITORS, RENAMED
from outside.directory.providers import lemonldap

# `portalForceAuthnInterval` as it comes: so long after a login `prompt=login` asks for no password.
FORCE_INTERVAL_S = 5


def log_in(page: Page, person: Account) -> None:
    page.locator("input[name=user]").fill(person.login)
    page.locator("input[name=password]").fill(person.password)
    page.locator("button[type=submit]").first.click()


def log_in_anew(page: Page, person: Account) -> None:
    """Log in where a session of the provider goes on: it says so first."""
    page.get_by_role("button", name="Upgrade session").click()
    log_in(page, person)


def without_files(page: Page) -> None:
    """Load none of the portal's files: a web server in front serves them, and here they would use up the request that waits."""
    page.route(re.compile(r"/(static|javascript)/(bootstrap|common|jquery|font-awesome)"), lambda route: route.abort())


@pytest.fixture(scope="module")
def there(directory: Directory, browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    assert directory.id_of(APPROVERS)
    folder = tmp_path_factory.mktemp("lemonldap")
    config = configure(folder, approvers=APPROVERS, auditors=AUDITORS, renamed=RENAMED)
    service = LocalService(config=config, inference=False)
    try:
        with (
            Held() as port,
            lemonldap(port.number, f"{service.url}/callback", folder) as provider,
            installed(service, provider, browser, log_in) as running,
        ):
            yield running
    except Refused as error:
        pytest.fail(str(error), pytrace=False)


@pytest.mark.parametrize(
    "person",
    [people.ANN, people.CHO, people.MANY_GROUPS, people.JOERG],
    ids=lambda person: str(person.login),
)
def test_a_member_by_name_approves(there: Installation, tally: Tally, person: Account) -> None:
    with tally.of(person):
        group = f"by-{person.login}"
        page = there.sign_in(person, there.ask(group))
        there.decides(page)
        assert there.status(group) == "Approved"
        (vote,) = there.document(page)["votes"]
        assert vote["name"] == person.name


def test_an_auditor_by_name_may_not_decide(there: Installation, tally: Tally) -> None:
    with tally.of(people.DAN):
        link = there.ask("read-only")
        page = there.sign_in(people.DAN, link)
        expect(page.get_by_text("You are not in the group that answers for dev.")).to_be_visible()
        assert there.post(page, link, there.document(page)["csrf"]).status == 403


def test_a_disabled_account_does_not_sign_in(there: Installation, tally: Tally) -> None:
    with tally.of(people.OFF):
        page = there.sign_in(people.OFF, there.ask("not-offs"))
        expect(page.locator("input[name=password]")).to_be_visible()
        assert page.url.startswith(there.provider.issuer)


def test_a_requester_known_by_the_mail_of_userinfo_does_not_approve(there: Installation, tally: Tally) -> None:
    with tally.of(people.ANN):
        link = there.ask("own-ann", requested_by=people.ANN.mail)
        page = there.sign_in(people.ANN, link)
        expect(page.get_by_role("button", name="Approve for dev")).to_be_hidden()
        assert there.post(page, link, there.document(page)["csrf"]).status == 403


def test_its_own_session_keeps_the_groups_of_its_login_in_new_tokens(
    there: Installation, directory: Directory, tally: Tally
) -> None:
    """A renewed token holds what the provider read at its own login, however new the token is."""
    with tally.of(people.KIM):
        link = there.ask("each-kept")
        page = there.sign_in(people.KIM, link)
        expect(page.get_by_label("Your reason")).to_be_visible()
        directory.remove_member(APPROVERS, people.KIM)
        there.press_approve(page)
        page.get_by_role("link", name="Sign in again").click()
        expect(page.get_by_label("Your reason")).to_have_value("Read the evidence.")
        there.decides(page)
        assert there.status("each-kept") == "Approved"


def test_a_renamed_group_known_by_its_name_gives_no_right_any_more(
    there: Installation, directory: Directory, tally: Tally
) -> None:
    with tally.of(people.REMO):
        link = there.ask("renamed-group")
        directory.rename_group(RENAMED, "ML approvers, the whole of EMEA")
        try:
            page = there.sign_in(people.REMO, link)
            expect(page.get_by_text("Your sign-in brought 1 group, none of which may read here.")).to_be_visible()
        finally:
            directory.rename_group("ML approvers, the whole of EMEA", RENAMED)


def test_a_signature_asks_for_the_password_again_once_the_login_is_five_seconds_old(
    there: Installation, tally: Tally
) -> None:
    with tally.of(people.CHO):
        group = "signed-by-cho"
        page = there.sign_in(people.CHO, there.ask(group))
        expect(page.get_by_text("Your decision is an electronic signature")).to_be_visible()
        there.after(time.monotonic(), FORCE_INTERVAL_S + 1)
        there.press_approve(page, "Read before the password.")
        without_files(page)
        page.get_by_role("link", name="Sign in again").click()
        log_in_anew(page, people.CHO)
        expect(page.get_by_label("Your reason")).to_have_value("Read before the password.")
        there.decides(page)
        assert there.status(group) == "Approved"


def test_a_signature_right_after_the_login_is_not_recorded_on_that_login(there: Installation, tally: Tally) -> None:
    """Within its interval the provider asks for no password, and the token's `auth_time` tells."""
    with tally.of(people.ANN):
        group = "signed-by-ann"
        page = there.sign_in(people.ANN, there.ask(group))
        expect(page.get_by_label("Your reason")).to_be_visible()
        without_files(page)
        asked = page.get_by_role("button", name="Upgrade session")
        while not asked.is_visible():
            there.press_approve(page)
            assert there.status(group) == "PendingManualApproval"
            page.get_by_role("link", name="Sign in again").click()
            expect(asked.or_(page.get_by_label("Your reason"))).to_be_visible()
        log_in_anew(page, people.ANN)
        there.decides(page)
        assert there.status(group) == "Approved"
