"""Pages: they offer what the rules take, hold what they show, and work for everybody without a script."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise

import msgspec
import pytest

from promotion import names
from promotion.config.settings import FreezeWindow
from promotion.domain import policy
from promotion.domain.model import EnvironmentState
from promotion.domain.people import Person
from promotion.domain.policy import may_ask_again
from promotion.formatting import ago, moment
from promotion.rendering.documents.approval_request import FOLLOWED_FOR
from promotion.workflows import decisions
from tests.rules import scenarios, snapshots
from tests.rules.markup import Document
from tests.rules.scenario import ANN, AUD, BEGINNING, CHO, GIL, LINKS, Scenario, measured, page, picture

PAGES = scenarios.pages()
READ = {name: Document(html) for name, html in PAGES.items()}
every_page = pytest.mark.parametrize("name", PAGES)
STORIES: dict[str, tuple[Callable[[], Scenario], str, int]] = {
    "first": (scenarios.first_request, "dev", 1),
    "open": (scenarios.open_gate, "test", 2),
    "shut": (scenarios.shut_gate, "test", 1),
    "quorum": (scenarios.quorum, "prod", 1),
    "rejected": (scenarios.rejected, "dev", 1),
    "expired": (scenarios.expired, "dev", 1),
    "approved": (scenarios.approved, "test", 2),
    "undone": (scenarios.undone, "test", 2),
    "nothing known": (scenarios.nothing_known, "dev", 1),
}
REQUESTER = Person(subject="dee@example.com", name="Dee", email="dee@example.com", groups=frozenset({"ml-dev"}))


# Pages of which the snapshot is the difference from another: the same story, or the same page as another person sees it.
ALIKE = {
    "request-auditor": "request-open",
    "request-refused": "request-shut",
    "request-glass": "request-shut",
    "request-voted": "request-quorum",
    "request-applied": "request-applying",
    "request-expired": "request-first",
    "request-rejected": "request-first",
    "version-compared": "version",
    "version-revoked": "version",
    "version-applying": "version",
    "model-applying": "model",
}


def content(name: str) -> str:
    """The title and what is between header and footer, which only the board's snapshot has."""
    found = re.search(r"(<title>.*?</title>\n).*?(<main.*</main>\n)", PAGES[name], re.DOTALL)
    assert found
    return PAGES[name] if name == "board" else found[1] + found[2]


@every_page
def test_pages_look_as_they_did_when_somebody_looked(name: str) -> None:
    if name in ALIKE:
        snapshots.check(f"pages/{name}.diff", snapshots.difference(content(ALIKE[name]), content(name)))
    else:
        snapshots.check(f"pages/{name}.html", content(name))


@every_page
def test_no_page_has_a_script_or_a_style_of_its_own(name: str) -> None:
    for element in READ[name].elements:
        assert element.tag not in ("script", "style", "iframe", "object", "base")
        assert not [key for key in element.attributes if key == "style" or key.startswith("on")]


@every_page
def test_nothing_on_a_page_comes_from_or_goes_to_another_site(name: str) -> None:
    for element in READ[name].elements:
        for key in ("href", "src", "action", "formaction", "poster"):
            address = element.attributes.get(key, "/")
            if element.tag == "a" and address.startswith("https://us-east-1.console.aws.amazon.com/cloudwatch/"):
                continue  # the log of a run, for who follows it
            assert re.match(r"(/(?!/)|#|data:image/(svg\+xml,|png;base64,))", address), address


@every_page
def test_other_peoples_text_is_never_markup(name: str) -> None:
    assert "<script" not in PAGES[name]
    assert "\u202e" not in PAGES[name]


@every_page
def test_every_field_has_a_label_and_every_reference_a_target(name: str) -> None:
    document = READ[name]
    labelled = {label.attributes["for"] for label in document.all("label")}
    assert len(document.ids) == len(set(document.ids))
    for field in document.all("input", "select", "textarea"):
        if field.attributes.get("type") != "hidden":
            assert field.attributes["id"] in labelled
    for element in document.elements:
        for key in ("aria-labelledby", "aria-describedby"):
            assert element.attributes.get(key, "main") in document.ids
        if element.attributes.get("href", "").startswith("#"):
            assert element.attributes["href"][1:] in document.ids


