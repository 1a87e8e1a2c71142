"""IAM policies allow and deny here what they allow and deny on AWS."""

from __future__ import annotations

from typing import Any

import pytest

from local.aws import policies

PARAMETER = "arn:aws:ssm:us-east-1:123456789012:parameter/promotion/churn/dev/live"
ROLE = "arn:aws:iam::123456789012:role/projector"


def statement(effect: str = "Allow", **elements: Any) -> dict[str, Any]:
    return {"Statement": [{"Effect": effect, "Action": "ssm:GetParameter", "Resource": PARAMETER, **elements}]}


def allowed(
    *documents: dict[str, Any], action: str = "ssm:GetParameter", context: dict[str, Any] | None = None
) -> bool:
    return policies.decision(action, PARAMETER, context or {}, identity=documents)


def test_nothing_is_allowed_without_a_statement() -> None:
    assert not allowed()


def test_an_action_matches_whatever_its_case_and_with_wildcards() -> None:
    assert allowed(statement(Action=["SSM:get*"]))
    assert not allowed(statement(Action="ssm:Put*"))


def test_a_resource_matches_with_wildcards_and_with_case() -> None:
    assert allowed(statement(Resource="arn:aws:ssm:*:*:parameter/promotion/*"))
    assert not allowed(statement(Resource="arn:aws:ssm:*:*:parameter/Promotion/*"))
    assert not allowed(statement(Resource="arn:aws:ssm:us-east-1:123456789012:parameter/other/*"))


def test_brackets_in_a_resource_are_no_pattern() -> None:
    assert not allowed(statement(Resource=PARAMETER.replace("dev", "[d]ev")))


def test_a_deny_beats_every_allow() -> None:
    assert not allowed(statement(), statement("Deny", Action="ssm:*", Resource="*"))


def test_not_action_and_not_resource_turn_around() -> None:
    everything_else = {"Effect": "Allow", "NotAction": "ssm:PutParameter", "Resource": "*"}
    assert allowed({"Statement": everything_else})
    assert not allowed({"Statement": everything_else}, action="ssm:PutParameter")
    assert not allowed({"Statement": {"Effect": "Allow", "Action": "*", "NotResource": PARAMETER}})


@pytest.mark.parametrize(
    ("condition", "context", "holds"),
    [
        ({"StringEquals": {"events:source": "promotion"}}, {"events:source": "promotion"}, True),
        ({"StringEquals": {"events:source": ["x", "promotion"]}}, {"Events:Source": "promotion"}, True),
        ({"StringEquals": {"events:source": "promotion"}}, {"events:source": "other"}, False),
        ({"StringEquals": {"events:source": "promotion"}}, {}, False),
        ({"StringEqualsIfExists": {"events:source": "promotion"}}, {}, True),
        ({"StringNotEquals": {"events:source": "promotion"}}, {"events:source": "promotion"}, False),
        ({"StringNotEquals": {"events:source": "promotion"}}, {}, True),
        ({"StringLike": {"events:source": "promotion.*"}}, {"events:source": "promotion.inference"}, True),
        ({"ArnNotEquals": {"aws:PrincipalArn": [ROLE]}}, {"aws:PrincipalArn": ROLE}, False),
        ({"Bool": {"aws:SecureTransport": "false"}}, {"aws:SecureTransport": "true"}, False),
        ({"NumericLessThan": {"s3:TlsVersion": 1.2}}, {}, False),
        ({"Null": {"sts:SourceIdentity": "false"}}, {}, False),
        ({"Null": {"sts:SourceIdentity": "false"}}, {"sts:SourceIdentity": "ann"}, True),
        ({"ForAllValues:StringEquals": {"ses:Recipients": ["a", "b"]}}, {"ses:Recipients": ["a"]}, True),
        ({"ForAllValues:StringEquals": {"ses:Recipients": ["a"]}}, {"ses:Recipients": ["a", "b"]}, False),
        ({"ForAnyValue:StringEquals": {"ses:Recipients": ["a"]}}, {"ses:Recipients": ["a", "b"]}, True),
        ({"SomethingNew": {"events:source": "promotion"}}, {"events:source": "promotion"}, False),
        ({"SomethingNotNew": {"events:source": "promotion"}}, {"events:source": "promotion"}, False),
        ({"NumericGreaterThan": {"events:source": 1}}, {"events:source": "2"}, False),
    ],
)
def test_conditions(condition: dict[str, Any], context: dict[str, Any], holds: bool) -> None:
    assert allowed(statement(Condition=condition), context=context) is holds


@pytest.mark.parametrize("operator", ["SomethingNew", "SomethingNotNew", "ForAllValues:SomethingNew"])
def test_a_deny_by_an_unknown_operator_denies(operator: str) -> None:
    context = {"events:source": "promotion"}
    assert not allowed(statement(), statement("Deny", Condition={operator: context}), context=context)


def test_a_resources_policy_speaks_only_of_the_principals_it_names() -> None:
    grant = {"Statement": {"Effect": "Allow", "Principal": {"AWS": ROLE}, "Action": "ssm:*", "Resource": "*"}}
    for who, expected in ((ROLE, True), (ROLE + "2", False)):
        got = policies.decision("ssm:GetParameter", PARAMETER, {}, identity=(), on_resource=[grant], principals=[who])
        assert got is expected


@pytest.mark.parametrize(
    ("element", "named"),
    [
        ({"Principal": "*"}, True),
        ({"Principal": {"AWS": "*"}}, True),
        ({"Principal": {"AWS": [ROLE + "2", ROLE]}}, True),
        ({"Principal": {"AWS": "123456789012"}}, True),
        ({"Principal": {"AWS": "210987654321"}}, False),
        ({"Principal": ROLE}, False),
        ({"NotPrincipal": {"AWS": ROLE}}, False),
        ({"NotPrincipal": {"AWS": ROLE + "2"}}, True),
        ({}, False),
    ],
)
def test_a_statement_names_principals_by_arn_account_or_exception(element: dict[str, Any], named: bool) -> None:
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    principals = [ROLE, "arn:aws:iam::123456789012:root"]
    assert policies.trusts({"Statement": everything | element}, "sts:AssumeRole", principals, {}) is named


def test_a_trust_policy_lets_in_whom_it_names() -> None:
    trust = {
        "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]
    }
    assert policies.trusts(trust, "sts:AssumeRole", ["lambda.amazonaws.com"], {})
    assert not policies.trusts(trust, "sts:AssumeRole", ["events.amazonaws.com"], {})
    assert not policies.trusts(trust, "sts:SetSourceIdentity", ["lambda.amazonaws.com"], {})
