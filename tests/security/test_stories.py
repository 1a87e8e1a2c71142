"""Whole stories over HTTP: signing in and out, scanners, hostile models, rotation, fifty at once, and what people are told."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from html import unescape
from urllib.parse import urlsplit

import pytest
import requests

from local.http_client import Visitor
from promotion import names
from promotion.links.tokens import LONGEST_COOKIE, Keyring
from tests.local.people import Person as Browser
from tests.security.attacked import ANN, AUD, BEN, EVE, GIL, Attacked, person

OPEN = "open:1:dev:1"


@pytest.fixture
def browsers(attacked: Attacked) -> Iterator[Callable[[str], Browser]]:
    """Browsers of people of the local service, closed in the end."""
    opened: list[Browser] = []

    def browser(name: str) -> Browser:
        opened.append(Browser(attacked.service, name))
        return opened[-1]

    yield browser
    for each in opened:
        each.browser.close()


class TestSigningIn:
    def test_through_the_provider_and_back_to_the_page(
        self, attacked: Attacked, browsers: Callable[[str], Browser]
    ) -> None:
        ann = browsers("ann")
        page = ann.sign_in(attacked.link(OPEN))
        assert page.status_code == 200
        assert urlsplit(str(page.url)).path == attacked.link(OPEN)
        assert "Approve for dev" in page.text

    def test_the_cookie_is_small_short_lived_and_no_scripts_business(
        self, attacked: Attacked, browsers: Callable[[str], Browser]
    ) -> None:
        ann = browsers("ann")
        back = next(step for step in ann.sign_in().history if urlsplit(str(step.url)).path == "/callback")
        cookies = back.headers.get_list("set-cookie")
        session = next(cookie for cookie in cookies if cookie.startswith("session="))
        assert {"HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=28800"} <= set(session.split("; "))
        assert "Domain" not in session
        assert len(session.partition(";")[0]) <= LONGEST_COOKIE
        assert any(re.match(r"sign-in-[0-9a-f]{16}=;.*1970", cookie) for cookie in cookies), "the sign-in is over"

    def test_a_callback_is_good_once(self, attacked: Attacked, browsers: Callable[[str], Browser]) -> None:
        ann = browsers("ann")
        back = next(step for step in ann.sign_in().history if urlsplit(str(step.url)).path == "/callback")
        again = ann.browser.get(str(back.url), follow_redirects=False)
        assert (again.status_code, again.headers["location"]) == (303, "/"), "who is signed in goes on to the page"
        assert not again.headers.get_list("set-cookie"), "and gets no other session"
        # Even for somebody who kept the cookie that went with it, the provider gives a code one person only.
        kept = back.request.headers["cookie"]
        assert (
            requests.get(str(back.url), headers={"Cookie": kept}, allow_redirects=False, timeout=60).status_code == 403
        )

    @pytest.mark.parametrize(
        "target", ["//evil.example", "https://evil.example", "/\\evil.example", "%09//evil.example"]
    )
    def test_nobody_is_sent_elsewhere_after_it(
        self, attacked: Attacked, browsers: Callable[[str], Browser], target: str
    ) -> None:
        ann = browsers("ann")
        page = ann.sign_in(f"/login?return_to={target}")
        assert str(page.url) == f"{attacked.service.url}/"

    def test_somebody_without_a_group_is_told_what_to_ask_for(
        self, attacked: Attacked, browsers: Callable[[str], Browser]
    ) -> None:
        eve = browsers("eve")
        page = eve.sign_in()
        assert page.status_code == 403
        assert "You are signed in as eve@example.com. Your sign-in brought no groups at all" in page.text
        assert "Members of “ML approvers, dev”" in page.text

    def test_signing_out_ends_it(self, attacked: Attacked, browsers: Callable[[str], Browser]) -> None:
        ann = browsers("ann")
        page = ann.sign_in()
        csrf = unescape(re.findall(r'name="csrf" value="([^"]+)"', page.text)[0])
        out = ann.browser.post(
            f"{attacked.service.url}/logout", data={"csrf": csrf}, headers={"Origin": attacked.service.url}
        )
        assert out.status_code == 200
        assert "session" not in ann.browser.cookies
        assert ann.browser.get(f"{attacked.service.url}/", follow_redirects=False).status_code == 302

    def test_an_error_from_the_provider_is_text_and_no_markup(self, attacked: Attacked) -> None:
        begun = attacked.send("GET", "/login")
        cookie = begun.headers["set-cookie"].partition(";")[0]
        state = re.findall(r"[?&]state=([\w.-]+)", begun.headers["location"])[0]
        answer = attacked.send(
            "GET",
            f"/callback?state={state}&error_description=%3Cscript%3Ealert(1)%3C/script%3E",
            headers={"Cookie": cookie},
        )
        assert answer.status == 403
        assert "&lt;script&gt;" in answer.text
        assert "<script" not in answer.text


class TestOpening:
    """Scanners open every link of a mail, and more."""

    def test_a_scanner_opening_every_link_decides_nothing(self, attacked: Attacked) -> None:
        links = [link for mail in attacked.service.mailbox() for link in mail["links"]]
        before = attacked.state()
        for link in dict.fromkeys(links):
            path = link.removeprefix(attacked.service.url)
            for method in ("GET", "HEAD"):
                assert attacked.send(method, path).status == 302
            assert attacked.send("POST", path, body="verdict=Approved&reason=scan").status in (401, 404)
        assert len(links) > 20
        assert attacked.state() == before

    def test_opening_changes_nothing_whoever_is_signed_in(self, attacked: Attacked) -> None:
        before = attacked.state()
        for who in (ANN, BEN, AUD, GIL):
            for path in (
                attacked.link(OPEN),
                "/",
                "/models/two",
                "/models/two/versions/1",
                attacked.link("shut:1:test:1"),
            ):
                get, head = attacked.send("GET", path, who=who), attacked.send("HEAD", path, who=who)
                assert (get.status, head.status, head.body) == (200, 200, b"")
                same = {name: value for name, value in get.headers.items() if name not in ("date", "content-length")}
                assert same == {name: head.headers[name] for name in same}
        assert attacked.state() == before

    def test_no_page_has_a_script_or_asks_anybody_else_for_anything(self, attacked: Attacked) -> None:
        for path in (attacked.link(OPEN), "/", "/models/two", "/models/two/versions/1", "/nowhere-at-all"):
            page = attacked.send("GET", path, who=ANN).text
            assert "<script" not in page
            assert not re.search(r"\son\w+\s*=", re.sub(r">[^<]*<", "><", page))
            assert not re.search(r'(?:src|href|action)="(?:https?:)?//', page)
            assert "style=" not in page


class TestHostileModels:
    HTML = '<script>alert(1)</script><img src=x onerror="alert(2)"><a href="https://evil.example">here</a>'

    def test_html_in_a_description_is_text(self, attacked: Attacked) -> None:
        attacked.register("hostile", ModelPackageDescription=self.HTML)
        page = attacked.send("GET", attacked.link("hostile:1:dev:1"), who=ANN).text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
        assert "<script" not in page
        assert "onerror=" not in page.replace("onerror=&#34;", "")
        attacked.wait_for(lambda: attacked.mails("hostile v1", "ann@example.com"))
        mail = attacked.mails("hostile v1", "ann@example.com")[0]
        assert "<script" not in mail["html"]
        assert "<img src=x" not in mail["html"]
        assert 'href="https://evil.example' not in mail["html"]
        assert mail["links"][0] == f"{attacked.service.url}{attacked.link('hostile:1:dev:1')}"

    def test_a_description_puts_no_header_into_a_mail(self, attacked: Attacked) -> None:
        injected = "Fine.\r\nBcc: eve@evil.example\r\nSubject: Approve at once\r\n\r\n<b>body</b>"
        attacked.register(
            "injecting",
            ModelPackageDescription=injected,
            CustomerMetadataProperties={"requested_by": "dee@example.com", "base_model": "Bcc: eve@evil.example"},
        )
        attacked.wait_for(lambda: attacked.mails("injecting v1", "ann@example.com"))
        mail = attacked.mails("injecting v1", "ann@example.com")[0]
        assert set(mail["to"]) == {"ann@example.com", "ben@example.com"}
        assert mail["subject"].startswith("[dev] injecting v1")
        assert not [each for each in attacked.service.mailbox() if "eve@evil.example" in each["to"]]

    def test_a_requester_with_line_ends_gets_no_mail_and_no_header(self, attacked: Attacked) -> None:
        attacked.register(
            "two-requesters",
            wait=False,
            CustomerMetadataProperties={"requested_by": "dee@example.com Bcc: eve@evil.example"},
        )
        attacked.asked("two-requesters:1:dev:1")
        attacked.took(attacked.decide("two-requesters:1:dev:1", ANN))
        attacked.applied("two-requesters:1:dev:1")
        assert not [mail for mail in attacked.service.mailbox() if any("evil.example" in to for to in mail["to"])]

    def test_a_reason_is_text_on_the_page_and_in_the_mail(self, attacked: Attacked) -> None:
        attacked.register("scripted")
        attacked.took(attacked.decide("scripted:1:dev:1", ANN, "Rejected", fields={"reason": self.HTML}))
        attacked.wait_for(lambda: attacked.mails("scripted v1: rejected", "dee@example.com"))
        assert "<script" not in attacked.send("GET", attacked.link("scripted:1:dev:1"), who=ANN).text
        assert "<script" not in attacked.mails("scripted v1: rejected", "dee@example.com")[0]["html"]


class TestComparing:
    def test_a_version_is_compared_with_any_other_and_with_none_that_is_not_there(self, attacked: Attacked) -> None:
        for query, compared in (("?with=1", True), ("?with=99", False), ("?with=x", False), ("", False)):
            page = attacked.send("GET", f"/models/two/versions/2{query}", who=ANN)
            assert page.status == 200
            assert "There is no place where both" in page.text or "As registered" in page.text
            assert ("In the package" in page.text) is compared


class TestDeciding:
    def test_the_page_answers_at_once_and_loads_itself_again_until_it_is_applied(self, attacked: Attacked) -> None:
        attacked.register("at-once")
        attacked.took(attacked.decide("at-once:1:dev:1", ANN))
        first = attacked.send("GET", attacked.link("at-once:1:dev:1"), who=ANN)
        assert "You approved this" in first.text
        assert ("refresh" in {key.lower() for key in first.headers}) == ("Look again" in first.text)
        attacked.applied("at-once:1:dev:1")
        later = attacked.send("GET", attacked.link("at-once:1:dev:1"), who=ANN)
        assert "refresh" not in {key.lower() for key in later.headers}

    def test_the_page_follows_until_it_is_applied(self, attacked: Attacked) -> None:
        attacked.register("followed")
        asked = "followed:1:dev:1"
        attacked.took(attacked.decide(asked, ANN))
        attacked.applied(asked)
        after = attacked.read(attacked.link(asked))
        assert after["applied"] == dict.fromkeys(names.TARGETS, True)
        assert after["following"] is False
        assert (
            "The registry and Parameter Store are up to date."
            in attacked.send("GET", attacked.link(asked), who=ANN).text
        )

    def test_the_requester_is_told_of_an_approval(self, attacked: Attacked) -> None:
        attacked.register("told")
        attacked.took(attacked.decide("told:1:dev:1", ANN, fields={"reason": "Clear gains on every slice."}))
        attacked.wait_for(lambda: attacked.mails("told v1: approved", "dee@example.com"))
        mail = attacked.mails("told v1: approved", "dee@example.com")[0]
        assert mail["to"] == ["dee@example.com"]
        assert "Clear gains on every slice." in mail["text"]

    def test_the_requester_is_told_of_a_rejection_with_its_reason_and_it_can_be_asked_again(
        self, attacked: Attacked
    ) -> None:
        attacked.register("turned-down")
        first = "turned-down:1:dev:1"
        attacked.took(attacked.decide(first, BEN, "Rejected", fields={"reason": "It repeats itself."}))
        attacked.wait_for(lambda: attacked.mails("turned-down v1: rejected by Ben", "dee@example.com"))
        assert "It repeats itself." in attacked.mails("turned-down v1: rejected", "dee@example.com")[0]["text"]
        again = attacked.post(f"{attacked.link(first)}/again", ANN, {"reason": "Decoded with a repetition penalty."})
        assert again.status == 303
        assert urlsplit(again.headers["location"]).path == attacked.link("turned-down:1:dev:2")
        asking = attacked.wait_for(
            lambda: [
                m for m in attacked.mails("turned-down v1", "ann@example.com") if "repetition penalty" in m["text"]
            ]
        )
        assert asking[0]["links"][0].endswith(attacked.link("turned-down:1:dev:2"))
        old = attacked.read(attacked.link(first))
        assert old["state"] == "Superseded"
        assert old["links"]["newest"].endswith(attacked.link("turned-down:1:dev:2"))

    def test_the_link_of_a_superseded_request_leads_to_the_newer_one(self, attacked: Attacked) -> None:
        old = attacked.send("GET", attacked.link("superseded:1:dev:1"), who=ANN)
        assert old.status == 200
        assert f'href="{attacked.link("superseded:2:dev:1")}"' in old.text

    def test_broken_glass_is_recorded_as_that_and_every_approver_is_told(self, attacked: Attacked) -> None:
        attacked.register("urgent")
        attacked.took(attacked.decide("urgent:1:dev:1", ANN))
        attacked.ran("urgent", 1, "dev", 0.1)
        asked = "urgent:1:test:1"
        assert attacked.read(attacked.link(asked), GIL)["may_break_glass"] is True
        assert attacked.decide(asked, GIL).status == 403
        attacked.took(attacked.decide(asked, GIL, fields={"break_glass": "yes", "reason": "The old one leaks names."}))
        attacked.applied(asked)
        told = attacked.mails("urgent v1: approved by breaking the glass, by Gil", "ben@example.com")
        assert set(told[0]["to"]) == {"ann@example.com", "ben@example.com"}
        assert "The old one leaks names." in told[0]["text"]

    def test_an_approver_of_the_environment_before_may_be_excluded(self, attacked: Attacked) -> None:
        attacked.register("separate")
        attacked.took(attacked.decide("separate:1:dev:1", ANN))
        attacked.ran("separate", 1, "dev", 0.9)
        refused = attacked.decide("separate:1:test:1", ANN)
        assert (refused.status, "You approved this version for dev" in refused.text) == (403, True)
        attacked.took(attacked.decide("separate:1:test:1", BEN))

    def test_a_double_click_decides_once(self, attacked: Attacked) -> None:
        attacked.register("clicked")
        assert [attacked.decide("clicked:1:dev:1", ANN).status for _ in range(2)] == [303, 409]

    def test_fifty_at_once_decide_once(self, attacked: Attacked) -> None:
        attacked.register("crowded")
        assert at_once(attacked, "crowded:1:dev:1") == {303: 1, 409: 49}
        decisions = [e for e in attacked.read("/models/crowded")["events"] if e["kind"] == "Decision Recorded"]
        assert len(decisions) == 1


def at_once(attacked: Attacked, asked: str, count: int = 50) -> Counter[int]:
    """As many different approvers as that, who all decide at the same moment, some this way and some that."""
    people = [person(f"approver-{number}", "ml-dev") for number in range(count)]
    start = threading.Barrier(count)
    for who in people:
        attacked.session(who)

    def vote(number: int) -> int:
        start.wait()
        return attacked.decide(asked, people[number], "Approved" if number % 2 else "Rejected").status

    with ThreadPoolExecutor(count) as pool:
        return Counter(pool.map(vote, range(count)))


class TestRotation:
    """Last, because it changes the keys under everybody."""

    def test_a_new_key_signs_nobody_out_and_breaks_no_link(self, attacked: Attacked) -> None:
        before, old = attacked.link_keys(), attacked.keyring
        cookie, link, csrf = attacked.cookie(ANN), attacked.link(OPEN), attacked.csrf(ANN)
        fresh = "a fresh key that is long enough to sign with"
        attacked.aws("secretsmanager").put_secret_value(
            SecretId=attacked.link_secret, SecretString=json.dumps({"key": fresh})
        )
        # What the new key signs is taken at once, though each function keeps the keys it has read for minutes.
        new = Keyring([fresh])
        for path in (link, f"/approvals/{new.approval_token(OPEN)}"):
            for jar in (cookie, attacked.cookie(BEN)):
                taken = attacked.wait_for(lambda p=path, j=jar: _ok(attacked, p, j))  # type: ignore[misc]
                assert taken
        # The function has read the secret again by now: the key of before is known from its previous version alone.
        assert [_ok(attacked, link, cookie) for _ in range(3)] == [True] * 3
        # And the form of a page from before the rotation still decides: an empty reason is the only thing wrong with it.
        wrong = attacked.send("POST", link, headers={"Cookie": cookie}, body=f"verdict=Approved&reason=&csrf={csrf}")
        assert (wrong.status, "say why" in wrong.text) == (400, True)
        assert old.request_of(link.rpartition("/")[2]) == OPEN
        attacked.keyring = Keyring([fresh, *before])


def _ok(attacked: Attacked, path: str, cookie: str) -> bool:
    return attacked.send("GET", path, headers={"Cookie": cookie}).status == 200


def test_people_of_the_local_service_are_who_they_are_said_to_be(attacked: Attacked) -> None:
    assert Visitor(attacked.service.url, "aud").sign_in().read("/")["status"] == 200
    stranger = attacked.send("GET", "/", who=EVE)
    assert stranger.status == 403
    assert "You are signed in as eve@example.com." in stranger.text
    assert "a version’s requester may read that version" in stranger.text
