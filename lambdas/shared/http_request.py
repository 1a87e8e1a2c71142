"""HTTP request and response of the functions behind the API, with checks in the order in which they may refuse.

The order: Host, session, token, body, Origin and CSRF, state, policy and gates. This module has no code for sessions.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, urlsplit

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from aws_lambda_powertools.shared.cookies import Cookie

from lambdas.shared.dependencies import config, count, logger
from lambdas.shared.variables import variables
from promotion import names
from promotion.domain.people import Person
from promotion.errors import AlreadyDecided, Conflict, Invalid, LinkInvalid, NotApproved, ProviderUnavailable, Refused

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

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
    """The request is answered before its handler runs."""

    def __init__(self, response: Response[str]) -> None:
        super().__init__(response.status_code)
        self.response = response


class HttpRequest:
    """One HTTP request, read from an API Gateway event of payload format 2.0.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
    """

    def __init__(self, event: Mapping[str, Any], *, largest_body: int = LARGEST_BODY_BYTES) -> None:
        self._event = event
        self._largest_body = largest_body
        self.headers = {key.lower(): value for key, value in (event.get("headers") or {}).items()}
        self.method: str = event["requestContext"]["http"]["method"]
        self.path: str = event["rawPath"]
        # The format is in the query too, because a link to a page's JSON can't send a header.
        asked = (event.get("queryStringParameters") or {}).get("format") == "json"
        self.wants_json = asked or _prefers_json(self.headers.get("accept", ""))
        self.csrf = ""
        self.typed = ""
        self.cookies = dict((part.split("=", 1) if "=" in part else (part, "")) for part in event.get("cookies") or ())

    def check_host(self) -> None:
        """Refuse with 400 unless the request was made to our own address, from which links in responses are made."""
        if self.headers.get("host", "").lower() != urlsplit(variables().public_url).netloc.lower():
            text = "This service has another address."
            raise Answered(self.message(HTTPStatus.BAD_REQUEST, "Unknown host", text, code="unknown_host"))

    def form(self) -> dict[str, str]:
        """Return the fields of the body, a form or a JSON object; 413 if it is too large, 400 if it can't be read."""
        try:
            fields = _fields(self.body().decode("utf-8"), self.headers.get("content-type", ""))
            # A form from another site is not the person's own text, so it is not shown to them.
            self.typed = fields.get("reason", "") if self.comes_from_us() else ""
            return fields
        except (binascii.Error, UnicodeError, ValueError, RecursionError):
            reason = "The body is no form and no JSON object in UTF-8."
            raise Answered(self.message(HTTPStatus.BAD_REQUEST, "Not understood", reason, code="body")) from None
        except Invalid as error:
            raise Answered(self.message(HTTPStatus.BAD_REQUEST, "Not understood", str(error), code="body")) from None

    def body(self) -> bytes:
        """Return the raw body; 413 above 64 KB, or above the route's own limit.

        Raises:
            ValueError: its encoding is invalid.
        """
        raw = self._event.get("body") or ""
        if len(raw) > 2 * self._largest_body:
            raise Answered(self._too_large())
        body = base64.b64decode(raw, validate=True) if self._event.get("isBase64Encoded") else raw.encode()
        if len(body) > self._largest_body:
            raise Answered(self._too_large())
        return body

    def _too_large(self) -> Response[str]:
        return self.message(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "Too large",
            f"A body may hold {self._largest_body >> 10} KB.",
            code="too_large",
        )

    def comes_from_us(self) -> bool:
        origin = self.headers.get("origin")
        site = self.headers.get("sec-fetch-site")
        ours = urlsplit(variables().public_url)
        ours_by_name = origin is None or origin.lower() == f"{ours.scheme}://{ours.netloc}".lower()
        ours_by_site = origin == "null" and site == "same-origin"
        return (ours_by_name or ours_by_site) and site in (None, "same-origin", "none")

    def check_sent_by_us(self) -> None:
        """Refuse with 403 unless the browser sent this from one of our own pages: for requests without a form token."""
        if not self.comes_from_us() or not self.headers.keys() & {"origin", "sec-fetch-site"}:
            text = "This did not come from a page of ours; nothing was changed."
            raise Answered(
                self.message(HTTPStatus.FORBIDDEN, "Not accepted", text, link=("/", "To the board"), code="csrf")
            )

    def page(
        self, name: str, document: dict[str, object], person: Person | None, status: int = HTTPStatus.OK
    ) -> Response[str]:
        """Return a document as JSON or as the HTML page `name`, as the client requested."""
        if self.wants_json:
            return respond(status, JSON, json.dumps(document, ensure_ascii=False, default=str))
        # A message shows no times, and must work even if the configuration can't be read.
        zone = config().mail.time_zone if name != "message" else "UTC"
        # A sign-in and a decision are answered with redirects, and their functions need no templates.
        from promotion.rendering import pages

        return respond(status, HTML, pages.render(name, document, person=person, zone=zone))

    def message(
        self,
        status: int,
        title: str,
        text: str,
        *,
        person: Person | None = None,
        link: tuple[str, str] | None = None,
        code: str = "",
        more: Mapping[str, object] | None = None,
    ) -> Response[str]:
        """Return a page, or JSON, with one message."""
        document: dict[str, object] = {"title": title, "message": text, "text": text, **(more or {})}
        if status >= HTTPStatus.BAD_REQUEST:
            document["error"] = code or title
        document["csrf"] = self.csrf if person is not None else ""
        if link:
            document["link"] = {"href": link[0], "label": link[1]}
        if self.typed and not self.wants_json:
            document["reason"] = self.typed
        return self.page("message", document, person, status)

    def refusal(self, error: Exception, person: Person | None, link: tuple[str, str] | None = None) -> Response[str]:
        """Return the response for a refusal by the rules."""
        more = {"why_not": str(error), "who_may": getattr(error, "who_may", "")}
        code = getattr(error, "code", "")
        text = "\n".join(part for part in (str(error), more["who_may"]) if part)

        def say(status: int, title: str, fallback: str = "") -> Response[str]:
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
            case ProviderUnavailable():
                return say(HTTPStatus.SERVICE_UNAVAILABLE, "No answer", "unavailable")
            case Invalid(field="version") | Invalid(field="environment"):
                return say(HTTPStatus.NOT_FOUND, "No such thing", "unknown")
            case _:
                return say(HTTPStatus.BAD_REQUEST, "Not understood", "invalid")


