"""Shared by the functions whose pages have forms: read permission, and CSRF checks. `sign_in` has no form keys."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from http import HTTPStatus
from urllib.parse import quote

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response

from lambdas.shared import http_app
from lambdas.shared.dependencies import config, form_keys
from lambdas.shared.http_app import Answered, Route, Visit, redirect
from lambdas.shared.sign_in_paths import login
from promotion.domain import own_models, policy
from promotion.domain.model import Package
from promotion.domain.people import Person
from promotion.formatting import counted, listed, one_line
from promotion.links.session import Session


class PageVisit(Visit):
    """A request for a page for signed-in people, whose forms have a CSRF token."""

    def visitor(self) -> Session:
        """Return the session of any signed-in person; other visitors are redirected to sign in."""
        session = self.session()
        if session is None:
            raise Answered(self._signed_out())
        self.csrf = form_keys().csrf_token(session)
        return session

    def reader(self) -> Session:
        """Return the session of a person who may read everything; 403 for others."""
        session = self.visitor()
        self.require_reader(session.person)
        return session

    def require_reader(self, person: Person, package: Package | None = None) -> None:
        """Refuse with 403 those who may read neither everything nor, as its requester, the version `package`."""
        if policy.may_read(person, config()) or (package is not None and own_models.is_requester(person, package)):
            return
        raise Answered(self._not_a_reader(person))

    def _not_a_reader(self, person: Person) -> Response[str]:
        """Explain a refusal: the person's identity and groups, whom to contact, and what to check."""
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
        sign_in = login(self.page_of_the_form())
        if self.method in ("GET", "HEAD") and not self.wants_json:
            return redirect(sign_in, HTTPStatus.FOUND)
        # Parse the form only to keep the typed reason; ignore other errors here.
        with contextlib.suppress(Answered):
            self.form()
        return self.message(
            HTTPStatus.UNAUTHORIZED, "Signed out", "Sign in to go on; nothing was changed.",
            link=(sign_in, "Sign in"), code="signed_out",
        )  # fmt: skip

    def check_origin(self, session: Session, form: Mapping[str, str]) -> None:
        """Refuse with 403 unless the form came from our own page in this session.

        A browser sends the origin of every POST. This service's own pages, which have `no-referrer`, send `null`
        (https://fetch.spec.whatwg.org/#append-a-request-origin-header): then Sec-Fetch-Site, which no page can set, must
        show that the page is this service's. Other clients may omit both, and need the CSRF token.
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
    """Register a handler that takes a `PageVisit`, then the path's parameters; its refusals become responses."""
    return http_app.route(app, rule, *methods, visit=PageVisit)
