"""Shared by the functions behind HTTP: sessions, form checks (CSRF), cookies, routes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TypeAlias
from urllib.parse import quote

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.shared.cookies import Cookie, SameSite

from lambdas.shared.dependencies import config, ended_sessions, form_keys, now, sessions, setting
from lambdas.shared.http_request import (
    HTML,
    JSON,
    SECURITY_HEADERS,
    Answered,
    Request,
    not_found,
    redirect,
    respond,
    serve,
)
from promotion import names
from promotion.domain import own_models, policy
from promotion.domain.model import Package
from promotion.domain.people import Person
from promotion.formatting import counted, listed, one_line
from promotion.links.sessions import Session

__all__ = [
    "HTML",
    "JSON",
    "SECURITY_HEADERS",
    "Answered",
    "Request",
    "Visit",
    "cookie",
    "expired_cookie",
    "is_secure",
    "not_found",
    "redirect",
    "respond",
    "route",
    "serve",
    "session_cookie_name",
    "sign_in_cookie_name",
]


# A function that takes a `Visit`, then the path's parameters.
Route: TypeAlias = Callable[..., Response[str]]


class Visit(Request):
    """A request of a person, who has a session or gets none of what needs one."""

    def session(self) -> Session | None:
        """The session in this browser's cookie; None where there is none, or the identity provider has ended it."""
        cookie = self.cookies.get(session_cookie_name(), "")
        session = sessions().session(cookie, now=now(), known=policy.known_groups(config())) if cookie else None
        ended = ended_sessions()
        return None if session is None or (ended is not None and ended.has(session)) else session

    def visitor(self) -> Session:
        """The session of anybody who is signed in; who isn't is asked to sign in."""
        session = self.session()
        if session is None:
            raise Answered(self._signed_out())
        self.csrf = form_keys().csrf_token(session)
        return session

    def reader(self) -> Session:
        """The session of somebody who may read everything: 403 for others."""
        session = self.visitor()
        self.require_reader(session.person)
        return session

    def require_reader(self, person: Person, package: Package | None = None) -> None:
        """403 for those who may read neither everything nor, as its requester, the version `package`."""
        if policy.may_read(person, config()) or (package is not None and own_models.is_requester(person, package)):
            return
        raise Answered(self._not_a_reader(person))

    def _not_a_reader(self, person: Person) -> Response[str]:
        """Explain a refusal: the reader's identity and groups, whom to ask, and what to check if they are wrong."""
        may = policy.readers(config())
        brought = person.groups_brought if person.groups_brought is not None else len(person.groups)
        groups = (
            f"Your sign-in brought {counted(brought, 'group')}, none of which may read here."
            if brought
            else "Your sign-in brought no groups at all: this application's tokens may not carry them."
        )
        wanted = listed(
            [f"{group.label} ({group.id})" if group.name else group.id for group in policy.reading_groups(config())]
        )
        text = (
            f"You are signed in as {one_line(person.email or person.name or person.subject, 120)}. {groups}\n"
            f"Members of {may} may, and a version’s requester may read that version: if you registered this one, sign in with "
            "the address that its requested_by names.\n"
            "Should you be one of them yourself? Ask whoever runs your directory to put you into the group, and sign in again. "
            f"Wanted are, by the ids that a token has to carry: {wanted}."
        )
        title = "This page is for approvers and auditors"
        more = {"who_may": f"Members of {may}."}
        return self.message(HTTPStatus.FORBIDDEN, title, text, person=person, code="not_reader", more=more)

    def _signed_out(self) -> Response[str]:
        sign_in = f"/login?return_to={quote(self.page_of_the_form(), safe='/')}"
        if self.method in ("GET", "HEAD") and not self.wants_json:
            return redirect(sign_in, HTTPStatus.FOUND)
        # Parse the form only to keep the typed reason; ignore other errors here.
        with contextlib.suppress(Answered):
            self.form()
        return self.message(
            HTTPStatus.UNAUTHORIZED, "Signed out", "Sign in to go on; nothing was changed.",
            link=(sign_in, "Sign in"), code="signed_out",
        )  # fmt: skip

    def page_of_the_form(self) -> str:
        """The path itself where it was opened; where a form was sent to it, that of the page which has such a form."""
        if self.method in ("GET", "HEAD"):
            return self.path
        first, name = [*self.path.split("/"), "", ""][1:3]
        return f"/{first}/{name}" if first in ("approvals", "models") else "/"

    def check_origin(self, session: Session, form: Mapping[str, str]) -> None:
        """403 unless the form came from our own page in this very session.

        A browser names the origin of every POST, except that our own pages, which tell nobody where they were, send `null`
        (https://fetch.spec.whatwg.org/#append-a-request-origin-header): then Sec-Fetch-Site, which no page can set, has to say
        that it was one of ours. Other clients may leave both out, and have the CSRF token to show.
        """
        if not self.comes_from_us() or not form_keys().csrf_is_good(session, form.get("csrf", "")):
            raise Answered(
                self.message(
                    HTTPStatus.FORBIDDEN,
                    "Form not accepted",
                    "This form did not come from a page of your present session. Open the page again and decide there; "
                    "nothing was changed.",
                    person=session.person,
                    link=(quote(self.page_of_the_form(), safe="/"), "Open the page again"),
                    code="csrf",
                )
            )


def route(app: APIGatewayHttpResolver, rule: str, *methods: str) -> Callable[[Route], Route]:
    """Register a handler that takes a `Visit`, then the path's parameters; its refusals become answers."""

    def register(handler: Route) -> Route:
        def call(**parameters: str) -> Response[str]:
            visit = Visit(app.current_event.raw_event)
            try:
                visit.check_host()
                return handler(visit, **parameters)
            except Answered as answered:
                return answered.response

        call.__name__ = handler.__name__
        app.route(rule, method=list(methods))(call)
        return handler

    return register


def is_secure() -> bool:
    """Return True if the service is reached over https; plain http is for loopback, without `__Host-` cookies."""
    return setting(names.PUBLIC_URL).startswith("https://")


def session_cookie_name() -> str:
    return "__Host-session" if is_secure() else "session"


def sign_in_cookie_name() -> str:
    return "__Host-sign-in" if is_secure() else "sign-in"


def cookie(name: str, value: str, max_age_s: int, *, from_elsewhere: bool = False) -> Cookie:
    """A cookie that scripts can't read; other sites don't send it with a POST, unless `from_elsewhere`."""
    return Cookie(
        name=name,
        value=value,
        path="/",
        secure=is_secure(),
        http_only=True,
        max_age=max_age_s,
        # Browsers take SameSite=None from https alone; on loopback the provider is the same site.
        same_site=SameSite.NONE_MODE if from_elsewhere and is_secure() else SameSite.LAX_MODE,
    )


def expired_cookie(name: str) -> Cookie:
    from datetime import UTC, datetime

    return Cookie(
        name=name, value="", path="/", secure=is_secure(), http_only=True, same_site=SameSite.LAX_MODE,
        expires=datetime(1970, 1, 1, tzinfo=UTC),
    )  # fmt: skip
