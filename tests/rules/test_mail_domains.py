"""Mail goes only to addresses in domains that the configuration stands for."""

from __future__ import annotations

import zoneinfo

import pytest

from promotion.config.loading import parse
from promotion.errors import Invalid
from tests.fakes import CONFIG_TEXT


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("dee@example.com", True),
        ("dee@EXAMPLE.com", True),
        ("victim@unrelated.example", False),
        ("dee@example.com.evil.example", False),
        ("example.com", False),
        ("", False),
    ],
)
def test_by_default_the_domains_are_those_that_the_file_names(address: str, expected: bool) -> None:
    assert parse(CONFIG_TEXT).may_write_to(address) is expected


def test_addresses_of_an_override_count_too() -> None:
    override = (
        '[groups_override."a-*".environments.prod]\napprovers = ["eve@one.example"]\nstakeholders = ["x@two.example"]'
    )
    config = parse(f"{CONFIG_TEXT}\n{override}\n")
    assert config.may_write_to("dee@one.example")
    assert config.may_write_to("dee@two.example")


def test_domains_that_are_named_replace_them() -> None:
    config = parse(CONFIG_TEXT + '[advanced.mail]\ndomains = ["Partner.example"]\n')
    assert config.may_write_to("dee@partner.example")
    assert not config.may_write_to("dee@example.com")


def zoned(name: str) -> str:
    return parse(CONFIG_TEXT.replace("[mail]\n", f'[mail]\ntime_zone = "{name}"\n')).mail.time_zone


def test_a_time_zone_is_one_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert zoned("Europe/Berlin") == "Europe/Berlin"
    with pytest.raises(Invalid, match="as the IANA database does"):
        zoned("Berlin")
    # Where the machine has no such database, a function has to start all the same.
    monkeypatch.setattr(zoneinfo, "available_timezones", set)
    assert zoned("Berlin") == "Berlin"
    assert zoned("UTC") == "UTC"
