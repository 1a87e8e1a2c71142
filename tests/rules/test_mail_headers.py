"""Mail whose header nobody can write to, and any measurement as a mail."""

from __future__ import annotations

import re
from email import message_from_bytes
from email.policy import default

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from promotion import names
from promotion.config.loading import parse
from promotion.config.settings import Gate
from promotion.domain.model import Metric
from promotion.domain.people import Actor, Requester
from promotion.errors import Invalid
from promotion.formatting import one_line
from promotion.rendering.documents.card import requester_address
from promotion.rendering.mail import mime
from tests.fakes import CONFIG_TEXT, a_package
from tests.rules import scenarios
from tests.rules.scenario import CONFIG, Scenario, measured
from tests.rules.test_mail import MAILS, SENDER, parsed


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
    scenario = Scenario(replace(CONFIG, environments=(gate, *CONFIG.environments[1:])))
    subject = replace(MAILS["rejected"], subject=f"{metric}{who}{description}", text=reason, pictures=())
    requester = Requester(actor=Actor(kind="requester", subject="dee@example.com", name=who), declared_by="self")
    try:
        scenario.registers(1, description=description, requester=requester)
    except (UnicodeEncodeError, ValueError):
        scenario = scenarios.first_request()  # half a surrogate pair never gets into the ledger
    for message in (*scenario.mails(), replace(subject, text=one_line(reason))):
        mail = parsed(message)
        assert set(mail.keys()) == {
            "From", "To", "Subject", "Date", "Message-ID", "In-Reply-To", "References", "Auto-Submitted",
            "X-Auto-Response-Suppress", "MIME-Version", "Content-Type", *(["Cc"] if message.cc else []),
        }  # fmt: skip
        assert tuple(address.addr_spec for address in mail["To"].addresses) == message.to
        assert not re.search(r"[\x00-\x1f\x7f\u0085\u2028\u2029]", str(mail["Subject"]))
        assert "eve@example.com" not in str(mail["To"]) + str(mail["Cc"])


_LOCALS = ["zoe.", ".zoe", "zoe..b", "=?utf-8?q?zoe?=", "o'neil+x/y=z", "(zoe)", "zoe:b", "zoe[b", "zoe\\b", "zoe\x7f"]


@pytest.mark.parametrize("local", _LOCALS)
def test_no_requesters_name_keeps_the_mail_to_approvers_back(local: str) -> None:
    """Anybody who registers a model writes `requested_by`; a header takes only a dot-atom before the @ (RFC 5322)."""
    who = f"{local}@example.com"
    scenario = Scenario()
    scenario.registers(
        1, requester=Requester(actor=Actor(kind="requester", subject=who, email=who), declared_by="self")
    )
    scenario.decides("dev", 1)
    sent = [address for message in scenario.mails() for address in parsed(message)["To"].addresses]
    assert "ann@example.com" in {address.addr_spec for address in sent}
    assert (who in {address.addr_spec for address in sent}) == (local == "o'neil+x/y=z")


@pytest.mark.parametrize("local", [local for local in _LOCALS if "'" not in local and local.isprintable()])
def test_an_approvers_address_that_no_header_takes_is_refused(local: str) -> None:
    with pytest.raises(Invalid, match="approvers"):
        parse(CONFIG_TEXT.replace('"ann@example.com"', f"'{local}@example.com'", 1))


@given(text=st.from_regex(r"[!-~]{1,12}@[!-~]{1,12}", fullmatch=True))
@example(text="a@b.")
@example(text="a@.b")
@example(text="a@b..c")
@example(text="=?x?=@b")
def test_any_text_that_is_taken_for_an_address_fits_into_a_header(text: str) -> None:
    package = a_package(1, requester=Requester(actor=Actor(kind="requester", subject=text), declared_by="self"))
    if requester_address(package):
        assert parsed(replace(MAILS["rejected"], to=(text,)))["To"].addresses[0].addr_spec == text


@given(value=st.floats(0, 1), n=st.integers(0, 10_000))
def test_any_measurement_makes_a_mail(value: float, n: int) -> None:
    scenario = Scenario()
    scenario.registers(1)
    scenario.decides("dev", 1)
    scenario.runs(
        "dev",
        1,
        measured(
            0.5, metrics={"rougeL": Metric(value=value, low=value, high=value, n=n), "exact_match": Metric(value=1.0)}
        ),
    )
    message = scenario.mails(names.APPROVAL_REQUESTED)[1]
    assert ("quality gate failed" in message.subject) == (not value >= 0.6)
