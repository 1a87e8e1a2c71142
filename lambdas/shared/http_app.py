"""Shared by the functions behind HTTP: sessions, cookies, routes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.shared.cookies import Cookie, SameSite

from lambdas.shared.dependencies import config, ended_sessions, now, sessions
from lambdas.shared.http_request import (
    HTML,
    JSON,
    SECURITY_HEADERS,
    Answered,
    HttpRequest,
    not_found,
    redirect,
    respond,
    serve,
)
from lambdas.shared.variables import variables
from promotion.domain import policy
from promotion.links.session import Session

__all__ = [
    "HTML",
    "JSON",
    "SECURITY_HEADERS",
    "Answered",
    "HttpRequest",
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


class Visit(HttpRequest):
    """A person's request, with their session if they have one."""

    def session(self) -> Session | None:
        """Return the session in this browser's cookie; None without one, or if the identity provider has ended it."""
        cookie = self.cookies.get(session_cookie_name(), "")
        session = sessions().session(cookie, now=now(), known=policy.known_groups(config())) if cookie else None
        ended = ended_sessions()
        return None if session is None or (ended is not None and ended.has(session)) else session

    def page_of_the_form(self) -> str:
        """Return the path of the page with the form: the path itself for a GET, the form's page for a POST."""
        if self.method in ("GET", "HEAD"):
            return self.path
        first, name = [*self.path.split("/"), "", ""][1:3]
        return f"/{first}/{name}" if first in ("approvals", "models") else "/"


def route(
    app: APIGatewayHttpResolver, rule: str, *methods: str, visit: type[Visit] = Visit
) -> Callable[[Route], Route]:
    """Register a handler that takes a visit of that type, then the path's parameters; its refusals become responses."""

    def register(handler: Route) -> Route:
        def call(**parameters: str) -> Response[str]:
            asked = visit(app.current_event.raw_event)
            try:
                asked.check_host()
                return handler(asked, **parameters)
            except Answered as answered:
                return answered.response

        call.__name__ = handler.__name__
        app.route(rule, method=list(methods))(call)
        return handler

    return register


def is_secure() -> bool:
    """Return True if the service is reached over https; plain http is for loopback, without `__Host-` cookies."""
    return variables().public_url.startswith("https://")


def session_cookie_name() -> str:
    return "__Host-session" if is_secure() else "session"


def sign_in_cookie_name() -> str:
    return "__Host-sign-in" if is_secure() else "sign-in"


def cookie(name: str, value: str, max_age_s: int, *, from_elsewhere: bool = False) -> Cookie:
    """Return a cookie that scripts can't read; browsers send it with other sites' POSTs only if `from_elsewhere`."""
    return Cookie(
        name=name,
        value=value,
        path="/",
        secure=is_secure(),
        http_only=True,
        max_age=max_age_s,
        # Browsers accept SameSite=None only over https; on loopback the provider is on the same site.
        same_site=SameSite.NONE_MODE if from_elsewhere and is_secure() else SameSite.LAX_MODE,
    )


def expired_cookie(name: str) -> Cookie:
    return Cookie(
        name=name, value="", path="/", secure=is_secure(), http_only=True, same_site=SameSite.LAX_MODE,
        expires=datetime(1970, 1, 1, tzinfo=UTC),
    )  # fmt: skip
