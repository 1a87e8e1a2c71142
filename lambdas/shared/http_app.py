"""What the two HTTP functions share: reading a request in the order in which it may be refused, and answering it.

The order (DESIGN.md): Host, session, token, body, Origin and CSRF, state, policy and gates.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.shared.cookies import Cookie, SameSite

from lambdas.shared.dependencies import config, keyring, logger, now, setting
from promotion import names
from promotion.domain import policy
from promotion.domain.model import Person
from promotion.errors import AlreadyDecided, Conflict, Invalid, LinkInvalid, NotApproved, Refused
from promotion.formatting import counted, listed, one_line
from promotion.links.tokens import Session
from promotion.rendering import pages

LARGEST_BODY_BYTES = 64 << 10
HTML = "text/html; charset=utf-8"
JSON = "application/json"
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Strict-Transport-Security": "max-age=63072000; includeSubDomains",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}


class Answered(Exception):
    """The request has its answer before the handler got to it."""

    def __init__(self, response: Response[Any]) -> None:
        super().__init__(response.status_code)
        self.response = response


class Visit:
    """One HTTP request, read from an API Gateway event of payload format 2.0.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
    """

    def __init__(self, event: Mapping[str, Any]) -> None:
        self._event = event
        self.headers = {key.lower(): value for key, value in (event.get("headers") or {}).items()}
        self.method: str = event["requestContext"]["http"]["method"]
        self.path: str = event["rawPath"]
        self.wants_json = _prefers_json(self.headers.get("accept", ""))
        self.csrf = ""
        self.typed = ""
        self.cookies = dict((part.split("=", 1) if "=" in part else (part, "")) for part in event.get("cookies") or ())

    def check_host(self) -> None:
        """400 unless the request was made to our own address: links in answers are made from it."""
        if self.headers.get("host", "").lower() != urlsplit(setting(names.PUBLIC_URL)).netloc.lower():
            raise Answered(self.message(HTTPStatus.BAD_REQUEST, "Unknown host", "This service has another address."))

    def session(self) -> Session | None:
        cookie = self.cookies.get(session_cookie_name(), "")
        return keyring().session(cookie, now=now(), known=policy.known_groups(config())) if cookie else None

    def reader(self) -> Session:
        """The session of somebody who may read: asked to sign in where there is none, 403 for strangers."""
        session = self.session()
        if session is None:
            raise Answered(self._signed_out())
        self.csrf = keyring().csrf_token(session)
        if not policy.may_read(session.person, config()):
            raise Answered(self._not_a_reader(session.person))
        return session

    def _not_a_reader(self, person: Person) -> Response[Any]:
        """Who somebody is taken for, whom to ask, and what to have looked at where that is wrong."""
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
            f"Members of {may} may. If you registered a model, its mails tell you what was decided and why; one of them can "
            "show you the rest, and ask again for you.\n"
            "Should you be one of them yourself? Ask whoever runs your directory to put you into the group, and sign in again. "
            f"Wanted are, by the ids that a token has to carry: {wanted}."
        )
        title = "This page is for approvers and auditors"
        more = {"who_may": f"Members of {may}."}
        return self.message(HTTPStatus.FORBIDDEN, title, text, person=person, code="not_reader", more=more)

    def _signed_out(self) -> Response[Any]:
        sign_in = f"/login?return_to={quote(self._page_of_the_form(), safe='/')}"
        if self.method in ("GET", "HEAD") and not self.wants_json:
            return redirect(sign_in, HTTPStatus.FOUND)
        # Only for the reason that somebody has typed: whatever else is wrong with the body is no matter yet.
        with contextlib.suppress(Answered):
            self.form()
        return self.message(
            HTTPStatus.UNAUTHORIZED, "Signed out", "Sign in to go on; nothing was changed.",
            link=(sign_in, "Sign in"), code="signed_out",
        )  # fmt: skip

    def _page_of_the_form(self) -> str:
        """The path itself where it was opened; where a form was sent to it, that of the page which has such a form."""
        if self.method in ("GET", "HEAD"):
            return self.path
        first, name = [*self.path.split("/"), "", ""][1:3]
        return f"/{first}/{name}" if first in ("approvals", "models") else "/"

    def form(self) -> dict[str, str]:
        """The fields of the body, a form or a JSON object; 413 above 64 KB, 400 where it can't be read."""
        raw = self._event.get("body") or ""
        if len(raw) > 2 * LARGEST_BODY_BYTES:
            raise Answered(self._too_large())
        try:
            body = base64.b64decode(raw, validate=True) if self._event.get("isBase64Encoded") else raw.encode()
            if len(body) > LARGEST_BODY_BYTES:
                raise Answered(self._too_large())
            fields = _fields(body.decode("utf-8"), self.headers.get("content-type", ""))
            # What another site has somebody post is not theirs, and not shown to them as if it were.
            self.typed = fields.get("reason", "") if self._comes_from_us() else ""
            return fields
        except (binascii.Error, UnicodeError, ValueError, RecursionError):
            reason = "The body is no form and no JSON object in UTF-8."
            raise Answered(self.message(HTTPStatus.BAD_REQUEST, "Not understood", reason, code="body")) from None
        except Invalid as error:
            raise Answered(self.message(HTTPStatus.BAD_REQUEST, "Not understood", str(error), code="body")) from None

    def _too_large(self) -> Response[Any]:
        return self.message(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Too large", "A form may hold 64 KB.", code="too_large"
        )

    def check_origin(self, session: Session, form: Mapping[str, str]) -> None:
        """403 unless the form came from our own page in this very session.

        A browser names the origin of every POST, except that our own pages, which tell nobody where they were, send `null`
        (https://fetch.spec.whatwg.org/#append-a-request-origin-header): then Sec-Fetch-Site, which no page can set, has to say
        that it was one of ours. Other clients may leave both out, and have the CSRF token to show.
        """
        if not self._comes_from_us() or not keyring().csrf_is_good(session, form.get("csrf", "")):
            raise Answered(
                self.message(
                    HTTPStatus.FORBIDDEN,
                    "Form not accepted",
                    "This form did not come from a page of your present session. Open the page again and decide there; "
                    "nothing was changed.",
                    person=session.person,
                    link=(quote(self._page_of_the_form(), safe="/"), "Open the page again"),
                    code="csrf",
                )
            )

    def _comes_from_us(self) -> bool:
        origin = self.headers.get("origin")
        site = self.headers.get("sec-fetch-site")
        ours = urlsplit(setting(names.PUBLIC_URL))
        ours_by_name = origin is None or origin.lower() == f"{ours.scheme}://{ours.netloc}".lower()
        ours_by_site = origin == "null" and site == "same-origin"
        return (ours_by_name or ours_by_site) and site in (None, "same-origin", "none")

    def page(
        self, name: str, document: dict[str, Any], person: Person | None, status: int = HTTPStatus.OK
    ) -> Response[Any]:
        """A document as JSON or as the HTML page `name`, as the client asked."""
        if self.wants_json:
            return respond(status, JSON, json.dumps(document, ensure_ascii=False, default=str))
        return respond(status, HTML, pages.render(name, document, person=person))

    def message(
        self,
        status: int,
        title: str,
        text: str,
        *,
        person: Person | None = None,
        link: tuple[str, str] | None = None,
        code: str = "",
        more: Mapping[str, Any] | None = None,
    ) -> Response[Any]:
        """A page, or JSON, that says one thing."""
        document: dict[str, Any] = {
            "error": code or title,
            "title": title,
            "message": text,
            "text": text,
            **(more or {}),
        }
        document["csrf"] = self.csrf if person is not None else ""
        if link:
            document["link"] = {"href": link[0], "label": link[1]}
        if self.typed and not self.wants_json:
            document["reason"] = self.typed
        return self.page("message", document, person, status)

    def refusal(self, error: Exception, person: Person | None, link: tuple[str, str] | None = None) -> Response[Any]:
        """The answer to what the rules refused."""
        more = {"why_not": str(error), "who_may": getattr(error, "who_may", "")}
        code = getattr(error, "code", "")
        text = "\n".join(part for part in (str(error), more["who_may"]) if part)

        def say(status: int, title: str, fallback: str = "") -> Response[Any]:
            return self.message(status, title, text, person=person, link=link, code=code or fallback, more=more)

        match error:
            case LinkInvalid():
                return say(HTTPStatus.NOT_FOUND, "No such link")
            case AlreadyDecided(code="expired"):
                return say(HTTPStatus.GONE, "Expired")
            case AlreadyDecided():
                return say(HTTPStatus.CONFLICT, "Already decided")
            case Refused(code="unknown_request"):
                return say(HTTPStatus.NOT_FOUND, "No such request")
            case Refused():
                return say(HTTPStatus.FORBIDDEN, "Not allowed")
            case NotApproved():
                return say(HTTPStatus.CONFLICT, "Nothing to go back to", "nothing_there")
            case Conflict():
                return say(HTTPStatus.CONFLICT, "Somebody was faster", "conflict")
            case Invalid(field="version") | Invalid(field="environment"):
                return say(HTTPStatus.NOT_FOUND, "No such thing", "unknown")
            case _:
                return say(HTTPStatus.BAD_REQUEST, "Not understood", "invalid")


