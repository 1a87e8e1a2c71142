"""Several sign-ins at once, and a fresh one for each decision, over HTTP against the local service."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx
import pytest
from msgspec.structs import replace

from lambdas.shared.sign_in_paths import digest
from promotion.links.session import Session
from tests.fakes import signed_in
from tests.local.people import Person as Browser
from tests.security.attacked import ANN, Answer, Attacked

OPEN = "open:1:dev:1"


@pytest.fixture
def browser(attacked: Attacked) -> Iterator[Browser]:
    with Browser(attacked.service, "ann") as opened:
        yield opened


def cookie_of(answer: Answer | httpx.Response, name: str) -> str:
    """A cookie that an answer sets, as a request would send it back."""
    found = re.search(rf"(?:^|, ){name}=([^;]*)", str(answer.headers["set-cookie"]))
    assert found is not None
    return f"{name}={found[1]}"


def time_there(attacked: Attacked) -> datetime:
    """The service's own time, which tests have moved."""
    return parsedate_to_datetime(str(attacked.send("GET", "/healthz").headers["date"]))


def old_session(attacked: Attacked, age: timedelta, **more: Any) -> Session:
    """A session of Ann's whose ID token was issued some time ago."""
    there = time_there(attacked)
    # No longer than `session_lifetime` in all, or it is no session.
    moment, end = there - age, there + timedelta(hours=1) - age
    return Session(id=secrets.token_urlsafe(8), person=signed_in(ANN, moment), expires_at=end, made_at=moment, **more)


def test_three_links_opened_signed_out_all_arrive_in_any_order(attacked: Attacked, browser: Browser) -> None:
    paths = [attacked.link(OPEN), "/models/open", "/"]
    forms = [browser.browser.get(f"{attacked.service.url}{path}") for path in paths]
    arrived = []
    for form in reversed(forms):
        action = re.search(r'<form method="post" action="([^"]+)"', form.text)
        if action is None:
            continue
        url = f"{attacked.service.idp_url}{unescape(action[1])}"
        page = browser.browser.post(url, data={"login": "ann", "password": "ann"})
        arrived.append((page.status_code, urlsplit(str(page.url)).path))
    assert arrived == [(200, path) for path in reversed(paths)]


def test_at_most_five_sign_ins_are_remembered_and_the_oldest_goes(attacked: Attacked, browser: Browser) -> None:
    for _ in range(7):
        browser.browser.get(f"{attacked.service.url}/login", follow_redirects=False)
    assert sum(name.startswith("sign-in-") for name in browser.browser.cookies) == 5


def test_a_sign_in_that_took_too_long_begins_again_towards_the_same_request(attacked: Attacked) -> None:
    state = attacked.sign_in_keys.sign_in_state(attacked.link(OPEN))
    page = attacked.send("GET", f"/callback?{urlencode({'code': 'x', 'state': state})}")
    assert page.status == 403
    assert f"/login?return_to={attacked.link(OPEN)}" in page.text


def test_somebody_signed_in_meanwhile_goes_on_to_the_request(attacked: Attacked) -> None:
    state = attacked.sign_in_keys.sign_in_state(attacked.link(OPEN))
    page = attacked.send("GET", f"/callback?{urlencode({'code': 'x', 'state': state})}", who=ANN)
    assert (page.status, page.headers["location"]) == (303, attacked.link(OPEN))


def test_a_state_of_ones_own_making_leads_nowhere(attacked: Attacked) -> None:
    page = attacked.send("GET", "/callback?code=x&state=https://evil.example", who=ANN)
    assert page.status == 403
    assert "evil" not in page.text


def test_a_page_that_one_may_decide_on_renews_an_old_sign_in_first(attacked: Attacked) -> None:
    jar = f"session={attacked.sessions.cookie(old_session(attacked, timedelta(minutes=16)))}"
    page = attacked.send("GET", attacked.link(OPEN), headers={"Cookie": jar})
    assert (page.status, page.headers["location"]) == (302, f"/login?return_to={attacked.link(OPEN)}&renew=1")
    board = attacked.send("GET", "/", headers={"Cookie": jar})
    assert board.status == 200


def test_a_decision_within_its_time_makes_no_round_trip(attacked: Attacked) -> None:
    jar = f"session={attacked.sessions.cookie(old_session(attacked, timedelta(minutes=14)))}"
    assert attacked.send("GET", attacked.link(OPEN), headers={"Cookie": jar}).status == 200


