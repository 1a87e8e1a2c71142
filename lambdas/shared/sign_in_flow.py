"""Sign-in over HTTP, with several concurrent sign-ins. Used only by `sign_in`; web and decide use sign_in_renewal.py."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from http import HTTPStatus

from aws_lambda_powertools.event_handler import Response
from aws_lambda_powertools.shared.cookies import Cookie

from lambdas.shared import http_app
from lambdas.shared.dependencies import config, count, identity, logger, now, session_maker, sign_in_keys
from lambdas.shared.http_app import Visit
from lambdas.shared.sign_in_paths import decision_at, digest, login
from promotion import names
from promotion.config.loading import duration
from promotion.domain import freshness
from promotion.errors import ClientRefused, ProviderUnavailable, SignInFailed
from promotion.formatting import one_line
from promotion.links.session import Session
from promotion.links.tokens import SignIn, claimed_request_of, safe_return

MOST_SIGN_INS = 5
SIGN_IN_COOKIE_S = 600
# A longer session id is dropped, because the cookie has no room. A session without one ends with any session of its person.
LONGEST_SID = 255
BEGIN_AGAIN = "This sign-in was not begun here, or took too long. Begin again."


def begin(visit: Visit, query: Mapping[str, str]) -> Response[str]:
    """Redirect the browser to the provider, and keep the address to return to in a cookie.

    With `renew`, the sign-in is for a decision, and meets the environment's rule for signing in.
    """
    back = safe_return(query.get("return_to"))
    # The parameters to the provider grant nothing: `decide` checks the sign-in against the verified link.
    wanted = freshness.demands(decision_at(back, claimed_request_of)) if query.get("renew") else {}
    try:
        address, sign_in = identity().begin(back, now=now(), state=sign_in_keys().sign_in_state(back), demands=wanted)
    except (ProviderUnavailable, SignInFailed) as error:
        return not_signed_in(visit, error, back)
    by_form = config().identity.response_mode == "form_post"
    remembered = http_app.cookie(
        cookie_name(sign_in.state), sign_in_keys().sign_in_cookie(sign_in), SIGN_IN_COOKIE_S, from_elsewhere=by_form
    )
    return http_app.redirect(address, HTTPStatus.FOUND, cookies=[remembered, *_too_many(visit)])


def finish(visit: Visit, said: Mapping[str, str]) -> Response[str]:
    """Handle the provider's response: a code or an error, with the state from this browser's redirect."""
    state = said.get("state", "")
    name = cookie_name(state)
    sign_in = sign_in_keys().sign_in(visit.cookies.get(name, ""), now=now())
    if sign_in is None or not secrets.compare_digest(state.encode(errors="replace"), sign_in.state.encode()):
        return _begun_elsewhere(visit, state)
    if "code" not in said:
        description = one_line(said.get("error_description") or "", 300)
        reason = " ".join(part for part in (one_line(said.get("error") or "", 80), description) if part)
        failed = SignInFailed(f"The identity provider says: {reason or 'no code came back'}")
        return not_signed_in(visit, failed, sign_in.return_to)
    try:
        session = _session(said["code"], sign_in)
        value = session_maker().cookie(session)
    except (ProviderUnavailable, SignInFailed, ValueError) as error:
        return not_signed_in(visit, error, sign_in.return_to)
    person = session.person
    brought = {"groups": sorted(person.groups), "groups_brought": person.groups_brought}
    logger.info("signed in", extra={"subject": person.subject, **brought})
    lifetime = int(duration(config().identity.session_lifetime).total_seconds())
    cookies = [http_app.cookie(http_app.session_cookie_name(), value, lifetime), http_app.expired_cookie(name)]
    return http_app.redirect(sign_in.return_to, cookies=cookies)


def _session(code: str, sign_in: SignIn) -> Session:
    moment = now()
    provider = identity()
    claims = provider.claims_for(code, sign_in, now=moment)
    sid = claims.get("sid")
    return Session(
        id=secrets.token_urlsafe(18),
        person=provider.person(claims),
        expires_at=moment + duration(config().identity.session_lifetime),
        made_at=moment,
        made_for=digest(sign_in.return_to),
        sid=sid if isinstance(sid, str) and len(sid) <= LONGEST_SID else "",
    )


def _begun_elsewhere(visit: Visit, state: str) -> Response[str]:
    """Handle a sign-in without its cookie: redirect to its page if the person is signed in, else offer a new sign-in."""
    back = sign_in_keys().returns_to(state)
    if back is not None and visit.session() is not None:
        return http_app.redirect(back)
    return not_signed_in(visit, SignInFailed(BEGIN_AGAIN), back or "/")


def not_signed_in(visit: Visit, error: Exception, return_to: str = "/") -> Response[str]:
    """Return a page with the reason, and a link to sign in again for the same page."""
    unavailable = isinstance(error, ProviderUnavailable)
    status = HTTPStatus.SERVICE_UNAVAILABLE if unavailable else HTTPStatus.FORBIDDEN
    logger.warning("sign-in failed", extra={"reason": str(error)})
    if isinstance(error, ProviderUnavailable | ClientRefused):
        count(names.BROKEN_SIGN_INS_METRIC, 1)
    return visit.message(
        status, "Not signed in", str(error), link=(login(return_to), "Try again"), code="sign_in_failed"
    )


def cookie_name(state: str) -> str:
    """Return the cookie name of one sign-in: there are several if several links were opened at the same time."""
    return f"{http_app.sign_in_cookie_name()}-{digest(state)}"


def _too_many(visit: Visit) -> list[Cookie]:
    """Return expired cookies for the oldest sign-ins, so that at most five remain."""
    prefix = f"{http_app.sign_in_cookie_name()}-"
    ages: dict[str, float] = {}
    for name, value in visit.cookies.items():
        if name.startswith(prefix):
            found = sign_in_keys().sign_in(value, now=now())
            ages[name] = found.expires_at.timestamp() if found else 0.0
    oldest = sorted(ages, key=lambda name: ages[name])[: max(0, len(ages) - MOST_SIGN_INS + 1)]
    return [http_app.expired_cookie(name) for name in oldest]
