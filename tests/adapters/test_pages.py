"""Every list that the product asks AWS for is read to its end: by the token, whatever is on a page."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import boto3
import botocore.session
from botocore.stub import Stubber

from promotion import names
from promotion.aws.kept import find
from promotion.aws.ledger_table.cursors import DynamoCursors
from tests.fakes import as_client

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("promotion", "lambdas", "inference", "infra", "tools", "examples", "app.py")
# The services that the product has clients of, as boto3 names them.
SERVICES = (
    *("acm", "apigatewayv2", "cloudwatch", "cloudformation", "codebuild", "dynamodb", "ec2", "ecr", "events", "iam"),
    *("kms", "lambda", "s3", "sagemaker", "secretsmanager", "service-quotas", "sesv2", "sns", "sqs", "ssm"),
    *("stepfunctions", "sts"),
)
# One page on purpose, by file and operation.
ONE_PAGE = {
    (
        "promotion/aws/doctor/first_deployment.py",
        "describe_subnets",
    ): "asked for by their ids, which all are on one page",
    ("promotion/aws/doctor/first_deployment.py", "describe_security_groups"): "asked for by their ids",
}


@cache
def listing() -> frozenset[str]:
    """Operations that answer in pages, as methods of boto3's clients."""
    session = botocore.session.get_session()
    found: set[str] = set()
    for service in SERVICES:
        for operation in session.get_service_model(service).operation_names:
            shapes = session.get_service_model(service).operation_model(operation)
            outputs = set(shapes.output_shape.members) if shapes.output_shape is not None else set()
            tokens = outputs & {
                "NextToken",
                "nextToken",
                "NextMarker",
                "LastEvaluatedKey",
                "Marker",
                "NextContinuationToken",
            }
            if tokens:
                found.add(botocore.xform_name(operation))
    return frozenset(found)


def calls() -> Iterator[tuple[str, str]]:
    """Each call in the product of a method by the name of such an operation: file, operation."""
    for place in PRODUCT:
        path = ROOT / place
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                # A method on the spot, or handed on to be called: `operation=client.describe_subnets`.
                if isinstance(node, ast.Attribute) and node.attr in listing() and not _is_other(node):
                    yield file.relative_to(ROOT).as_posix(), node.attr


def _is_other(node: ast.Attribute) -> bool:
    """`pattern.search`, and the query of an address."""
    return node.attr in ("search", "query") and not ast.unparse(node.value).endswith("client")


def test_no_list_is_asked_for_without_its_paginator() -> None:
    assert set(calls()) == set(ONE_PAGE), "ask by get_paginator(), or say in ONE_PAGE why one page is enough"


def test_it_knows_what_comes_in_pages() -> None:
    assert {"list_model_packages", "query", "get_parameters_by_path", "list_tags_of_resource"} <= listing()
    assert not {"get_parameter", "describe_model_package"} & listing()


def test_cursors_are_read_past_an_empty_page() -> None:
    client = boto3.client("dynamodb", region_name="us-east-1")
    key = {"pk": {"S": "GROUP#summaries"}, "sk": {"S": "mail"}}
    with Stubber(client) as stub:
        stub.add_response("query", {"Items": [], "LastEvaluatedKey": key})
        stub.add_response("query", {"Items": [{**key, "sequence": {"N": "7"}}]})
        assert DynamoCursors(client, "projections").read("summaries") == {"mail": 7}
        stub.assert_no_pending_responses()


def test_a_ledgers_resources_are_found_on_a_later_page_of_its_tags() -> None:
    client = boto3.client("dynamodb", region_name="us-east-1")
    arn = "arn:aws:dynamodb:us-east-1:123456789012:table/ledger"
    table = {
        "TableArn": arn,
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        "GlobalSecondaryIndexes": [{"IndexName": "board"}],
        "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
        "LatestStreamArn": f"{arn}/stream/1",
    }
    with Stubber(client) as stub:
        stub.add_response("describe_table", {"Table": table})
        stub.add_response("list_tags_of_resource", {"Tags": [], "NextToken": "more"})
        tags = [{"Key": names.KEPT["evidence"], "Value": "evidence-bucket"}]
        stub.add_response("list_tags_of_resource", {"Tags": tags})
        assert find("ledger", as_client(lambda service: client))["evidence"] == "evidence-bucket"