@every_page
def test_pages_have_landmarks_and_headings_in_order(name: str) -> None:
    document = READ[name]
    for tag in ("header", "main", "footer", "h1", "title"):
        assert document.one(tag).text.strip()
    levels = [int(heading.tag[1]) for heading in document.all("h1", "h2", "h3", "h4")]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    for header in document.all("th"):
        assert header.attributes["scope"] in ("col", "row")
    for button in document.all("button", "summary", "a"):
        assert button.text.strip() or button.attributes.get("aria-label")


@every_page
def test_every_form_that_changes_something_carries_the_token_of_the_session(name: str) -> None:
    for form in READ[name].all("form"):
        if form.attributes["method"] == "get":
            continue
        held = [element for element in READ[name].elements if form in element.parents]
        named = {element.attributes.get("name", ""): element.attributes for element in held}
        if form.attributes["action"] != "/logout":
            assert named["csrf"]["value"] == "csrf-token"
            assert "required" in named["reason"]
            assert int(named["reason"]["maxlength"]) <= 2000


def verdicts(document: Document) -> set[str]:
    """The verdicts that a page offers without breaking any glass."""
    buttons = [b for b in document.all("button") if b.attributes.get("name") == "verdict" and not b.inside("details")]
    return {button.attributes["value"] for button in buttons}


@pytest.mark.parametrize("person", [ANN, CHO, AUD, GIL, REQUESTER], ids=lambda person: person.subject)
@pytest.mark.parametrize("story", STORIES)
def test_a_page_offers_exactly_what_the_post_would_take(story: str, person: Person) -> None:
    begin, environment, version = STORIES[story]
    scenario = begin()
    document = scenario.request(environment, version, person)
    situation = decisions.situation(scenario.view, document["request_id"], context=scenario.context)
    allowed = {verdict for verdict in names.VERDICTS if policy.may_decide(person, verdict, situation).may}
    read = Document(page("request", document, person))
    assert verdicts(read) == allowed
    assert document["may_decide"] == (names.APPROVED in allowed)
    asks_again = [form for form in read.all("form") if form.attributes["action"].endswith("/again")]
    assert bool(asks_again) == may_ask_again(person, situation).may
    if document["state"] == "Pending" and not document["may_decide"]:
        assert document["why_not"] in read.words


def test_a_shut_gate_is_named_with_its_value_and_its_bound() -> None:
    words = READ["request-shut"].words
    assert "rougeL is 0.12; it has to be at least 0.6." in words
    assert "Approving is refused" in words


def test_a_difference_within_the_noise_is_called_that() -> None:
    assert "No clear difference from live v1" in READ["request-open"].words
    assert "within the noise" in READ["request-open"].words


def test_an_auditor_is_told_who_may() -> None:
    words = READ["request-auditor"].words
    assert "You can’t decide this" in words
    assert "ML approvers, test" in words


def test_only_breaking_the_glass_is_offered_to_whoever_is_on_call() -> None:
    document = READ["request-glass"]
    assert verdicts(document) == set()
    fields = [element.attributes for element in document.all("input") if element.inside("details")]
    assert {"type": "hidden", "name": "break_glass", "value": "yes"} in fields


def test_a_page_says_how_far_a_decision_has_come_and_lets_its_reader_look_again() -> None:
    applying = READ["request-applying"]
    assert "Parameter Store: waiting" in applying.words
    assert [link for link in applying.all("a") if link.text == "Look again"]
    assert "Look again" not in READ["request-applied"].words
    scenario = scenarios.approved()
    assert scenario.request("test", 2, applied={**scenarios.APPLIED, "mail": 0})["following"] is False, (
        "mail keeps nobody"
    )
    scenario.now += FOLLOWED_FOR
    late = Document(page("request", scenario.request("test", 2, applied={**scenarios.APPLIED, "parameters": 0})))
    assert "longer than it should" in late.words


def test_no_page_moves_under_who_reads_it() -> None:
    # https://www.w3.org/TR/WCAG22/#timing-adjustable
    for document in READ.values():
        assert not [meta for meta in document.all("meta") if meta.attributes.get("http-equiv") == "refresh"]


