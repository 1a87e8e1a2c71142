"""A fresh sign-in for a decision, during which its form is kept. Used by the functions that show requests and decide."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.shared.cookies import Cookie

from lambdas.shared import http_app
from lambdas.shared.dependencies import form_keys, keyring, now
from lambdas.shared.http_app import Visit
from lambdas.shared.sign_in_paths import decisions_at, digest, login
from promotion.domain import freshness
from promotion.links.session import Session
from promotion.links.tokens import LONGEST_KEPT

FORM_KEPT = timedelta(minutes=30)
JUST_RENEWED = timedelta(minutes=1)
_FIELDS = ("verdict", "reason", "break_glass", "to_version")


def too_old(session: Session, path: str, *, made_for_this: bool) -> str:
    """Return the reason why a person has to sign in again before they decide at `path`; empty if they need not."""
    how = session.person.authentication
    rules = decisions_at(path, keyring().request_of)
    found = (freshness.too_old(how, rule, now=now(), made_for_this=made_for_this) for rule in rules)
    return next((why for why in found if why), "")


def renewed(visit: Visit, session: Session) -> Response[str] | None:
    """Redirect to renew a sign-in before a person reads what they may decide on; None if it needs no renewal.

    A sign-in is not renewed twice in a row, which would loop with a provider that can't fulfil the rule. Nor is it renewed here
    if every decision needs credentials: people would enter them to open the form, and then again to send it.
    """
    if all(freshness.credentials_each_time(rule) for rule in decisions_at(visit.path, keyring().request_of)):
        return None
    made_for_this = _is_made_for(session, visit.path, freshness.ROUND_TRIP)
    if visit.wants_json or visit.method != "GET" or not too_old(session, visit.path, made_for_this=made_for_this):
        return None
    if _is_made_for(session, visit.path, JUST_RENEWED):
        return None
    return http_app.redirect(login(visit.path, renew=True), HTTPStatus.FOUND)


def late(visit: Visit, session: Session, form: Mapping[str, str]) -> Response[str] | None:
    """Refuse a decision whose sign-in is too old: 401, with a sign-in link and the form kept; None if it is recent enough."""
    back = visit.page_of_the_form()
    why = too_old(session, visit.path, made_for_this=_follows_the_form(visit, session, form, back))
    if not why:
        return None
    answer = visit.message(
        HTTPStatus.UNAUTHORIZED,
        "Sign in once more",
        f"{why} Nothing was recorded yet: sign in again, and your form comes back filled in.",
        person=session.person,
        link=(login(back, renew=True), "Sign in again"),
        code="sign_in_again",
    )
    sent = {"path": visit.path, "at": str(int(now().timestamp())), "session": digest(session.id)}
    sent["entered_at"] = str(_entered_at(session))
    fields = {name: form[name] for name in _FIELDS if name in form}
    value = form_keys().kept_form({**fields, **sent}, now() + FORM_KEPT)
    # The longest reason fits; a field that no form of ours sends may not, and browsers refuse such a cookie.
    if len(value) <= LONGEST_KEPT:
        answer.cookies = [http_app.cookie(form_cookie_name(), value, int(FORM_KEPT.total_seconds()))]
    return answer


def _is_made_for(session: Session, page: str, within: timedelta) -> bool:
    """Return True if a session's sign-in is recent and was made for this page."""
    lately = session.made_at is not None and now() - session.made_at <= within
    return session.made_for == digest(page) and lately


def _follows_the_form(visit: Visit, session: Session, form: Mapping[str, str], page: str) -> bool:
    """Return True if this session was made after the same decision was sent from another session."""
    kept = form_keys().form_kept(visit.cookies.get(form_cookie_name(), ""), now=now())
    same = all(kept.get(name, "") == form.get(name, "") for name in _FIELDS if name != "reason")
    if not same or kept.get("path") != visit.path or kept.get("session") == digest(session.id):
        return False
    sent_at = datetime.fromtimestamp(int(kept.get("at", "0")), UTC)
    after = session.made_at is not None and session.made_at >= sent_at
    if not after or not _is_made_for(session, page, freshness.ONCE_MORE):
        return False
    asked = any(rule.reauthenticate for rule in decisions_at(visit.path, keyring().request_of))
    entered = _entered_at(session)
    # Both times come from the provider, which may ignore the demand. A token without a time is reported elsewhere.
    return not asked or not entered or entered > float(kept.get("entered_at", "0"))


def _entered_at(session: Session) -> float:
    """Return when the person entered their credentials, in the provider's seconds; 0 if it doesn't state it."""
    how = session.person.authentication
    return how.auth_time.timestamp() if how is not None and how.auth_time is not None else 0.0


def kept_form(visit: Visit) -> dict[str, str]:
    """Return the form that was kept during the sign-in, if it belongs to this page."""
    fields = form_keys().form_kept(visit.cookies.get(form_cookie_name(), ""), now=now())
    return fields if f"{fields.get('path', '')}/".startswith(f"{visit.path}/") else {}


def form_done(visit: Visit) -> list[Cookie]:
    """Return the expired cookie of a form that has been recorded."""
    return [http_app.expired_cookie(form_cookie_name())] if form_cookie_name() in visit.cookies else []


def form_cookie_name() -> str:
    return "__Host-form" if http_app.is_secure() else "form"
