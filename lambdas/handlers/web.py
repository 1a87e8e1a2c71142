"""Read-only pages. This function's role can't write the ledger, so no GET can decide anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from typing import TypeVar

from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response
from botocore.exceptions import BotoCoreError, ClientError

from lambdas.shared import http_app, registry_look, sign_in_renewal
from lambdas.shared.dependencies import (
    client,
    config,
    form_keys,
    keyring,
    ledger,
    links,
    logger,
    now,
    own_image,
    reading_context,
)
from lambdas.shared.evidence import read_samples_and_slices
from lambdas.shared.page_visits import PageVisit, route
from lambdas.shared.variables import variables
from lambdas.shared.version_numbers import version_number
from promotion import names
from promotion.aws.ledger_table.cursors import DynamoCursors
from promotion.aws.ledger_table.differences import DynamoDifferences
from promotion.aws.messages.refused_mail import RefusedMails
from promotion.aws.s3.picture_store import read_picture
from promotion.domain import own_models, policy
from promotion.domain.model import EnvironmentState
from promotion.domain.request_ids import parse_request_id
from promotion.errors import Invalid, LinkInvalid, PromotionError
from promotion.ledger.board_page import BoardPage
from promotion.ledger.events import OpenDifferences, RefusedMail
from promotion.links.session import Session
from promotion.rendering import pages
from promotion.rendering.documents.approval_request import is_followed, refused_addresses, request_document
from promotion.rendering.documents.board import GROUPS_ON_A_PAGE, board_document, next_waiting
from promotion.rendering.documents.board_filter import BoardFilter
from promotion.rendering.documents.overviews import EVENTS_SHOWN, model_document, version_document
from promotion.workflows import decisions

Found = TypeVar("Found")

app = APIGatewayHttpResolver()
http_app.not_found(app)
READ = ("GET", "HEAD")
# The seconds after which a page with a decision that is not applied yet reloads, only in the first minute: the page has no form
# whose input could be lost (https://www.w3.org/TR/WCAG22/#timing-adjustable).
REFRESH_AFTER_S = 2
JUST_DECIDED = timedelta(minutes=1)
# The number of a group's events that are searched for a version's; the page has a link to older ones.
LOOKED_AT = 1000


def handler(event: dict[str, object], context: object) -> dict[str, object]:
    return http_app.serve(app, event, context, "web")


@route(app, "/models", *READ)
@route(app, "/", *READ)
def board(visit: PageVisit) -> Response[str]:
    """GET /: the board with live versions and pending requests."""
    session = visit.reader()
    wanted = BoardFilter.read(app.current_event.query_string_parameters or {}, config())
    unreadable: list[str] = []
    differences = _differences()
    states, page = _read_board(wanted, differences, unreadable)
    for group in dict.fromkeys(unreadable):
        logger.error("states can't be read", extra={"model_package_group": group})
    document = board_document(
        states,
        session.person,
        config(),
        csrf=form_keys().csrf_token(session),
        links=links(),
        now=now(),
        wanted=wanted,
        page=page,
        unreadable=unreadable,
        differences=differences,
        written=_written,
    )
    return visit.page("board", document, session.person)


@route(app, "/approvals/<token>", *READ)
def request(visit: PageVisit, token: str) -> Response[str]:
    """A request with its evidence, and the form to decide for those who may."""
    session = visit.visitor()
    try:
        asked = keyring().request_of(token)
        group, _, name, _ = parse_request_id(asked)
        view = ledger().view(group)
        situation = decisions.situation(view, asked, context=reading_context(), seen=registry_look.glance(asked))
    except (LinkInvalid, Invalid):
        visit.require_reader(session.person)
        return visit.refusal(LinkInvalid(), session.person)
    except PromotionError as error:
        visit.require_reader(session.person)
        return visit.refusal(error, session.person)
    visit.require_reader(session.person, situation.version.package)
    if name not in config().environment_names:
        said = f"{name} has left the configuration; the history of v{situation.request.version} of {group} has the request."
        return _unknown(visit, session, said)
    if policy.may_decide_at_all(session.person, situation) and (again := sign_in_renewal.renewed(visit, session)):
        return again
    live, applied = view.environment(name).live, _applied(group)
    samples, slices = read_samples_and_slices(client("s3"), situation.request.evidence)
    document = request_document(
        situation,
        session.person,
        csrf=form_keys().csrf_token(session),
        links=links(),
        live=view.find_version(live) if live is not None else None,
        applied=applied,
        samples=samples,
        slices=slices,
        picture=None if visit.wants_json else partial(read_picture, client("s3")),
        own_image=own_image(),
    )
    if document["may_decide"] or document["may_reject"] or document["may_ask_again"]:
        document |= _typed_before(visit)
    followed = is_followed(situation, applied, within=JUST_DECIDED)
    if document["yours"] and not followed:
        states = ledger().board.active(config().environment_names, unreadable=[])
        document["next_waiting"] = next_waiting(
            states, session.person, config(), links=links(), now=now(), apart_from=asked
        )
    document["mail_refused"] = refused_addresses(situation, _refused_mail(group), session.person)
    expired = document["state"] == "Expired"
    page = visit.page("request", document, session.person, HTTPStatus.GONE if expired else HTTPStatus.OK)
    if not visit.wants_json and followed:
        page.headers["Refresh"] = str(REFRESH_AFTER_S)
    return page


@route(app, "/models/<group>", *READ)
def model(visit: PageVisit, group: str) -> Response[str]:
    """A model package group: environments, versions, history, and the forms to roll back and revoke."""
    session = visit.reader()
    versions = ledger().versions(group) if names.GROUP_PATTERN.fullmatch(group) else []
    if not versions:
        return _unknown(visit, session, f"This service knows no model package group {group[:64]}.")
    document = model_document(
        group,
        versions,
        ledger().view(group).environments,
        ledger().newest_events(group, most=EVENTS_SHOWN, before=_before()),
        session.person,
        config(),
        csrf=form_keys().csrf_token(session),
        links=links(),
        now=now(),
        differences=_differences().get(group),
        applied=_applied(group),
    )
    if not visit.wants_json:
        document["kept"] = sign_in_renewal.kept_form(visit)
    return visit.page("model", document, session.person)


@route(app, "/models/<group>/versions/<version>", *READ)
def version(visit: PageVisit, group: str, version: str) -> Response[str]:
    """Show one version: its origin, its state in each environment, and its events."""
    session = visit.visitor()
    number = _number(version)
    state = ledger().version(group, number) if number and names.GROUP_PATTERN.fullmatch(group) else None
    visit.require_reader(session.person, state.package if state is not None else None)
    if state is None:
        return _unknown(visit, session, f"This service knows no version {version[:20]} of {group[:64]}.")
    events = ledger().newest_events(group, most=LOOKED_AT, before=_before())
    # A requester without a group may compare with versions of their own.
    may_read = partial(own_models.may_read, session.person, config=config())
    versions = {found.version: found for found in ledger().versions(group) if may_read(found.package)}
    wanted = (app.current_event.query_string_parameters or {}).get("with", "")
    document = version_document(
        state,
        ledger().view(group),
        events,
        session.person,
        config(),
        csrf=form_keys().csrf_token(session),
        links=links(),
        now=now(),
        numbers=list(versions),
        other=versions.get(_number(wanted)),
        own_image=own_image(),
        applied=_applied(group),
    )
    return visit.page("version", document, session.person)


@route(app, "/healthz", *READ)
def health(visit: PageVisit) -> Response[str]:
    """Health check: the function can read its ledger."""
    ledger().head("healthz")
    return http_app.respond(HTTPStatus.OK, http_app.JSON, '{"status": "ok"}')


@app.route("/static/<name>", method=list(READ))
def static(name: str) -> Response[str]:
    """Serve the style sheet, the same one to everybody."""
    if name != "style.css":
        return http_app.respond(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", "There is no such file.")
    headers = {"Cache-Control": "public, max-age=3600"}
    return http_app.respond(HTTPStatus.OK, "text/css; charset=utf-8", pages.stylesheet(), headers=headers)


def _read_board(
    wanted: BoardFilter, differences: Mapping[str, OpenDifferences], unreadable: list[str]
) -> tuple[list[EnvironmentState], BoardPage | None]:
    """Read the states that a board needs: without a filter and by name, those of active groups and of one page of the others.

    A board of active groups reads only those; any other filter or order reads all groups.
    """
    columns, index = config().environment_names, ledger().board
    if wanted.is_of_active:
        also = differences if wanted.show == "trouble" else ()
        return index.active(columns, also=also, unreadable=unreadable), None
    if not wanted.is_by_name:
        return list(index.environments(unreadable)), None
    page = index.page(
        groups=GROUPS_ON_A_PAGE,
        environments=len(columns),
        after=wanted.after,
        before=wanted.before,
        unreadable=unreadable,
    )
    return index.active(columns, unreadable=unreadable), page


def _typed_before(visit: PageVisit) -> dict[str, str]:
    """Return the form's input and the chosen button from before a repeated sign-in."""
    kept = {} if visit.wants_json else sign_in_renewal.kept_form(visit)
    if not kept:
        return {}
    button = {names.APPROVED: "approve", names.REJECTED: "reject"}.get(kept.get("verdict", ""), "ask again")
    said = f"You are signed in again, and nothing was recorded yet. You were about to {button}: press the button once more."
    return {"problem": said, "reason": kept.get("reason", "")}


