"""What is kept, encrypted, and where the next deployment must find it again."""

from __future__ import annotations

from tests.infra.synthesized import Template

# Renaming one of these makes a new, empty resource beside the old: a ledger without decisions, a key nobody trusts.
STATEFUL = {
    "StoreLedger7870BD85": "AWS::DynamoDB::Table",
    "StoreProjectionsA494E95F": "AWS::DynamoDB::Table",
    "StoreSigningKey0A1284B9": "AWS::KMS::Key",
    "StoreEvidenceCEE1ECE6": "AWS::S3::Bucket",
    "StoreAnchorsB5448993": "AWS::S3::Bucket",
    "StoreAccessLogs087BBF22": "AWS::S3::Bucket",
    "StoreLinkKeys17424527": "AWS::SecretsManager::Secret",
    "StoreIdentitySecretDA9B15CE": "AWS::SecretsManager::Secret",
    "WiringDeadLettersAC35A604": "AWS::SQS::Queue",
}


def test_stateful_resources_keep_their_logical_ids(template: Template) -> None:
    assert {name: template.resources.get(name, {}).get("Type") for name in STATEFUL} == STATEFUL


def test_cdk_destroy_leaves_ledger_key_and_evidence(template: Template) -> None:
    for name, kind in STATEFUL.items():
        if kind != "AWS::SecretsManager::Secret":
            # A deployment that fails leaves nothing: a bucket of a fixed name would stop the next.
            assert template.resources[name]["DeletionPolicy"] == "RetainExceptOnCreate", name
            assert template.resources[name]["UpdateReplacePolicy"] == "Retain", name
    assert "cdk destroy leaves" in template.document["Outputs"]["LedgerTable"]["Description"]


def test_the_ledger_cannot_be_deleted_by_mistake_and_goes_back_in_time(template: Template) -> None:
    _, ledger = template.the("AWS::DynamoDB::Table", "StoreLedger")
    assert ledger["DeletionProtectionEnabled"] is True
    assert ledger["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] is True
    assert ledger["BillingMode"] == "PAY_PER_REQUEST"


def test_everything_at_rest_is_encrypted(template: Template) -> None:
    for name, table in template.of_type("AWS::DynamoDB::Table").items():
        assert table["SSESpecification"]["SSEEnabled"] is True, name
    for name, queue in template.of_type("AWS::SQS::Queue").items():
        assert queue["SqsManagedSseEnabled"] is True, name
    for name, bucket in template.of_type("AWS::S3::Bucket").items():
        assert bucket["BucketEncryption"], name
        assert all(bucket["PublicAccessBlockConfiguration"].values()), name


def test_buckets_and_queues_take_nothing_without_tls(template: Template) -> None:
    shut = set()
    for kind, owner in (("AWS::S3::BucketPolicy", "Bucket"), ("AWS::SQS::QueuePolicy", "Queues")):
        for policy in template.of_type(kind).values():
            for statement in policy["PolicyDocument"]["Statement"]:
                insecure = statement.get("Condition", {}).get("Bool", {}).get("aws:SecureTransport") == "false"
                if statement["Effect"] == "Deny" and insecure:
                    owners = policy[owner] if isinstance(policy[owner], list) else [policy[owner]]
                    shut |= {name.strip("<>") for name in owners}
    assert shut == {*template.of_type("AWS::S3::Bucket"), *template.of_type("AWS::SQS::Queue")}


def test_an_anchor_cannot_be_replaced_for_a_year(template: Template) -> None:
    _, anchors = template.the("AWS::S3::Bucket", "StoreAnchors")
    assert anchors["ObjectLockEnabled"] is True
    assert anchors["ObjectLockConfiguration"]["Rule"]["DefaultRetention"] == {"Days": 365, "Mode": "COMPLIANCE"}


def test_no_log_is_kept_for_ever(template: Template) -> None:
    for name, group in template.of_type("AWS::Logs::LogGroup").items():
        assert group["RetentionInDays"] <= 731, name


def test_the_signing_key_signs_and_does_nothing_else(template: Template) -> None:
    _, key = template.the("AWS::KMS::Key", "StoreSigningKey0A1284B9")
    assert (key["KeySpec"], key["KeyUsage"]) == ("ECC_NIST_P256", "SIGN_VERIFY")