def serve(app: APIGatewayHttpResolver, event: dict[str, Any], context: object, function: str) -> dict[str, object]:
    """Answer an event: HEAD as GET without a body, and every answer with the security headers.

    `function` is the module that answers, as its alarm names it.
    """
    try:
        answer = app.resolve(event, cast("LambdaContext", context))
    except Exception:  # noqa: BLE001 - every trouble has to end in a page
        # The person gets a page and the log has the stack trace. Lambda counts no error, so error responses are counted here.
        logger.exception("broke")
        answer = _broken(event)
    if answer["statusCode"] >= HTTPStatus.INTERNAL_SERVER_ERROR:
        count(names.ERROR_ANSWERS_METRIC, 1, function=function)
    if event["requestContext"]["http"]["method"] == "HEAD":
        answer["body"], answer["isBase64Encoded"] = "", False
    http = event["requestContext"]["http"]
    # The path of an approval contains its token, so only the kind of path is logged.
    logger.info(
        "answered", extra={"method": http["method"], "route": event.get("routeKey"), "status": answer["statusCode"]}
    )
    return answer


def _broken(event: Mapping[str, object]) -> dict[str, object]:
    text = (
        "Something broke on our side. If you were deciding, look at the request again: it says whether it was recorded."
    )
    answer = HttpRequest(event).message(
        HTTPStatus.INTERNAL_SERVER_ERROR, "Something broke", text, link=("/", "To the board"), code="broken"
    )
    headers = {**answer.headers, "Content-Type": answer.content_type}
    return {"statusCode": answer.status_code, "headers": headers, "body": answer.body, "isBase64Encoded": False}


def not_found(app: APIGatewayHttpResolver) -> None:
    """Answer addresses without a handler: with a page like any other."""

    @app.not_found
    def unknown(_: Exception) -> Response[str]:
        visit = HttpRequest(app.current_event.raw_event)
        text = "There is nothing at this address."
        return visit.message(HTTPStatus.NOT_FOUND, "Not found", text, link=("/", "To the board"), code="unknown")


def respond(
    status: int,
    content_type: str,
    body: str,
    *,
    headers: Mapping[str, str] | None = None,
    cookies: list[Cookie] | None = None,
) -> Response[str]:
    return Response(
        status_code=int(status),
        content_type=content_type,
        body=body,
        headers={**SECURITY_HEADERS, **(headers or {})},
        cookies=cookies or [],
    )


def redirect(to: str, status: int = HTTPStatus.SEE_OTHER, *, cookies: list[Cookie] | None = None) -> Response[str]:
    return respond(status, "text/plain; charset=utf-8", "", headers={"Location": to}, cookies=cookies)


def _prefers_json(accept: str) -> bool:
    kinds = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    return JSON in kinds and ("text/html" not in kinds or kinds.index(JSON) < kinds.index("text/html"))


def _fields(text: str, content_type: str) -> dict[str, str]:
    """The fields of a form or of a JSON object of strings.

    Raises:
        Invalid: a field occurs twice, or isn't text.
        ValueError: the body can't be decoded.
    """
    fields: dict[str, str] = {}
    if content_type.partition(";")[0].strip().lower() == JSON:
        # As pairs, so that a repeated name is detected.
        document = json.loads(text, object_pairs_hook=tuple)
        if not isinstance(document, tuple):
            raise ValueError("not an object")
        pairs = list(document)
    else:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=32, errors="strict")
    for name, value in pairs:
        if name in fields:
            raise Invalid(name, "this field is there twice.")
        if not isinstance(value, str | int) or isinstance(value, bool):
            raise Invalid(name, "this field has to be text.")
        fields[name] = str(value)
        # JSON can contain a lone surrogate, which UTF-8 can't encode: refused here rather than when it is written.
        fields[name].encode("utf-8")
    return fields
