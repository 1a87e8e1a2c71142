"""Deployed again over what an earlier installation left: `ledger_table` leads to all of it, and nothing is made anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from promotion import names
from promotion.aws import kept
from promotion.errors import Invalid
from tests.infra.synthesized import Template, run_app, synthesize

LEFT = {
    "projections": "promotion-StoreProjections-OLD",
    "signing_key": "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555",
    "evidence": "promotion-storeevidence-old",
    "anchors": "promotion-storeanchors-old",
}
PLAIN = (Path(__file__).parent / "promotion.toml").read_text(encoding="utf-8")


def make(name: str, *, tags: dict[str, str], stream: str = "NEW_IMAGE", index: str = names.BOARD_INDEX) -> str:
    """A table as it is left, or restored; returns its stream."""
    text = [{"AttributeName": each, "AttributeType": "S"} for each in ("pk", "sk", "board_pk", "board_sk")]
    keys = [("pk", "HASH"), ("sk", "RANGE")]
    schema = [{"AttributeName": each, "KeyType": kind} for each, kind in keys]
    board = [{"AttributeName": f"board_{each}", "KeyType": kind} for each, kind in keys]
    dynamodb: Any = boto3.client("dynamodb")
    made = dynamodb.create_table(
        TableName=name,
        AttributeDefinitions=text,
        KeySchema=schema,
        BillingMode="PAY_PER_REQUEST",
        GlobalSecondaryIndexes=[{"IndexName": index, "KeySchema": board, "Projection": {"ProjectionType": "ALL"}}],
        Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
        **({"StreamSpecification": {"StreamEnabled": True, "StreamViewType": stream}} if stream else {}),
    )["TableDescription"]
    return str(made.get("LatestStreamArn", ""))


@pytest.fixture(scope="module")
def aws() -> Iterator[pytest.MonkeyPatch]:
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        yield patch
    server.stop()


def configured(folder: Path, table: str) -> Path:
    place = folder / "promotion.toml"
    place.write_text(f'advanced.ledger_table = "{table}"\n{PLAIN}', encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def again(aws: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> tuple[Template, str]:
    """The stack over everything that was left, checked by cdk-nag; and the ledger's stream."""
    stream = make("left", tags={names.KEPT[word]: value for word, value in LEFT.items()})
    folder = tmp_path_factory.mktemp("kept")
    return synthesize(configured(folder, "left"), folder / "out", nag="true"), stream


def test_nothing_that_was_left_is_made_a_second_time(again: tuple[Template, str], template: Template) -> None:
    found, _ = again
    assert found.of_type("AWS::DynamoDB::Table") == {}
    # Sessions last a day: their key is made anew.
    assert [name for name in found.of_type("AWS::KMS::Key") if not name.startswith("StoreSessionKey")] == []
    made = {name for name, _ in found.of_type("AWS::S3::Bucket").items()}
    assert [name for name in made if name.startswith(("StoreEvidence", "StoreAnchors"))] == []
    # What is still there has the logical id that it had, so that an update in place takes nothing away.
    gone = set(template.resources) - set(found.resources)
    assert {template.resources[name]["Type"] for name in gone} == {
        "AWS::DynamoDB::Table", "AWS::KMS::Key", "AWS::S3::Bucket",
    }  # fmt: skip


def test_every_function_works_on_what_was_left(again: tuple[Template, str]) -> None:
    found, stream = again
    variables = {
        key: value
        for function in found.of_type("AWS::Lambda::Function").values()
        for key, value in function["Environment"]["Variables"].items()
    }
    assert variables[names.LEDGER_TABLE] == "left"
    assert variables[names.PROJECTIONS_TABLE] == LEFT["projections"]
    assert variables[names.SIGNING_KEY_ARN] == LEFT["signing_key"]
    assert variables[names.EVIDENCE_BUCKET] == LEFT["evidence"]
    assert variables[names.ANCHOR_BUCKET] == LEFT["anchors"]
    _, mapping = found.the("AWS::Lambda::EventSourceMapping", "FunctionsOnLedgerAppendedLedgerStream")
    assert mapping["EventSourceArn"] == stream
    _, alias = found.the("AWS::KMS::Alias", "StoreSigningKeyAlias")
    assert alias["TargetKeyId"] == LEFT["signing_key"]


def test_buckets_that_were_left_take_nothing_without_tls(again: tuple[Template, str]) -> None:
    found, _ = again
    for name in ("Evidence", "Anchors"):
        _, policy = found.the("AWS::S3::BucketPolicy", f"Store{name}Policy")
        assert policy["Bucket"] == LEFT[name.lower()]
        [insecure] = [
            s for s in policy["PolicyDocument"]["Statement"] if "aws:SecureTransport" in s["Condition"].get("Bool", {})
        ]
        assert (insecure["Effect"], insecure["Action"]) == ("Deny", "s3:*")


def test_of_a_restored_table_the_ledger_alone_is_taken(aws: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stream = make("restored", tags={})
    found = synthesize(configured(tmp_path, "restored"), tmp_path / "out")
    assert list(found.of_type("AWS::DynamoDB::Table")) == ["StoreProjectionsA494E95F"]
    assert len([name for name in found.of_type("AWS::KMS::Key") if name.startswith("StoreSigningKey")]) == 1
    _, mapping = found.the("AWS::Lambda::EventSourceMapping", "FunctionsOnLedgerAppendedLedgerStream")
    assert mapping["EventSourceArn"] == stream


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"name": "silent", "stream": ""}, "aws dynamodb update-table --table-name silent --stream-specification"),
        ({"name": "keys", "stream": "KEYS_ONLY"}, "has no stream of new images"),
        ({"name": "other", "index": "by-date"}, "other is no ledger of this service"),
    ],
)
def test_a_table_that_cannot_go_on_is_refused_with_what_to_do(
    aws: pytest.MonkeyPatch, how: dict[str, str], said: str
) -> None:
    make(**how, tags={})
    with pytest.raises(Invalid) as refused:
        kept.find(how["name"], boto3.client)
    assert refused.value.field == "advanced.ledger_table"
    assert said in str(refused.value)


def test_a_table_that_is_not_there_stops_the_synth(aws: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done = run_app(configured(tmp_path, "nowhere"), tmp_path / "out", bundle="false", nag="false")
    assert done.returncode == 1
    assert "ledger_table: there is no table nowhere in this account and region." in done.stderr
    assert not list((tmp_path / "out").glob("*.template.json"))
