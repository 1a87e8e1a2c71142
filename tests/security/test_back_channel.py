"""The identity provider ends sessions: at the next request they are none."""

from __future__ import annotations

import re
import secrets
from datetime import timedelta
from html import unescape
from urllib.parse import urlencode

import pytest
from msgspec.structs import replace

from promotion import names
from promotion.aws.ended_sessions import EndedSessions
from promotion.links.session import Session
from tests.local.people import Person as Browser
from tests.security.attacked import Attacked, person

OPEN = "open:1:dev:1"
AS_JSON = {"Accept": "application/json"}


@pytest.fixture
def ended(attacked: Attacked) -> EndedSessions:
    return EndedSessions(attacked.aws("dynamodb"), attacked.setting("web", names.ENDED_SESSIONS_TABLE))


def session_of(attacked: Attacked, subject: str, sid: str = "") -> Session:
    moment = attacked.now()
    found = attacked.session(person(subject, "ml-dev"))
    return replace(found, made_at=moment, expires_at=moment + timedelta(hours=1), sid=sid)


def cookie(attacked: Attacked, session: Session) -> dict[str, str | None]:
    return {"Cookie": f"session={attacked.sessions.cookie(session)}"}


def test_an_ended_session_reads_nothing_and_decides_nothing(attacked: Attacked, ended: EndedSessions) -> None:
    session = session_of(attacked, "fay", "a-session")
    jar, before = cookie(attacked, session), attacked.state("open")
    assert attacked.send("GET", "/", headers=jar).status == 200
    ended.end(token_id=secrets.token_hex(), subject="fay", sid="a-session", now=attacked.now())
    page = attacked.send("GET", attacked.link(OPEN), headers=jar)
    assert (page.status, page.headers["location"]) == (302, f"/login?return_to={attacked.link(OPEN)}")
    assert attacked.send("GET", "/", headers=jar | AS_JSON).status == 401
    form = {"verdict": "Approved", "reason": "Good.", "csrf": attacked.form_keys.csrf_token(session)}
    assert attacked.send("POST", attacked.link(OPEN), headers=jar, body=urlencode(form)).status == 401
    assert attacked.state("open") == before


def test_other_sessions_of_the_same_person_go_on(attacked: Attacked, ended: EndedSessions) -> None:
    ended.end(token_id=secrets.token_hex(), subject="gus", sid="of-the-laptop", now=attacked.now())
    assert (
        attacked.send("GET", "/", headers=cookie(attacked, session_of(attacked, "gus", "of-the-phone"))).status == 200
    )


def sign_out_at_the_provider(attacked: Attacked, browser: Browser) -> None:
    """As the page behind our own sign-out leads there, and its form confirms."""
    page = browser.browser.get(f"{attacked.service.idp_url}/session/end", params={"client_id": "promotion"})
    action = re.search(r'action="([^"]+)"', page.text)
    xsrf = re.search(r'name="xsrf" value="([^"]+)"', page.text)
    assert action is not None, page.text[:500]
    assert xsrf is not None, page.text[:500]
    form = {"xsrf": xsrf[1], "logout": "yes"}
    assert browser.browser.post(unescape(action[1]), data=form).status_code == 200


def test_signing_out_at_the_provider_ends_the_session_here(attacked: Attacked) -> None:
    # Dan is of the local provider, and of no other test here: a session without a `sid` ends with its person.
    with Browser(attacked.service, "dan") as one, Browser(attacked.service, "dan") as other:
        for browser in (one, other):
            browser.sign_in()
            # Signed in, and in none of this installation's groups.
            assert browser.browser.get(f"{attacked.service.url}/", headers=AS_JSON).status_code == 403
        kept = dict(one.browser.cookies)["session"]
        sign_out_at_the_provider(attacked, one)
        assert one.browser.cookies["session"] == kept, "the browser has its cookie still"
        assert one.browser.get(f"{attacked.service.url}/", headers=AS_JSON).status_code == 401
        assert other.browser.get(f"{attacked.service.url}/", headers=AS_JSON).status_code == 403
        one.sign_in()
        assert one.browser.get(f"{attacked.service.url}/", headers=AS_JSON).status_code == 403


def test_an_answer_to_the_provider_is_never_stored(attacked: Attacked) -> None:
    answer = attacked.send("POST", "/backchannel-logout", body="logout_token=x", headers={"Origin": None})
    assert (answer.status, answer.headers["cache-control"]) == (400, "no-store")
    assert answer.document["error"] == "invalid_request"
    assert "signature" in answer.document["error_description"]