def _before() -> int:
    """Return the sequence number before which a history is shown, from the address; 0 for the newest."""
    return _number((app.current_event.query_string_parameters or {}).get("before", ""))


def _number(text: str) -> int:
    """Return a number in an address, of a version or an event; 0 if the text is none."""
    try:
        return version_number(text)
    except Invalid:
        return 0


def _without(read: Callable[[], Found], otherwise: Found, what: str) -> Found:
    """Return what `read` returns; `otherwise` if AWS doesn't answer, because pages open without what projections know."""
    try:
        return read()
    except (BotoCoreError, ClientError):
        logger.exception(f"{what} can't be read")
        return otherwise


def _cursors() -> DynamoCursors:
    return DynamoCursors(client("dynamodb"), variables().projections_table)


def _applied(group: str) -> Mapping[str, int] | None:
    """Return each projection target's cursor; None if they can't be read."""
    return _without(lambda: _cursors().read(group), None, "cursors")


def _written(groups: list[str]) -> Mapping[str, int]:
    """Return the cursors of Parameter Store; empty if they can't be read."""
    return _without(lambda: {each: _cursors().read(each).get(names.PARAMETERS, 0) for each in groups}, {}, "cursors")


def _refused_mail(group: str) -> list[RefusedMail]:
    """Return the mail about a group that SES refuses; empty if it can't be read."""
    return _without(
        lambda: RefusedMails(client("dynamodb"), variables().projections_table).read(group), [], "refused mail"
    )


def _differences() -> dict[str, OpenDifferences]:
    """Return the differences of the last verification; empty if they can't be read."""
    return _without(DynamoDifferences(client("dynamodb"), variables().projections_table).open, {}, "differences")


def _unknown(visit: PageVisit, session: Session, text: str) -> Response[str]:
    return visit.message(HTTPStatus.NOT_FOUND, "Not found", text, person=session.person, code="unknown")
