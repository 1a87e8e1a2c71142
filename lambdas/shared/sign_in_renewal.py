"""A fresh sign-in for a decision, and the form that waits meanwhile: of the functions that show requests and decide."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.shared.cookies import Cookie

from lambdas.shared import http_app
from lambdas.shared.dependencies import form_keys, keyring, now
from lambdas.shared.http_app import Visit
from lambdas.shared.sign_in_paths import decision_at, digest, login
from promotion.domain import freshness
from promotion.links.sessions import Session
from promotion.links.tokens import LONGEST_KEPT

FORM_KEPT = timedelta(minutes=30)
JUST_RENEWED = timedelta(minutes=1)


def too_old(session: Session, path: str) -> str:
    """Why the person of a session has to sign in again before they decide at `path`; empty where they need not."""
    return freshness.too_old(
        session.person.authentication,
        decision_at(path, keyring().request_of),
        now=now(),
        made_at=session.made_at,
        made_for_this=session.made_for == digest(path),
    )


def renewed(visit: Visit, session: Session) -> Response[Any] | None:
    """A redirect that renews a sign-in before somebody reads what they may decide on; None where nothing is to renew.

    Not twice in a row: a provider that can't bring what is asked for would be a circle.
    """
    if visit.wants_json or visit.method != "GET" or not too_old(session, visit.path):
        return None
    if session.made_for == digest(visit.path) and session.made_at and now() - session.made_at < JUST_RENEWED:
        return None
    return http_app.redirect(login(visit.path, renew=True), HTTPStatus.FOUND)


def late(visit: Visit, session: Session, form: Mapping[str, str]) -> Response[Any] | None:
    """The answer to a decision whose sign-in is too old: 401, with a link to sign in and the form kept; None where it isn't."""
    why = too_old(session, visit.path)
    if not why:
        return None
    answer = visit.message(
        HTTPStatus.UNAUTHORIZED,
        "Sign in once more",
        f"{why} Nothing was recorded yet: sign in again, and your form comes back filled in.",
        person=session.person,
        link=(login(visit.path, renew=True), "Sign in again"),
        code="sign_in_again",
    )
    fields = {name: form[name] for name in ("verdict", "reason", "break_glass") if name in form}
    value = form_keys().kept_form({**fields, "path": visit.path}, now() + FORM_KEPT)
    if len(value) <= LONGEST_KEPT:
        answer.cookies = [http_app.cookie(form_cookie_name(), value, int(FORM_KEPT.total_seconds()))]
    return answer


def kept_form(visit: Visit) -> dict[str, str]:
    """The form that waited for its person to sign in again, where it belongs to this page."""
    fields = form_keys().form_kept(visit.cookies.get(form_cookie_name(), ""), now=now())
    return fields if fields.get("path") == visit.path else {}


def form_done(visit: Visit) -> list[Cookie]:
    """The expired cookie of a form that has been recorded."""
    return [http_app.expired_cookie(form_cookie_name())] if form_cookie_name() in visit.cookies else []


def form_cookie_name() -> str:
    return "__Host-form" if http_app.is_secure() else "form"
