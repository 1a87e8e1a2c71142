"""Intrinsic functions come to what CloudFormation says they come to."""

from __future__ import annotations

from typing import Any

import pytest

from local.template import Made, Template, TemplateError

CONDITIONS = {
    "Yes": {"Fn::Equals": ["a", "a"]},
    "No": {"Fn::Equals": ["a", "b"]},
    # As the CDK writes the condition of AWS::CDK::Metadata.
    "Here": {"Fn::Or": [{"Fn::Or": [{"Fn::Equals": [{"Ref": "AWS::Region"}, "us-east-1"]}]}, {"Condition": "No"}]},
    "Elsewhere": {"Fn::Or": [{"Fn::Equals": [{"Ref": "AWS::Region"}, "eu-west-1"]}, {"Condition": "No"}]},
}


def template(**resources: Any) -> Template:
    made = Template({"Resources": {"Table": {"Type": "AWS::T"}, **resources}, "Conditions": CONDITIONS})
    made.made["Table"] = Made("table-1", {"Arn": "arn:aws:dynamodb:us-east-1:123456789012:table/table-1"})
    return made


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"Ref": "Table"}, "table-1"),
        ({"Ref": "AWS::Region"}, "us-east-1"),
        ({"Fn::GetAtt": ["Table", "Arn"]}, "arn:aws:dynamodb:us-east-1:123456789012:table/table-1"),
        ({"Fn::GetAtt": "Table.Arn"}, "arn:aws:dynamodb:us-east-1:123456789012:table/table-1"),
        (
            {"Fn::Sub": "${Table}/${Table.Arn}/${!Kept}"},
            "table-1/arn:aws:dynamodb:us-east-1:123456789012:table/table-1/${Kept}",
        ),
        ({"Fn::Sub": ["${A}-${AWS::AccountId}", {"A": {"Ref": "Table"}}]}, "table-1-123456789012"),
        ({"Fn::Join": ["-", ["a", {"Ref": "Table"}]]}, "a-table-1"),
        ({"Fn::Select": [1, {"Fn::Split": [":", {"Fn::GetAtt": ["Table", "Arn"]}]}]}, "aws"),
        ({"Fn::If": ["Yes", "then", "else"]}, "then"),
        ({"a": {"Ref": "AWS::NoValue"}, "b": 1}, {"b": 1}),
        ([{"Ref": "AWS::NoValue"}, 2], [2]),
    ],
)
def test_intrinsics_resolve(value: Any, expected: Any) -> None:
    assert template().resolve(value) == expected


def test_a_reference_to_nothing_names_the_resource_it_is_in() -> None:
    with pytest.raises(TemplateError, match=r"Rule1: Ref to Gone"):
        template().resolve({"Ref": "Gone"}, of="Rule1")


@pytest.mark.parametrize(
    ("attribute", "says"),
    [
        ("Gone.Arn", "Rule1: GetAtt of Gone.Arn, but Gone was not made"),
        ("Table.Size", "AWS::T Table has no attribute Size"),
    ],
)
def test_an_attribute_that_is_not_there_is_named(attribute: str, says: str) -> None:
    with pytest.raises(TemplateError, match=says):
        template().resolve({"Fn::GetAtt": attribute}, of="Rule1")


@pytest.mark.parametrize(("condition", "made"), [("Yes", True), ("No", False), ("Here", True), ("Elsewhere", False)])
def test_a_resource_is_made_if_its_condition_holds(condition: str, made: bool) -> None:
    assert ("Metadata" in template(Metadata={"Type": "AWS::M", "Condition": condition}).resources) is made


def test_an_unknown_function_is_refused() -> None:
    with pytest.raises(TemplateError, match="Fn::Cidr"):
        template().resolve({"Fn::Cidr": ["10.0.0.0/16", 2]}, of="Subnet")


def test_referenced_resources_are_made_first() -> None:
    made = template(
        Target={"Type": "T", "Properties": {"Arn": {"Fn::Sub": ["${Arn}", {"Arn": {"Ref": "Rule"}}]}}},
        Rule={"Type": "T", "Properties": {"Arn": {"Fn::Sub": "x-${Function.Arn}"}}, "DependsOn": "Policy"},
        Function={"Type": "T", "Properties": {"Role": {"Fn::GetAtt": ["Role", "Arn"]}}},
        Role={"Type": "T"},
        Policy={"Type": "T", "Properties": {"Roles": [{"Ref": "Role"}]}},
    )
    order = [resource.logical_id for resource in made.in_order(lambda _: True)]
    assert order.index("Role") < order.index("Function") < order.index("Rule") < order.index("Target")
    assert order.index("Role") < order.index("Policy") < order.index("Rule")


def test_a_circle_is_refused_by_name() -> None:
    made = template(
        A={"Type": "T", "Properties": {"x": {"Ref": "B"}}}, B={"Type": "T", "Properties": {"x": {"Ref": "A"}}}
    )
    with pytest.raises(TemplateError, match="A → B → A"):
        made.in_order(lambda _: True)


def test_an_address_that_only_aws_has_becomes_the_local_one() -> None:
    made = template()
    made.rewrite("https://api.execute-api.us-east-1.amazonaws.com", "http://127.0.0.1:8000")
    url = {"Fn::Join": ["", ["https://api.execute-api.", {"Ref": "AWS::Region"}, ".", {"Ref": "AWS::URLSuffix"}, "/x"]]}
    assert made.resolve(url) == "http://127.0.0.1:8000/x"