def test_the_page_shows_what_the_run_drew_and_json_does_not_carry_it() -> None:
    scenario = scenarios.open_gate()
    document = scenario.request("test", 2, picture=picture)
    images = Document(page("request", document)).all("img")
    assert images[0].attributes["src"].startswith("data:image/png;base64,")
    assert images[0].attributes["alt"].startswith("Metrics against gates and the live version: rougeL 0.66")
    assert images[1].attributes["alt"].startswith("Distribution of latency: p50 41.2 ms")
    assert scenario.request("test", 2)["pictures"] == []
    assert scenario.request("test", 2, picture=lambda address: b"<svg>")["pictures"] == [], "only what is a PNG"


def test_a_page_fetches_no_picture_that_it_does_not_show() -> None:
    scenario, asked = scenarios.open_gate(), []

    def watched(address: str) -> bytes | None:
        asked.append(address.rpartition("/")[2])
        return picture(address)

    scenario.runs("dev", 2, measured(0.66, run_id="four", pictures=tuple(f"{name}.png" for name in "abcd")))
    document = scenario.request("test", 2, picture=watched)
    assert (len(document["pictures"]), asked) == (2, ["a.png", "b.png"])


def test_a_refused_post_gets_back_what_was_typed() -> None:
    document = READ["request-refused"]
    assert document.one("textarea").text == "<typed>"
    assert "say why, in a sentence" in document.words


def test_an_overtaken_link_leads_to_the_newer_request() -> None:
    scenario = scenarios.rejected()
    scenario.later(hours=1)
    asked = "news-summariser:1:dev:1"
    decisions.ask_again(asked, ANN, "It no longer repeats itself.", context=scenario.context)
    situation = decisions.situation(scenario.view, asked, context=scenario.context)
    assert not situation.newest
    document = scenario.request("dev", 1)
    assert document["request_id"] == "news-summariser:1:dev:2"
    assert document["may_decide"]
    assert "It no longer repeats itself." in Document(page("request", document)).words


def test_a_superseded_request_leads_to_the_version_that_took_its_place() -> None:
    scenario = scenarios.first_request()
    scenario.registers(2)
    document = scenario.request("dev", 1)
    assert document["state"] == "Superseded"
    assert document["links"]["newest"] == LINKS.approval("news-summariser:2:dev:1")
    assert "Go to the newer request" in Document(page("request", document)).words


def test_missing_values_are_shown_as_missing() -> None:
    words = READ["request-nothing-known"].words
    for said in (
        "No metrics were registered",
        "Registered by: unknown",
        "Nobody knows who",
    ):
        assert said in words


def test_a_description_of_100_kb_is_cut_with_a_notice() -> None:
    assert len(PAGES["request-hostile"]) < 60_000
    assert re.search(r"98,\d{3} more characters", READ["request-hostile"].words)


def test_a_board_shows_first_what_waits_for_the_person_signed_in() -> None:
    scenario = scenarios.open_gate()
    assert [ask["environment"] for ask in scenario.board()["waiting"]] == ["test"]
    assert scenario.board(AUD)["waiting"] == []
    scenario.later(days=30)
    assert scenario.board()["waiting"] == [], "an expired request waits for nobody"


def test_a_board_asks_nobody_about_their_own_model_or_twice() -> None:
    scenario = scenarios.first_request()
    assert scenario.board(ANN)["waiting"]
    assert scenario.board(REQUESTER)["waiting"] == [], "somebody else has to approve it"
    scenario = scenarios.quorum()
    assert [ask["environment"] for ask in scenario.board(CHO)["waiting"]] == ["prod"]
    assert scenario.board(ANN)["waiting"] == [], "they have voted"


def test_a_board_says_what_stops_everybody() -> None:
    def said(scenario: Scenario) -> str:
        return Document(page("board", scenario.board(ANN))).words

    assert "gates passed" in said(scenarios.open_gate())
    assert "gate failed" in said(scenarios.shut_gate())
    assert "no gates · requested" in said(scenarios.first_request())
    assert "stopped, nobody knows who registered it" in said(scenarios.nothing_known())
    scenario = scenarios.first_request()
    window = FreezeWindow(start=scenario.now - timedelta(hours=1), end=scenario.now + timedelta(hours=1))
    scenario.config = msgspec.structs.replace(scenario.config, freeze=(window,))
    assert "frozen until 2026-11-20 12:00 UTC" in said(scenario)