def test_a_late_form_is_answered_with_a_sign_in_and_comes_back_filled(attacked: Attacked) -> None:
    late = old_session(attacked, timedelta(minutes=16))
    jar = f"session={attacked.sessions.cookie(late)}"
    before = attacked.state("open")
    fields = {"verdict": "Rejected", "reason": "Reads poorly, \u00fc.", "csrf": attacked.form_keys.csrf_token(late)}
    answer = attacked.send("POST", attacked.link(OPEN), headers={"Cookie": jar}, body=urlencode(fields))
    assert answer.status == 401
    assert f"/login?return_to={attacked.link(OPEN)}&amp;renew=1" in answer.text
    assert attacked.state("open") == before
    form = cookie_of(answer, "form")
    page = attacked.send("GET", attacked.link(OPEN), headers={"Cookie": f"{attacked.cookie(ANN)}; {form}"})
    assert "Reads poorly, \u00fc.</textarea>" in page.text
    assert "You were about to reject" in page.text
    other = attacked.send("GET", attacked.link("quorum:1:dev:1"), headers={"Cookie": f"{attacked.cookie(ANN)}; {form}"})
    assert "Reads poorly" not in other.text


def test_a_late_form_that_no_cookie_holds_is_not_kept(attacked: Attacked) -> None:
    late = old_session(attacked, timedelta(minutes=16))
    versions = "".join(hashlib.sha256(bytes([number])).hexdigest() for number in range(200))
    answer = sent(attacked, late, "/models/two/dev/rollback", to_version=versions, reason="Slow.")
    assert (answer.status, "set-cookie" in answer.headers) == (401, False)


def test_a_late_form_from_elsewhere_is_refused_before_anything_is_kept(attacked: Attacked) -> None:
    jar = f"session={attacked.sessions.cookie(old_session(attacked, timedelta(minutes=16)))}"
    body = urlencode({"verdict": "Rejected", "reason": "x", "csrf": "forged"})
    answer = attacked.send("POST", attacked.link(OPEN), headers={"Cookie": jar}, body=body)
    assert answer.status == 403
    assert "set-cookie" not in answer.headers


def sent(attacked: Attacked, session: Session, path: str, cookies: str = "", **fields: str) -> Answer:
    """A form, sent with a session and its own token."""
    jar = f"session={attacked.sessions.cookie(session)}{cookies and '; '}{cookies}"
    body = urlencode({**fields, "csrf": attacked.form_keys.csrf_token(session)})
    return attacked.send("POST", path, headers={"Cookie": jar}, body=body)


@pytest.mark.parametrize(
    ("path", "back", "fields"),
    [
        ("/models/two/dev/rollback", "/models/two", {"to_version": "1", "reason": "Slow."}),
        ("/models/two/versions/1/revoke", "/models/two", {"reason": "Slow."}),
        ("again", "", {"reason": "More data."}),
    ],
    ids=["rollback", "revoke", "ask again"],
)
def test_other_operations_need_as_fresh_a_sign_in(
    attacked: Attacked, path: str, back: str, fields: dict[str, str]
) -> None:
    asked = attacked.link("rejected:1:dev:1")
    path, back = (f"{asked}/again", asked) if path == "again" else (path, back)
    before = attacked.state("two", "rejected")
    answer = sent(attacked, old_session(attacked, timedelta(minutes=16)), path, **fields)
    assert answer.status == 401
    assert f"/login?return_to={back}&amp;renew=1" in answer.text
    assert attacked.state("two", "rejected") == before


def test_a_late_rollback_comes_back_filled(attacked: Attacked) -> None:
    fields = {"to_version": "1", "reason": "Slow since Monday."}
    answer = sent(attacked, old_session(attacked, timedelta(minutes=16)), "/models/two/dev/rollback", **fields)
    form = cookie_of(answer, "form")
    page = attacked.send("GET", "/models/two", headers={"Cookie": f"{attacked.cookie(ANN)}; {form}"})
    assert "Slow since Monday.</textarea>" in page.text
    assert '<option value="1" selected>' in page.text
    other = attacked.send("GET", "/models/open", headers={"Cookie": f"{attacked.cookie(ANN)}; {form}"})
    assert "Slow since Monday." not in other.text


def test_with_zero_a_decision_needs_a_sign_in_that_follows_its_form(attacked: Attacked) -> None:
    attacked.register("each-decision", wait=False)
    link = attacked.link("each-decision:1:dev:1")
    # A page would renew the sign-in first; a document doesn't.
    attacked.wait_for(lambda: attacked.send("GET", link, who=ANN, headers={"Accept": "application/json"}).status == 200)
    fields = {"verdict": "Approved", "reason": "Good."}
    fresh = old_session(attacked, timedelta(0), made_for=digest(link))
    first = sent(attacked, fresh, link, **fields)
    assert (first.status, "a sign-in of its own" in first.text) == (401, True)
    form = cookie_of(first, "form")
    assert sent(attacked, fresh, link, form, **fields).status == 401, "the same session has made no round trip"
    earlier = old_session(attacked, timedelta(seconds=30), made_for=digest(link))
    assert sent(attacked, earlier, link, form, **fields).status == 401, "that sign-in was before the form"
    elsewhere = old_session(attacked, timedelta(0), made_for=digest("/"))
    assert sent(attacked, elsewhere, link, form, **fields).status == 401, "that sign-in was for another page"
    after = old_session(attacked, timedelta(0), made_for=digest(link))
    assert sent(attacked, after, link, form, verdict="Rejected", reason="Bad.").status == 401, "another verdict"
    assert sent(attacked, after, link, form, **fields).status == 303


