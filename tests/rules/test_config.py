"""A wrong file is refused with the place and the reason."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promotion.config.loading import duration, load, parse
from promotion.errors import Invalid
from tests.fakes import CONFIG_TEXT


def test_the_file_of_this_repository_is_right() -> None:
    assert load(Path(__file__).parents[2] / "promotion.toml").environment_names == ("dev", "test", "uat", "prod")


@pytest.mark.parametrize(
    ("old", "new", "place", "reason"),
    [
        ("quorum = 2", "quorom = 2", "environments[2]", "unknown field `quorom`"),
        ("quorum = 2", 'quorum = "2"', "environments[2].quorum", "Expected `int`"),
        ("quorum = 2", "quorum = 0", "environments[2].quorum", ">= 1"),
        ('name = "test"', 'name = "dev"', "environments[1].name", "'dev' is there twice"),
        ('name = "test"', 'name = "versions"', "environments[1].name", "can't name an environment"),
        ('name = "test"', 'name = "Test"', "environments[1].name", "can't name an environment"),
        ('name = "test"', 'name = "a/b"', "environments[1].name", "can't name an environment"),
        # SageMaker refuses it as the stage of a model's life cycle.
        ('name = "test"', 'name = "test-"', "environments[1].name", "can't name an environment"),
        ('sender = "models@example.com"', 'sender = "models"', "mail.sender", "is not a mail address"),
        ('"ann@example.com", "cho@example.com"', "", "environments[2].approvers", "at least one address"),
        ("min = 0.6\nlargest", 'min = 0.6\nrequires = "report"\nlargest', "gates[0]", "judges one thing"),
        ('metric = "rougeL"\nmin = 0.6\n[[env', 'metric = "rougeL"\n[[env', "gates[0]", "wants a bound"),
        ("min = 0.6\nlargest", "min = 0.6\nmax = 0.1\nlargest", "gates[0].min", "above max"),
        ('issuer = "https:', 'issuer = "http:', "identity.issuer", "https://"),
        ("quorum = 2", 'quorum = 2\nexpires_after = "soon"', "environments[2].expires_after", "not a duration"),
        ("quorum = 2", 'quorum = 2\nexpires_after = "0h"', "environments[2].expires_after", "not a duration"),
        ("quorum = 2", 'quorum = 2\naccount = "12"', "environments[2].account", "12 digits"),
        (
            "[operators]",
            '[advanced.environments.prod]\non_revoke = "panic"\n[operators]',
            "advanced.environments.prod.on_revoke",
            "Invalid enum",
        ),
        ('groups = ["*"]', "groups = []", "groups", "at least one"),
        ('groups = ["*"]', 'groups = ["*"]\n[advanced]\nretired = ["dev"]', "retired", "is an environment still"),
        ("[operators]", '[registry]\naccount = "12"\n[operators]', "registry.account", "12 digits"),
        ("quorum = 2", 'quorum = 2\naccount = "123456789012"', "registry.account", "say which is the registry's"),
        (
            "[operators]",
            '[registry]\nregion = "eu-west-1"\n[advanced.artifacts]\nregion = "eu-north-1"\n[operators]',
            "registry.region",
            "and they are in eu-north-1",
        ),
        (
            "[operators]",
            '[advanced.environments.prod.decision]\nfresh_within = "soon"\n[operators]',
            "fresh_within",
            "not a duration",
        ),
        (
            "[operators]",
            '[advanced.environments.prod.decision]\nfresh_within = "25h"\n[operators]',
            "fresh_within",
            "at most 24h",
        ),
        ("[identity]", 'reply_to = "models"\n[identity]', "mail.reply_to", "is not a mail address"),
        ('groups = ["*"]', 'groups = ["*"]\ncolour = "red"', "top level", "unknown field `colour`"),
        ('groups = ["*"]', "groups = [", "promotion.toml", "not TOML"),
        ("[operators]", "[advanced.web]\ndomain_name = 'a.example'\n[operators]", "advanced.web", "go together"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_place(old: str, new: str, place: str, reason: str) -> None:
    assert CONFIG_TEXT.count(old) >= 1
    with pytest.raises(Invalid) as invalid:
        parse(CONFIG_TEXT.replace(old, new, 1) if "env" not in old else CONFIG_TEXT.replace(old, new))
    assert place in invalid.value.field
    assert reason in invalid.value.reason


@pytest.mark.parametrize(
    ("addition", "place", "reason"),
    [
        ('[groups_override."a-*".environments.nowhere]\nquorum = 3', "nowhere", "no environment 'nowhere'"),
        ('[groups_override."a-*".environments.prod]\nquorum = 99', "quorum", "<= 20"),
        ('[groups_override."a-*".environments.prod]\napprovers = ["x"]', "approvers", "not a mail address"),
        ('[advanced.mail]\nsettle = "4m"', "mail.settle", "up to 3m"),
        (
            '[advanced.environments.dev.endpoint]\ninstance_type = "g5"',
            "instance_type",
            "no instance type of SageMaker's",
        ),
        (
            '[advanced.environments.dev.endpoint]\ninstance_type = "ml.g5.xlarge"\ninference_ami_version = "AMI 2"',
            "inference_ami_version",
            "no AMI version of SageMaker's",
        ),
        ('[advanced.inference]\nsubnets = ["subnet-1"]', "advanced.inference.security_groups", "go together"),
        ('[advanced.web]\nsecurity_groups = ["sg-1"]', "advanced.web.subnets", "go together"),
        ('[advanced.web]\nsubnets = ["vpc-1"]\nsecurity_groups = ["sg-1"]', "advanced.web.subnets", "id of a subnet"),
        (
            '[groups_override."a-*".environments.prod]\napprovers = ["x@bücher.example"]',
            "approvers",
            "write x@xn--bcher-kva.example",
        ),
        (f'[groups_override."a-*".environments.prod]\napprovers = ["x@{"ü" * 64}.example"]', "approvers", "x@xn--…"),
        ("[[freeze]]\nstart = 2026-01-01T00:00:00\nend = 2026-01-02T00:00:00", "freeze[0]", "time zone"),
        ("[[freeze]]\nstart = 2026-01-02T00:00:00Z\nend = 2026-01-01T00:00:00Z", "freeze[0].end", "before it starts"),
        (
            '[[freeze]]\nstart = 2026-01-01T00:00:00Z\nend = 2026-01-02T00:00:00Z\nenvironments = ["x"]',
            "freeze[0].environments",
            "no environment 'x'",
        ),
    ],
)
def test_a_wrong_addition_is_refused_with_its_place(addition: str, place: str, reason: str) -> None:
    with pytest.raises(Invalid) as invalid:
        parse(f"{CONFIG_TEXT}\n{addition}\n")
    assert place in invalid.value.field
    assert reason in invalid.value.reason


def test_an_installation_has_an_environment() -> None:
    with pytest.raises(Invalid, match=r"at least one \[\[environments\]\] is needed"):
        parse("environments = []\n" + CONFIG_TEXT.partition("[[environments]]")[0])


def test_an_environment_of_another_account_needs_its_own_subnets() -> None:
    there = CONFIG_TEXT.replace('name = "prod"', 'name = "prod"\naccount = "444444444444"', 1)
    here = '[registry]\naccount = "123456789012"\nregion = "us-east-1"\n[artifacts]\nbuckets = ["models"]\n'
    network = '[advanced.inference]\nsubnets = ["subnet-1"]\nsecurity_groups = ["sg-1"]\n'
    with pytest.raises(Invalid, match="this environment has its own") as invalid:
        parse(f"{there}\n{here}{network}")
    assert invalid.value.field.endswith("prod.subnets")
    none = "[advanced.environments.prod]\nsubnets = []\nsecurity_groups = []\n"
    assert parse(f"{there}\n{here}{network}{none}").cross_account


@given(st.text())
def test_any_file_is_a_configuration_or_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse(text)


def test_a_session_lasts_a_day_at_most() -> None:
    def lasting(text: str) -> str:
        return parse(f'{CONFIG_TEXT}\n[advanced.identity]\nsession_lifetime = "{text}"\n').identity.session_lifetime

    assert lasting("24h") == "24h"
    with pytest.raises(Invalid, match="at most 24h") as invalid:
        lasting("25h")
    assert invalid.value.field.endswith("advanced.identity.session_lifetime")


def test_a_missing_file_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="set PROMOTION_CONFIG or pass --config"):
        load(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xe9")
    with pytest.raises(Invalid, match="not UTF-8"):
        load(tmp_path / "latin.toml")


def test_overrides_change_what_they_name_and_nothing_else() -> None:
    config = parse(
        f'{CONFIG_TEXT}\n[groups_override."fraud-*".environments.prod]\nquorum = 3\n'
        '[groups_override."fraud-cards".environments.prod]\nexpires_after = "1h"\n'
    )
    cards, plain = config.environment("prod", "fraud-cards"), config.environment("prod", "news")
    assert (cards.quorum, cards.lifetime, cards.approvers) == (3, timedelta(hours=1), plain.approvers)
    assert plain.quorum == 2
    with pytest.raises(Invalid) as invalid:
        config.environment("nowhere", "news")
    assert invalid.value.field == "environment"


def test_settings_for_decisions_have_a_digest_of_their_own() -> None:
    config = parse(CONFIG_TEXT)
    same = parse(CONFIG_TEXT.replace('sender = "models@example.com"', 'sender = "other@example.com"'))
    others = [
        parse(CONFIG_TEXT.replace("quorum = 2", "quorum = 3")),
        parse(CONFIG_TEXT.replace("min = 0.6\n", "min = 0.7\n")),
        parse(CONFIG_TEXT.replace("role/operations", "role/other")),
        parse('advanced.bypass = "report"\n' + CONFIG_TEXT),
    ]
    assert config.policy_digest() == same.policy_digest()
    assert len({each.policy_digest() for each in [config, *others]}) == 5


@pytest.mark.parametrize(("text", "hours"), [("72h", 72.0), ("30m", 0.5), ("7d", 168.0), ("2w", 336.0)])
def test_durations(text: str, hours: float) -> None:
    assert duration(text) == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "72", "h", "-1h", "1.5h", "1h30m", "0d", " 1h"])
def test_invalid_durations_are_refused(text: str) -> None:
    with pytest.raises(Invalid):
        duration(text)


@pytest.mark.parametrize(
    ("group", "governed"), [("fraud-cards", True), ("news", True), ("Fraud-x", False), ("other", False)]
)
def test_groups_are_governed_by_pattern(group: str, governed: bool) -> None:
    assert parse(CONFIG_TEXT.replace('["*"]', '["fraud-*", "news"]')).governs(group) is governed