def serve(app: APIGatewayHttpResolver, event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer an event: HEAD as GET without a body, and every answer with the security headers."""
    try:
        answer = app.resolve(event, context)
    except Exception:  # noqa: BLE001 - every trouble has to end in a page
        # Whoever waits gets a page; the log has the trace, and the API's 5xx metric the alarm.
        logger.exception("broke")
        answer = _broken(event)
    if event["requestContext"]["http"]["method"] == "HEAD":
        answer["body"], answer["isBase64Encoded"] = "", False
    http = event["requestContext"]["http"]
    # The path of an approval holds its token, so only its kind is logged.
    logger.info(
        "answered", extra={"method": http["method"], "route": event.get("routeKey"), "status": answer["statusCode"]}
    )
    return answer


def _broken(event: Mapping[str, Any]) -> dict[str, Any]:
    text = (
        "Something broke on our side. If you were deciding, look at the request again: it says whether it was recorded."
    )
    answer = Visit(event).message(HTTPStatus.INTERNAL_SERVER_ERROR, "Something broke", text, link=("/", "To the board"))
    headers = {**answer.headers, "Content-Type": answer.content_type}
    return {"statusCode": answer.status_code, "headers": headers, "body": answer.body, "isBase64Encoded": False}


def not_found(app: APIGatewayHttpResolver) -> None:
    """Answer addresses that the API passes on but no handler knows: with a page like any other."""

    @app.not_found
    def unknown(_: Exception) -> Response[Any]:
        visit = Visit(app.current_event.raw_event)
        return visit.message(HTTPStatus.NOT_FOUND, "Not found", "There is nothing at this address.", code="unknown")


def route(app: APIGatewayHttpResolver, rule: str, *methods: str) -> Callable[[Callable[..., Response[Any]]], Any]:
    """Register a handler that takes a `Visit`, then the path's parameters; its refusals become answers."""

    def register(handler: Callable[..., Response[Any]]) -> Any:
        def call(**parameters: str) -> Response[Any]:
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


def respond(
    status: int,
    content_type: str,
    body: str,
    *,
    headers: Mapping[str, str] | None = None,
    cookies: list[Cookie] | None = None,
) -> Response[Any]:
    return Response(
        status_code=int(status),
        content_type=content_type,
        body=body,
        headers={**SECURITY_HEADERS, **(headers or {})},
        cookies=cookies or [],
    )


def redirect(to: str, status: int = HTTPStatus.SEE_OTHER, *, cookies: list[Cookie] | None = None) -> Response[Any]:
    return respond(status, "text/plain; charset=utf-8", "", headers={"Location": to}, cookies=cookies)


def is_secure() -> bool:
    """Whether people reach us over https. Plain http is for loopback only, where no `__Host-` cookie works in every client."""
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


def _prefers_json(accept: str) -> bool:
    kinds = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    return JSON in kinds and ("text/html" not in kinds or kinds.index(JSON) < kinds.index("text/html"))


def _fields(text: str, content_type: str) -> dict[str, str]:
    """The fields of a form or of a JSON object of strings.

    Raises:
        Invalid: a field is there twice, or isn't text.
        ValueError: it can't be read at all.
    """
    fields: dict[str, str] = {}
    if content_type.partition(";")[0].strip().lower() == JSON:
        document = json.loads(text)
        if not isinstance(document, dict):
            raise ValueError("not an object")
        pairs = list(document.items())
    else:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=32, errors="strict")
    for name, value in pairs:
        if name in fields:
            raise Invalid(name, "this field is there twice.")
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise Invalid(name, "this field has to be text.")
        fields[name] = str(value)
        # JSON can say half of a character, which no UTF-8 can: refused here rather than when it is written.
        fields[name].encode("utf-8")
    return fields
