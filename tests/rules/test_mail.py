"""Mail: to the right people, once, with the link first, legible anywhere, and nothing in it that others could make it say."""

from __future__ import annotations

import re
from collections.abc import Callable
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

import pytest
from msgspec.structs import replace

from promotion import names
from promotion.config.settings import Gate
from promotion.domain.model import Metric
from promotion.rendering.mail import Message, compose, mime
from tests.rules import scenarios, snapshots
from tests.rules.markup import Document
from tests.rules.scenario import CONFIG, LINKS, SAMPLES, Scenario, picture, registered

SENDER = "models@example.com"
STORIES: dict[str, Callable[[], Scenario]] = {
    "first": scenarios.first_request,
    "open": scenarios.open_gate,
    "shut": scenarios.shut_gate,
    "approved": scenarios.approved,
    "rejected": scenarios.rejected,
    "undone": scenarios.undone,
    "trouble": scenarios.in_trouble,
    "nothing-known": scenarios.nothing_known,
    "hostile": scenarios.hostile,
}
MAILS: dict[str, Message] = {
    "registration": scenarios.first_request().mails(names.APPROVAL_REQUESTED)[0],
    "metrics-open": scenarios.open_gate().mails(names.APPROVAL_REQUESTED)[-1],
    "metrics-shut": scenarios.shut_gate().mails(names.APPROVAL_REQUESTED)[-2],
    "stopped": scenarios.shut_gate().mails(names.APPROVAL_REQUESTED)[-1],
    "nothing-known": scenarios.nothing_known().mails(names.APPROVAL_REQUESTED)[0],
    "hostile": scenarios.hostile().mails(names.APPROVAL_REQUESTED)[0],
    "promoted": scenarios.approved().mails(names.MODEL_PROMOTED)[-1],
    "rejected": scenarios.rejected().mails(names.DECISION_RECORDED)[0],
    "rolled-back": scenarios.undone().mails(names.MODEL_ROLLED_BACK)[0],
    "revoked": scenarios.undone().mails(names.MODEL_REVOKED)[0],
    "run-failed": scenarios.in_trouble().mails(names.APPROVAL_REQUESTED)[-1],
    "bypassed": scenarios.in_trouble().mails(names.APPROVAL_BYPASSED)[0],
    "drift": scenarios.drifting().mails(names.DRIFT_DETECTED)[0],
    "drift-first": scenarios.in_trouble().mails(names.DRIFT_DETECTED)[0],
    "endpoint": scenarios.in_trouble().mails(names.ENDPOINT_CHANGED)[0],
    "integrity": scenarios.in_trouble().mails(names.INTEGRITY_BROKEN)[0],
}
every_mail = pytest.mark.parametrize("name", MAILS)
every_story = pytest.mark.parametrize("story", STORIES)


def parsed(message: Message) -> EmailMessage:
    found = message_from_bytes(mime(message, SENDER), policy=default)
    assert isinstance(found, EmailMessage)
    return found


def links_in(text: str) -> list[str]:
    return re.findall(r"https?://[^\s\"<>]+", text)


@every_mail
def test_mails_read_as_they_did_when_somebody_looked(name: str) -> None:
    message = MAILS[name]
    people = f"To: {', '.join(message.to)}\nCc: {', '.join(message.cc)}\nSubject: {message.subject}\n\n"
    snapshots.check(f"mails/{name}.txt", people + message.text)
    snapshots.check(f"mails/{name}.html", message.html)


@every_mail
def test_html_is_what_mail_programs_take(name: str) -> None:
    html = MAILS[name].html
    assert len(html.encode()) < 102_000
    document = Document(html)
    for element in document.elements:
        assert element.tag not in ("script", "link", "iframe", "form", "input", "svg", "video", "object", "base")
        assert not [key for key in element.attributes if key.startswith("on")]
    for table in document.all("table"):
        assert table.attributes["role"] == "presentation"
    shown = {image.attributes["src"].removeprefix("cid:") for image in document.all("img")}
    assert shown == {content_id for content_id, *_ in MAILS[name].pictures}
    assert all(image.attributes["alt"] for image in document.all("img"))


@every_mail
def test_nothing_is_fetched_from_anywhere(name: str) -> None:
    assert not re.search(r"(src|background)=\"(?!cid:)|url\(|@import", MAILS[name].html)
    assert all(link.startswith(LINKS.base_url) for link in Document(MAILS[name].html).links)


@every_mail
def test_text_alone_says_what_html_says(name: str) -> None:
    message = MAILS[name]
    document = Document(message.html)
    assert set(document.links) == set(links_in(message.text)) & set(document.links)
    said = " ".join(message.text.split())
    heading = " ".join(document.one("h1").text.split())
    assert heading in said


