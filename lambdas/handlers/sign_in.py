"""Sign-in and sign-out. Only this function makes sessions; its role can neither read nor write the ledger."""

from __future__ import annotations

from http import HTTPStatus

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response

from lambdas.shared import back_channel, http_app, sign_in_flow
from lambdas.shared.dependencies import config, identity
from lambdas.shared.http_app import Visit
from lambdas.shared.variables import variables
from promotion.errors import SignInFailed

app = APIGatewayHttpResolver()
http_app.not_found(app)
READ = ("GET", "HEAD")


def handler(event: dict[str, object], context: object) -> dict[str, object]:
    return http_app.serve(app, event, context, "sign_in")


@http_app.route(app, "/login", *READ)
def login(visit: Visit) -> Response[str]:
    """Redirect the browser to the identity provider, and keep the address to return to."""
    return sign_in_flow.begin(visit, app.current_event.query_string_parameters or {})


@http_app.route(app, "/callback", *READ)
def callback(visit: Visit) -> Response[str]:
    """Handle the identity provider's redirect, with a code or an error."""
    return sign_in_flow.finish(visit, app.current_event.query_string_parameters or {})


@http_app.route(app, "/callback", "POST")
def callback_by_form(visit: Visit) -> Response[str]:
    """Handle the identity provider's form post. It comes from the provider's page, so no Origin or CSRF token is checked."""
    if config().identity.response_mode != "form_post":
        return sign_in_flow.not_signed_in(
            visit, SignInFailed("The identity provider wasn't asked to answer with a form.")
        )
    return sign_in_flow.finish(visit, visit.form())


@http_app.route(app, "/backchannel-logout", "POST")
def backchannel_logout(visit: Visit) -> Response[str]:
    """End sessions on a request of the identity provider, without a browser: so without session, Origin and CSRF token."""
    return back_channel.end_sessions(visit)


@http_app.route(app, "/logout", "POST")
def logout(visit: Visit) -> Response[str]:
    """End the session in this browser, if there is one: a form of another site is sent without the cookie."""
    visit.check_sent_by_us()
    session = visit.session()
    elsewhere = identity().end_session(f"{variables().public_url}/") if session is not None else ""
    text = "You are signed out here. "
    if elsewhere:
        text += "Your organisation's sign-in goes on until you end it too: until then one click signs you in again."
        link = (elsewhere, "Sign out of your organisation too")
    else:
        text += (
            "Your organisation's sign-in goes on, and can't be ended from here: close the browser on a shared machine."
        )
        link = ("/login", "Sign in")
    answer = visit.message(HTTPStatus.OK, "Signed out", text, link=link)
    answer.cookies = [http_app.expired_cookie(http_app.session_cookie_name())]
    return answer
