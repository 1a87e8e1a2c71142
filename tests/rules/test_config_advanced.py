"""Settings for experts go under `[advanced]`, and each error names the place in the file."""

from __future__ import annotations

import tomllib

import pytest

from promotion.config import advanced
from promotion.config.loading import parse
from promotion.errors import Invalid
from tests.fakes import CONFIG_TEXT


@pytest.mark.parametrize(
    ("old", "new", "place", "goes_under"),
    [
        ('groups = ["*"]', 'groups = ["*"]\nbypass = "report"', "bypass", "[advanced]"),
        ("[mail]", '[mail]\nsettle = "0s"', "mail.settle", "[advanced.mail]"),
        (
            "quorum = 2",
            'quorum = 2\non_revoke = "nothing"',
            "environments.prod.on_revoke",
            "[advanced.environments.prod]",
        ),
        ("[operators]", "[drift]\nmail = false\n[operators]", "drift", "[advanced]"),
        (
            "[operators]",
            '[groups_override."a-*".environments.prod]\nsignature = true\n[operators]',
            'groups_override."a-*".environments.prod.signature',
            '[advanced.groups_override."a-*".environments.prod]',
        ),
    ],
)
def test_a_setting_at_its_old_place_is_told_its_new_one(old: str, new: str, place: str, goes_under: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse(CONFIG_TEXT.replace(old, new, 1))
    assert refused.value.field == f"promotion.toml {place}"
    assert f"goes under {goes_under}:" in refused.value.reason


@pytest.mark.parametrize(
    ("addition", "place", "reason"),
    [
        ("[advanced.mail]\nreply_to = 'a@example.com'", "advanced.mail.reply_to", "no setting for experts"),
        ("[advanced.inference]\nhyper_parms = '{}'", "advanced.inference.hyper_parms", "no setting for experts"),
        ("[advanced.environments.production]\nsignature = true", "advanced.environments.production", "no environment"),
        ("[advanced]\nmail = 3", "advanced.mail", "no setting for experts"),
        ("advanced = 3\n", "advanced", "this is a table"),
        ("[advanced.environments.prod]\nsignature = 3", "advanced.environments.prod.signature", "Expected `bool`"),
        (
            "[advanced.environments.prod.decision]\nfresh = 3",
            "advanced.environments.prod.decision",
            "unknown field `fresh`",
        ),
        (
            "[advanced.artifacts]\nhash_in_function_up_to_gb = -1.0",
            "advanced.artifacts.hash_in_function_up_to_gb",
            ">= 0",
        ),
    ],
)
def test_a_wrong_setting_under_advanced_is_refused_with_its_place(addition: str, place: str, reason: str) -> None:
    text = f"{addition}{CONFIG_TEXT}" if addition.startswith("advanced") else f"{CONFIG_TEXT}\n{addition}\n"
    with pytest.raises(Invalid) as refused:
        parse(text)
    assert refused.value.field == f"promotion.toml {place}"
    assert reason in refused.value.reason


def test_settings_under_advanced_are_in_effect() -> None:
    config = parse(
        f'advanced.bypass = "report"\n{CONFIG_TEXT}\n'
        '[groups_override."fraud-*".environments.prod]\nquorum = 3\n'
        "[advanced.environments.prod]\nsignature = true\n[advanced.environments.prod.endpoint]\ninstance_count = 2\n"
        '[advanced.groups_override."fraud-*".environments.prod]\non_revoke = "nothing"\n'
        '[advanced.groups_override."fraud-cards".inference]\nthreshold = 0.3\n'
    )
    prod, fraud = config.environment("prod", "news"), config.environment("prod", "fraud-cards")
    assert prod.endpoint is not None
    assert (config.bypass, prod.signature, prod.endpoint.instance_count, prod.on_revoke) == (
        "report",
        True,
        2,
        "fall_back",
    )
    assert (fraud.quorum, fraud.on_revoke, fraud.signature) == (3, "nothing", True)
    assert config.evaluation("fraud-cards").threshold == 0.3


def test_the_file_itself_is_left_as_it_is() -> None:
    document = tomllib.loads(f"{CONFIG_TEXT}\n[advanced.environments.prod]\nsignature = true\n")
    before = repr(document)
    advanced.merged(document, "promotion.toml")
    assert repr(document) == before


@pytest.mark.parametrize(
    ("at", "place"),
    [
        ("environments[1].subnets[0]", "advanced.environments.test.subnets[0]"),
        ("environments[1].quorum", "environments[1].quorum"),
        ("environments[7].subnets", "advanced.environments[7].subnets"),
        ('groups_override."a.b".inference.threshold', 'advanced.groups_override."a.b".inference.threshold'),
        (
            "groups_override[...].environments[...].signature",
            "advanced.groups_override[...].environments[...].signature",
        ),
        ("web", "advanced.web"),
        ("inference.bucket", "inference.bucket"),
        ("", ""),
    ],
)
def test_a_place_in_the_configuration_is_a_place_in_the_file(at: str, place: str) -> None:
    assert advanced.place(at, ("dev", "test", "prod")) == place