@every_story
def test_the_link_that_decides_comes_first(story: str) -> None:
    for event in (scenario := STORIES[story]()).events:
        if event.kind != names.APPROVAL_REQUESTED:
            continue
        message = compose(event, view=scenario.view, config=CONFIG, links=LINKS, picture=picture)[0]
        attempt = event.data["attempt"]
        expected = LINKS.approval(f"{event.group}:{event.version}:{event.environment}:{attempt}")
        assert links_in(message.text)[0] == expected
        assert Document(message.html).links[0] == expected


def test_a_request_makes_one_mail_to_all_its_approvers_with_stakeholders_in_copy() -> None:
    [message] = scenarios.open_gate().mails(names.APPROVAL_REQUESTED)[-1:]
    assert message.to == ("ann@example.com", "ben@example.com")
    assert message.cc == ("news@example.com",)
    assert len(scenarios.open_gate().mails(names.APPROVAL_REQUESTED)) == 4


def test_a_stakeholder_who_is_an_approver_gets_it_once() -> None:
    environment = replace(CONFIG.environments[0], stakeholders=("ANN@example.com", "pat@example.com"))
    scenario = Scenario(replace(CONFIG, environments=(environment, *CONFIG.environments[1:])))
    scenario.registers(1)
    assert scenario.mails()[0].cc == ("pat@example.com",)


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("registration", "[dev] news-summariser v1: approve for dev"),
        ("metrics-open", "[test] news-summariser v2: approve for test"),
        ("metrics-shut", "[test] news-summariser v1: quality gate failed (rougeL 0.12, needs at least 0.6)"),
        ("nothing-known", "[dev] news-summariser v1: stopped, nobody knows who registered it"),
        ("promoted", "[test] news-summariser v2: approved, live in test"),
        ("rejected", "[dev] news-summariser v1: rejected by Ann Adler"),
        ("rolled-back", "[test] news-summariser: rolled back to v1 from v2"),
        ("revoked", "[revoked] news-summariser v2: revoked everywhere by Ann Adler"),
        ("bypassed", "[bypassed] news-summariser v1: set to Rejected outside this service"),
        ("drift", "[test] news-summariser v2: drift detected (PSI of length 0.41)"),
        ("endpoint", "[dev] news-summariser v1: endpoint failed"),
        ("integrity", "[dev] news-summariser v1: its bytes are not those that were approved"),
    ],
)
def test_subjects_say_where_what_and_why(name: str, subject: str) -> None:
    assert MAILS[name].subject == subject


def test_a_shut_gate_is_said_with_metric_value_bound_and_consequence() -> None:
    for said in (MAILS["metrics-shut"].text, Document(MAILS["metrics-shut"].html).words):
        flat = " ".join(said.split())
        assert "rougeL is 0.12; it has to be at least 0.6." in flat
        assert "can’t enter test" in flat
        assert "1 of 3 gates failed: you can only reject it." in flat


def test_the_mail_about_passed_gates_compares_with_live_in_its_first_sentence() -> None:
    for said in (MAILS["metrics-open"].text, Document(MAILS["metrics-open"].html).words):
        flat = " ".join(said.split())
        for part in (
            "All 3 gates passed; no clear difference from live v1.",
            "within the noise",
            "Decide by",
        ):
            assert part in flat


def test_without_a_picture_the_metrics_are_drawn_with_interval_margin_and_live_value() -> None:
    scenario = scenarios.open_gate()
    event = [event for event in scenario.events if event.kind == names.APPROVAL_REQUESTED][-1]
    [message] = compose(event, view=scenario.view, config=CONFIG, links=LINKS, picture=lambda address: None)
    for said in (message.text, Document(message.html).words):
        flat = " ".join(said.split())
        for part in ("0.63 – 0.69", "at least 0.6", "margin +0.06", "live v1: 0.64", "within the noise"):
            assert part in flat


def test_a_mail_that_asks_is_half_as_long_as_it_was_and_holds_one_button_and_five_facts() -> None:
    for name in ("registration", "metrics-open", "metrics-shut", "nothing-known", "run-failed"):
        message = MAILS[name]
        page = Document(message.html)
        assert len(re.sub(r"https?://\S+", "", message.text).split()) <= 231
        assert len(page.words.split()) <= 231
        assert len(page.links) == 1
        facts = [row for row in page.all("tr") if len(row.children) == 2 and row.children[0].tag == "td"]
        warnings = [p for p in page.all("p") if p.text.startswith("⚠")]
        assert len([f for f in facts if "muted" in f.children[0].attributes.get("class", "")]) + len(warnings) <= 5


def test_times_are_in_the_zone_of_the_readers_with_utc_beside_it() -> None:
    scenario = scenarios.open_gate()
    scenario.config = replace(CONFIG, mail=replace(CONFIG.mail, time_zone="Asia/Tokyo"))
    told = scenario.mails(names.APPROVAL_REQUESTED)[-1]
    assert "Decide by: Thu 26 Nov 2026, 20:40 JST (11:40 UTC), in 3 days" in told.text.replace("\n", " ")