def entered(session: Session, at: datetime) -> Session:
    """A session whose person entered their credentials at that time."""
    how = session.person.authentication
    assert how is not None
    return replace(session, person=replace(session.person, authentication=replace(how, auth_time=at)))


def test_a_signature_needs_credentials_entered_after_its_form_was_sent(attacked: Attacked) -> None:
    attacked.register("signed-once-more", wait=False)
    link = attacked.link("signed-once-more:1:dev:1")
    attacked.wait_for(lambda: attacked.send("GET", link, who=ANN, headers={"Accept": "application/json"}).status == 200)
    fields = {"verdict": "Approved", "reason": "Good."}
    entered_at = time_there(attacked) - timedelta(minutes=2)
    before = entered(old_session(attacked, timedelta(minutes=2), made_for=digest(link)), entered_at)
    first = sent(attacked, before, link, **fields)
    assert (first.status, "a sign-in of its own" in first.text) == (401, True)
    again = re.search(r'href="(/login[^"]+)"', first.text)
    assert again is not None
    asked = parse_qs(urlsplit(attacked.send("GET", unescape(again[1])).headers["location"]).query)
    assert (asked["prompt"], asked["max_age"]) == (["login"], ["0"])
    form = cookie_of(first, "form")
    silent = entered(old_session(attacked, timedelta(0), made_for=digest(link)), entered_at)
    assert sent(attacked, silent, link, form, **fields).status == 401, "the provider asked for no credentials"
    unsaid = old_session(attacked, timedelta(0), made_for=digest(link))
    assert "(auth_time)" in sent(attacked, unsaid, link, form, **fields).text
    after = entered(unsaid, time_there(attacked))
    assert sent(attacked, after, link, form, **fields).status == 303


def test_a_form_to_sign_opens_without_credentials_which_its_decision_asks_for(attacked: Attacked) -> None:
    attacked.register("signed-opened", wait=False)
    link = attacked.link("signed-opened:1:dev:1")
    attacked.wait_for(lambda: attacked.send("GET", link, who=ANN, headers={"Accept": "application/json"}).status == 200)
    jar = f"session={attacked.sessions.cookie(old_session(attacked, timedelta(minutes=16)))}"
    page = attacked.send("GET", link, headers={"Cookie": jar})
    assert page.status == 200
    assert "Your decision is an electronic signature" in page.text


def test_scripts_are_told_that_their_sign_in_is_too_old(attacked: Attacked) -> None:
    late = old_session(attacked, timedelta(minutes=16))
    headers = {"Cookie": f"session={attacked.sessions.cookie(late)}", "Accept": "application/json"}
    body = urlencode({"verdict": "Rejected", "reason": "x", "csrf": attacked.form_keys.csrf_token(late)})
    answer = attacked.send("POST", attacked.link(OPEN), headers=headers, body=body)
    assert (answer.status, answer.document["error"]) == (401, "sign_in_again")


def test_a_provider_that_brings_only_old_tokens_makes_no_circle(attacked: Attacked) -> None:
    just_renewed = replace(
        old_session(attacked, timedelta(minutes=16)), made_at=time_there(attacked), made_for=digest(attacked.link(OPEN))
    )
    jar = f"session={attacked.sessions.cookie(just_renewed)}"
    assert attacked.send("GET", attacked.link(OPEN), headers={"Cookie": jar}).status == 200


def test_a_renewed_sign_in_is_silent_and_comes_back_to_the_request(attacked: Attacked, browser: Browser) -> None:
    browser.sign_in()
    page = browser.browser.get(f"{attacked.service.url}/login", params={"return_to": attacked.link(OPEN), "renew": "1"})
    assert (page.status_code, urlsplit(str(page.url)).path) == (200, attacked.link(OPEN))


def test_an_answer_by_form_is_refused_where_it_was_not_asked_for(attacked: Attacked) -> None:
    answer = attacked.send("POST", "/callback", body="code=x&state=s", headers={"Origin": "https://login.example.com"})
    assert answer.status == 403
    assert "asked to answer with a form" in answer.text


def test_signing_out_offers_the_providers_own_sign_out(attacked: Attacked) -> None:
    page = attacked.post("/logout", ANN)
    assert page.status == 200
    link = re.search(r'href="([^"]+)"[^>]*>Sign out of your organisation too', page.text)
    assert link is not None
    assert unescape(link[1]).startswith(attacked.service.idp_url)
    query = parse_qs(urlsplit(unescape(link[1])).query)
    assert query["post_logout_redirect_uri"] == [f"{attacked.service.url}/"]