def test_a_board_says_what_is_wrong_and_since_when_to_those_who_may_roll_back() -> None:
    scenario = scenarios.in_trouble()
    scenario.later(hours=2)
    shown = scenario.board(ANN)
    (cell,) = shown["attention"]
    assert cell["drifting"] == ["inference runs"]
    assert cell["retraining"].endswith("/execution/abc123def456")
    words = Document(page("board", shown)).words
    for said in (
        f"broken since {moment(cell['broken_since'])}",
        "pipelines refuse it. Roll back or revoke it.",
        f"drift {ago(cell['drift_since'], scenario.now)}",
    ):
        assert said in words
    assert "In trouble" not in Document(page("board", scenario.board(AUD), AUD)).words, (
        "an auditor can do nothing about it"
    )
    assert Document(page("board", scenario.board(AUD), AUD)).words.count("broken") == 1, "and sees it all the same"


def test_a_problem_ends_with_another_live_version_or_a_good_run() -> None:
    scenario = scenarios.in_trouble()
    scenario.runs("dev", 1, measured(0.65, run_id="whole"))
    (cell,) = scenario.board()["attention"]
    assert cell["broken_since"] is None
    scenario.registers(2)
    scenario.decides("dev", 2)
    (cell,) = scenario.board()["attention"]
    assert [each["word"] for each in cell["troubles"]] == ["endpoint failed"], "the endpoint tells of itself"


def test_a_name_in_a_cell_of_the_board_is_never_markup() -> None:
    hostile = EnvironmentState(group="g", name="dev", live=1, live_since=BEGINNING, live_by=("<img src=x onerror=y>",))
    html = page("board", Scenario().board(ANN, hostile))
    assert "<img" not in html
    assert "&lt;img src=x" in html


def test_an_approver_sees_who_let_it_into_the_environments_before() -> None:
    assert "approved for dev by Ann Adler" in READ["request-open"].words
    scenario = scenarios.open_gate()
    strict = msgspec.structs.replace(scenario.config.environments[1], previous_approver_may_approve=False)
    first, _, *others = scenario.config.environments
    scenario.config = msgspec.structs.replace(scenario.config, environments=(first, strict, *others))
    words = Document(page("request", scenario.request("test", 2))).words
    assert "but not by whoever approved it for dev" in words
    assert "You approved this version for dev; somebody else has to now." in words


def test_a_board_is_filtered_by_part_of_a_name() -> None:
    scenario = scenarios.open_gate()
    other = EnvironmentState(group="fraud-ranker", name="dev")
    assert [row["group"] for row in scenario.board(ANN, other, wanted="FRAUD")["groups"]] == ["fraud-ranker"]
    assert scenario.board(ANN, other, wanted="FRAUD")["groups_total"] == 2


def test_rolling_back_and_revoking_are_offered_to_those_who_may() -> None:
    actions = {form.attributes["action"] for form in READ["model"].all("form")}
    assert "/models/news-summariser/dev/rollback" in actions
    assert "/models/news-summariser/versions/2/revoke" in actions
    assert {form.attributes["action"] for form in READ["model-auditor"].all("form")} == {"/logout"}


def test_a_model_page_says_metrics_over_versions_in_words_too() -> None:
    plots = [element for element in READ["model"].all("svg") if element.attributes.get("role") == "img"]
    assert plots[0].attributes["aria-label"] == "rougeL from 0.64 in version 1 to 0.66 in version 2"


def test_documents_are_plain_data_for_json() -> None:
    scenario = scenarios.open_gate()
    for document in (scenario.request("test", 2), scenario.board(), scenario.model(), scenario.version(2)):
        decoded = msgspec.json.decode(msgspec.json.encode(document))
        assert decoded == document


def test_times_far_apart_read_right() -> None:
    scenario = scenarios.first_request()
    scenario.now += timedelta(days=400)
    assert "requested 57 weeks ago" in Document(page("request", scenario.request("dev", 1))).words


def test_the_pages_say_beforehand_what_a_revocation_does() -> None:
    scenario = scenarios.open_gate()
    said = scenario.version(2)["falls_back"]
    assert said == {"dev": 1}
    assert [row["falls_back"] for row in scenario.model()["versions"]] == [{"dev": 1}, {"test": None}]
    scenario.revokes(2)
    assert scenario.events[-1].data["falls_back"] == said