def test_pictures_come_inline_with_the_numbers_in_words() -> None:
    message = MAILS["metrics-open"]
    parts = {part.get("Content-ID"): part for part in parsed(message).walk() if part.get_content_type() == "image/png"}
    assert len(parts) == 1
    assert all(part.get_content_disposition() == "inline" for part in parts.values())
    alternatives = [image.attributes["alt"] for image in Document(message.html).all("img")]
    assert alternatives[0].startswith("Metrics against gates and the live version: rougeL 0.66, live 0.64, passed;")


@pytest.mark.parametrize("data", [None, b"GIF89a", b"\x89PNG\r\n\x1a\n" + b"0" * (1 << 21)])
def test_a_picture_that_is_lost_foreign_or_huge_holds_no_mail_up(data: bytes | None) -> None:
    scenario = scenarios.open_gate()
    event = [event for event in scenario.events if event.kind == names.APPROVAL_REQUESTED][-1]
    [message] = compose(event, view=scenario.view, config=CONFIG, links=LINKS, picture=lambda address: data)
    assert message.pictures == ()
    assert "metrics.png could not be read" in Document(message.html).words


def test_pictures_are_fetched_from_beside_the_metrics() -> None:
    scenario, asked = scenarios.open_gate(), list[str]()
    event = [event for event in scenario.events if event.kind == names.APPROVAL_REQUESTED][-1]
    compose(event, view=scenario.view, config=CONFIG, links=LINKS, picture=lambda address: asked.append(address))
    assert asked[0] == "s3://promotion-evidence/news/dev/run-1/score/metrics.png"


def test_a_mail_is_text_then_html_from_the_service_and_answers_nobody() -> None:
    mail = parsed(MAILS["metrics-open"])
    assert mail["From"] == "Model promotion <models@example.com>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "multipart/related"]
    plain = mail.get_body(("plain",))
    assert plain is not None
    assert plain.get_content().splitlines() == MAILS["metrics-open"].text.splitlines()


def test_answers_go_to_the_configured_address() -> None:
    raw = mime(MAILS["rejected"], SENDER, reply_to="ml-team@example.com")
    assert message_from_bytes(raw, policy=default)["Reply-To"] == "ml-team@example.com"


def test_mails_of_one_version_stand_in_one_thread_and_those_of_another_do_not() -> None:
    scenario = scenarios.undone()
    threads: dict[int, set[str]] = {}
    for event in scenario.events:
        for message in compose(event, view=scenario.view, config=CONFIG, links=LINKS, picture=picture):
            assert event.version is not None
            threads.setdefault(event.version, set()).add(parsed(message)["References"])
    assert [len(found) for found in threads.values()] == [1, 1]
    assert threads[1] != threads[2]


@every_story
def test_composing_again_gives_the_same_mail(story: str) -> None:
    scenario = STORIES[story]()
    once, again = scenario.mails(), scenario.mails()
    assert once
    assert [mime(message, SENDER) for message in once] == [mime(message, SENDER) for message in again]


def test_samples_are_in_mail_only_where_the_configuration_lets_them() -> None:
    scenario = scenarios.open_gate()
    assert "Rates rose." not in scenario.mails(names.APPROVAL_REQUESTED, samples=lambda uri: SAMPLES)[-1].text
    scenario.config = replace(CONFIG, mail=replace(CONFIG.mail, samples_in_mail=True))
    told = scenario.mails(names.APPROVAL_REQUESTED, samples=lambda uri: SAMPLES)[-1]
    assert "Rates rose." in told.text
    assert told.text.index("פגישת שרים") < told.text.index("Rates rose."), "the worst first"


def test_an_environment_that_left_the_configuration_has_nobody_to_write_to() -> None:
    scenario = scenarios.first_request()
    scenario.config = replace(CONFIG, environments=CONFIG.environments[1:])
    assert scenario.mails() == []


def test_a_thousand_metrics_and_the_longest_texts_stay_under_what_mail_programs_clip() -> None:
    metrics = {f"metric-{n}-{'<é>' * 400}": Metric(value=n / 1000, low=0.0, high=1.0, n=n) for n in range(1000)}
    gates = tuple(Gate(metric=name, min=0.9) for name in list(metrics)[:40])
    environment = replace(CONFIG.environments[0], gates=gates)
    scenario = Scenario(replace(CONFIG, environments=(environment, *CONFIG.environments[1:])))
    scenario.registers(1, description=scenarios.HOSTILE, evidence=registered(0.5, metrics=metrics))
    message, own = scenario.mails(names.APPROVAL_REQUESTED)
    assert len(own.html.encode()) < 102_000
    assert len(message.html.encode()) < 102_000
    assert "more metrics on the page" in message.text
    assert len(message.subject) <= 160
