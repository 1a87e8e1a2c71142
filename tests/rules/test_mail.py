"""Mail: to the right people, once, with the link first, legible anywhere, and nothing in it that others could make it say."""

from __future__ import annotations

import re
from collections.abc import Callable
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from promotion import names
from promotion.config.settings import Gate
from promotion.domain.model import Actor, Metric, Requester
from promotion.formatting import one_line
from promotion.rendering.documents.card import requester_address
from promotion.rendering.mail import Message, compose, mime
from tests.rules import snapshots, stories
from tests.rules.markup import Document
from tests.rules.stage import ANN, CHO, CONFIG, GIL, LINKS, SAMPLES, Stage, measured, package, picture, registered

SENDER = "models@example.com"
STORIES: dict[str, Callable[[], Stage]] = {
    "first": stories.first_request,
    "open": stories.open_gate,
    "shut": stories.shut_gate,
    "approved": stories.approved,
    "rejected": stories.rejected,
    "undone": stories.undone,
    "trouble": stories.in_trouble,
    "nothing-known": stories.nothing_known,
    "hostile": stories.hostile,
}
MAILS: dict[str, Message] = {
    "registration": stories.first_request().mails(names.APPROVAL_REQUESTED)[0],
    "metrics-open": stories.open_gate().mails(names.APPROVAL_REQUESTED)[-1],
    "metrics-shut": stories.shut_gate().mails(names.APPROVAL_REQUESTED)[-1],
    "nothing-known": stories.nothing_known().mails(names.APPROVAL_REQUESTED)[0],
    "hostile": stories.hostile().mails(names.APPROVAL_REQUESTED)[0],
    "promoted": stories.approved().mails(names.MODEL_PROMOTED)[-1],
    "rejected": stories.rejected().mails(names.DECISION_RECORDED)[0],
    "rolled-back": stories.undone().mails(names.MODEL_ROLLED_BACK)[0],
    "revoked": stories.undone().mails(names.MODEL_REVOKED)[0],
    "run-failed": stories.in_trouble().mails(names.APPROVAL_REQUESTED)[-1],
    "bypassed": stories.in_trouble().mails(names.APPROVAL_BYPASSED)[0],
    "drift": stories.drifting().mails(names.DRIFT_DETECTED)[0],
    "drift-first": stories.in_trouble().mails(names.DRIFT_DETECTED)[0],
    "endpoint": stories.in_trouble().mails(names.ENDPOINT_CHANGED)[0],
    "integrity": stories.in_trouble().mails(names.INTEGRITY_BROKEN)[0],
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
    for event in (stage := STORIES[story]()).events:
        if event.kind != names.APPROVAL_REQUESTED:
            continue
        [message] = compose(event, view=stage.view, config=CONFIG, links=LINKS, picture=picture)
        attempt = event.data["attempt"]
        expected = LINKS.approval(f"{event.group}:{event.version}:{event.environment}:{attempt}")
        assert links_in(message.text)[0] == expected
        assert Document(message.html).links[0] == expected


def test_a_request_makes_one_mail_to_all_its_approvers_with_stakeholders_in_copy() -> None:
    [message] = stories.open_gate().mails(names.APPROVAL_REQUESTED)[-1:]
    assert message.to == ("ann@example.com", "ben@example.com")
    assert message.cc == ("news@example.com",)
    assert len(stories.open_gate().mails(names.APPROVAL_REQUESTED)) == 4


def test_a_stakeholder_who_is_an_approver_gets_it_once() -> None:
    environment = replace(CONFIG.environments[0], stakeholders=("ANN@example.com", "pat@example.com"))
    stage = Stage(replace(CONFIG, environments=(environment, *CONFIG.environments[1:])))
    stage.registers(1)
    assert stage.mails()[0].cc == ("pat@example.com",)


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        ("registration", "[dev] news-summariser v1: approve for dev"),
        ("metrics-open", "[test] news-summariser v2: approve for test"),
        ("metrics-shut", "[test] news-summariser v1: stopped by a gate (rougeL 0.12, needs at least 0.6)"),
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


@pytest.mark.parametrize("length", range(40, 110))
def test_a_subject_of_any_length_arrives_as_it_was_written(length: int) -> None:
    plain = f"[test] {'x' * (length - 20)} v1: stopped"
    encoded = f"[test] news v1: {'ab ' * (length // 3)}by 조민서"
    for text in (plain, encoded):
        raw = mime(replace(MAILS["rejected"], subject=text), SENDER)
        found = str(message_from_bytes(raw, policy=default)["Subject"])
        # Where a fold comes before an encoded word, Python writes a second space.
        assert (found if text is plain else found.replace("  ", " ")) == text
        assert b"Subject:\r\n" not in raw


def test_a_shut_gate_is_said_with_metric_value_bound_and_consequence() -> None:
    for said in (MAILS["metrics-shut"].text, Document(MAILS["metrics-shut"].html).words):
        flat = " ".join(said.split())
        assert "rougeL is 0.12; it has to be at least 0.6." in flat
        assert "can’t enter test" in flat
        assert "approving is refused" in flat
        assert "If approved" not in flat


def test_an_open_gate_shows_interval_margin_and_what_is_noise() -> None:
    for said in (MAILS["metrics-open"].text, Document(MAILS["metrics-open"].html).words):
        flat = " ".join(said.split())
        for part in ("0.63 – 0.69", "at least 0.6", "margin +0.06", "live v1: 0.64", "within the noise", "If approved"):
            assert part in flat


def test_pictures_come_inline_with_the_numbers_in_words() -> None:
    message = MAILS["metrics-open"]
    parts = {part.get("Content-ID"): part for part in parsed(message).walk() if part.get_content_type() == "image/png"}
    assert len(parts) == 2
    assert all(part.get_content_disposition() == "inline" for part in parts.values())
    alternatives = [image.attributes["alt"] for image in Document(message.html).all("img")]
    assert alternatives[0].startswith("Metrics against gates and the live version: rougeL 0.66, live 0.64, gate open;")
    assert alternatives[1] == "Distribution of latency: p50 41.2 ms, p95 88 ms and p99 131.5 ms."


@pytest.mark.parametrize("data", [None, b"GIF89a", b"\x89PNG\r\n\x1a\n" + b"0" * (1 << 21)])
def test_a_picture_that_is_lost_foreign_or_huge_holds_no_mail_up(data: bytes | None) -> None:
    stage = stories.open_gate()
    event = [event for event in stage.events if event.kind == names.APPROVAL_REQUESTED][-1]
    [message] = compose(event, view=stage.view, config=CONFIG, links=LINKS, picture=lambda address: data)
    assert message.pictures == ()
    assert "metrics.png could not be read" in Document(message.html).words


def test_pictures_are_fetched_from_beside_the_metrics() -> None:
    stage, asked = stories.open_gate(), list[str]()
    event = [event for event in stage.events if event.kind == names.APPROVAL_REQUESTED][-1]
    compose(event, view=stage.view, config=CONFIG, links=LINKS, picture=lambda address: asked.append(address))
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


def test_mails_of_one_version_stand_in_one_thread_and_those_of_another_do_not() -> None:
    stage = stories.undone()
    threads: dict[int, set[str]] = {}
    for event in stage.events:
        for message in compose(event, view=stage.view, config=CONFIG, links=LINKS, picture=picture):
            assert event.version is not None
            threads.setdefault(event.version, set()).add(parsed(message)["References"])
    assert [len(found) for found in threads.values()] == [1, 1]
    assert threads[1] != threads[2]


@every_story
def test_composing_again_gives_the_same_mail(story: str) -> None:
    stage = STORIES[story]()
    once, again = stage.mails(), stage.mails()
    assert once
    assert [mime(message, SENDER) for message in once] == [mime(message, SENDER) for message in again]


def test_the_requester_hears_of_approval_and_rejection_with_the_reason() -> None:
    assert MAILS["promoted"].to == ("dee@example.com",)
    assert MAILS["rejected"].to == ("dee@example.com",)
    assert "חוזר על עצמו. 总结重复。 🙈" in MAILS["rejected"].text
    assert "Good enough on every slice." in MAILS["promoted"].text


def test_nobody_is_written_to_where_the_requester_has_no_address() -> None:
    stage = Stage()
    stage.registers(1, requester=Requester(actor=Actor(kind="requester", subject="user/dee"), declared_by="identity"))
    stage.decides("dev", 1, "Rejected")
    assert stage.mails(names.DECISION_RECORDED) == []


@pytest.mark.parametrize(
    "subject",
    [
        "dee",
        "arn:aws:iam::123456789012:user/dee",
        "dee@example.com\r\nBcc: eve@example.com",
        "a@b@c",
        "dée@example.com",
        "@x.org",
    ],
)
def test_what_is_no_address_is_not_written_to(subject: str) -> None:
    actor = Actor(kind="requester", subject=subject)
    assert requester_address(package(1, requester=Requester(actor=actor, declared_by="self"))) == ""


def test_an_expiry_goes_to_the_requester_or_else_to_the_approvers() -> None:
    for requester, to in (
        (stories.expired, ("dee@example.com",)),
        (stories.nothing_known, ("ann@example.com", "ben@example.com")),
    ):
        stage = requester()
        stage.later(hours=80)
        stage.keeps_time("dev")
        [message] = stage.mails(names.REQUEST_EXPIRED)
        assert message.to == to
        assert "not a rejection" in message.text


def test_approvers_are_reminded_at_half_time_and_not_of_what_was_decided() -> None:
    stage = Stage()
    stage.registers(1)
    stage.later(hours=40)
    stage.keeps_time("dev")
    [message] = stage.mails(names.APPROVER_REMINDED)
    assert message.to == ("ann@example.com", "ben@example.com")
    assert message.subject == "[dev] news-summariser v1: still waiting, 32 hours left"
    stage.decides("dev", 1)
    assert stage.mails(names.APPROVER_REMINDED) == []


def test_only_somebody_elses_newer_version_is_news_to_a_requester() -> None:
    own, others = stories.first_request(), stories.first_request()
    own.registers(2)
    others.registers(
        2, requester=Requester(actor=Actor(kind="requester", subject="kim@example.com"), declared_by="self")
    )
    assert own.mails(names.REQUEST_SUPERSEDED) == []
    [message] = others.mails(names.REQUEST_SUPERSEDED)
    assert message.to == ("dee@example.com",)
    assert message.subject == "[dev] news-summariser v1: gave way to v2"


def test_a_revocation_reaches_every_approver_of_every_environment() -> None:
    assert MAILS["revoked"].to == ("ann@example.com", "ben@example.com", "cho@example.com", "dan@example.com")


def test_breaking_the_glass_is_told_to_every_approver_of_the_environment() -> None:
    stage = stories.shut_gate()
    stage.decides("test", 1, by=GIL, reason="The old model is down.")
    [message] = stage.mails(names.DECISION_RECORDED)[-1:]
    assert message.to == ("ann@example.com", "ben@example.com")
    assert message.subject == "[test] news-summariser v1: approved by breaking the glass, by Gil on call"
    assert "The old model is down." in message.text


def test_a_vote_short_of_the_quorum_is_no_mail() -> None:
    stage = stories.quorum()
    prod = [event for event in stage.events if event.environment == "prod" and event.kind == names.DECISION_RECORDED]
    assert compose(prod[0], view=stage.view, config=CONFIG, links=LINKS, picture=picture) == []
    stage.decides("prod", 1, by=CHO)
    assert stage.mails(names.MODEL_PROMOTED)[-1].subject == "[prod] news-summariser v1: approved, live in prod"


def test_asking_again_says_what_has_changed() -> None:
    stage = stories.rejected()
    stage.asks_again("dev", 1, ANN, "It no longer repeats itself.")
    assert "It no longer repeats itself." in stage.mails(names.APPROVAL_REQUESTED)[-1].text


def test_samples_are_in_mail_only_where_the_configuration_lets_them() -> None:
    stage = stories.open_gate()
    assert "Rates rose." not in stage.mails(names.APPROVAL_REQUESTED, samples=lambda uri: SAMPLES)[-1].text
    stage.config = replace(CONFIG, mail=replace(CONFIG.mail, samples_in_mail=True))
    told = stage.mails(names.APPROVAL_REQUESTED, samples=lambda uri: SAMPLES)[-1]
    assert "Rates rose." in told.text
    assert told.text.index("פגישת שרים") < told.text.index("Rates rose."), "the worst first"


def test_an_environment_that_left_the_configuration_has_nobody_to_write_to() -> None:
    stage = stories.first_request()
    stage.config = replace(CONFIG, environments=CONFIG.environments[1:])
    assert stage.mails() == []


def test_a_thousand_metrics_and_the_longest_texts_stay_under_what_mail_programs_clip() -> None:
    metrics = {f"metric-{n}-{'<é>' * 400}": Metric(value=n / 1000, low=0.0, high=1.0, n=n) for n in range(1000)}
    gates = tuple(Gate(metric=name, min=0.9) for name in list(metrics)[:40])
    environment = replace(CONFIG.environments[0], gates=gates)
    stage = Stage(replace(CONFIG, environments=(environment, *CONFIG.environments[1:])))
    stage.registers(1, description=stories.HOSTILE, evidence=registered(0.5, metrics=metrics))
    [message] = stage.mails(names.APPROVAL_REQUESTED)
    assert len(message.html.encode()) < 102_000
    assert "more metrics on the page" in message.text
    assert len(message.subject) <= 160


# Header folding, encoded words and line separators are where injections hide.
WILD = st.text(max_size=60) | st.sampled_from(
    ["a\r\nBcc: eve@example.com", "=?utf-8?q?=0ABcc:_eve@example.com?=", "\u2028Bcc: e@x.org"]
)


@given(description=WILD, who=WILD, metric=WILD, reason=st.text(min_size=1, max_size=60))
@example(
    description="a\r\nBcc: eve@example.com", who="x\n\nY", metric="m\r\nTo: eve@example.com", reason="r\n\nBcc: e@x.org"
)
@example(description="", who="", metric="=?utf-8?Q?a=0ABcc:_eve@example.com?=", reason="r")
@example(description="\ud800", who="\u202eevil", metric="𝕄", reason="\u0085")
def test_nobody_can_add_a_header_or_a_recipient(description: str, who: str, metric: str, reason: str) -> None:
    gate = replace(CONFIG.environments[0], gates=(Gate(metric=metric, min=0.6),))
    stage = Stage(replace(CONFIG, environments=(gate, *CONFIG.environments[1:])))
    subject = replace(MAILS["rejected"], subject=f"{metric}{who}{description}", text=reason, pictures=())
    requester = Requester(actor=Actor(kind="requester", subject="dee@example.com", name=who), declared_by="self")
    try:
        stage.registers(1, description=description, requester=requester)
    except (UnicodeEncodeError, ValueError):
        stage = stories.first_request()  # half a surrogate pair never gets into the ledger
    for message in (*stage.mails(), replace(subject, text=one_line(reason))):
        mail = parsed(message)
        assert set(mail.keys()) == {
            "From", "To", "Subject", "Date", "Message-ID", "In-Reply-To", "References", "Auto-Submitted",
            "X-Auto-Response-Suppress", "MIME-Version", "Content-Type", *(["Cc"] if message.cc else []),
        }  # fmt: skip
        assert tuple(address.addr_spec for address in mail["To"].addresses) == message.to
        assert not re.search(r"[\x00-\x1f\x7f\u0085\u2028\u2029]", str(mail["Subject"]))
        assert "eve@example.com" not in str(mail["To"]) + str(mail["Cc"])


@given(value=st.floats(0, 1), n=st.integers(0, 10_000))
def test_any_measurement_makes_a_mail(value: float, n: int) -> None:
    stage = Stage()
    stage.registers(1)
    stage.decides("dev", 1)
    stage.runs(
        "dev",
        1,
        measured(
            0.5, metrics={"rougeL": Metric(value=value, low=value, high=value, n=n), "exact_match": Metric(value=1.0)}
        ),
    )
    message = stage.mails(names.APPROVAL_REQUESTED)[-1]
    assert ("stopped by a gate" in message.subject) == (not value >= 0.6)
