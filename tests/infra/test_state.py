"""Retained resources: encrypted, and found again by the next deployment."""

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
    "WiringDeadLettersAC35A604": "AWS::SQS::Queue",
}
# Renaming one of these loses its content: mailed links, the provider's secret, sessions, queued messages, subscribers of
# alarms, other people's rules on the bus, the address that is registered at the provider.
HELD = {
    "StoreLinkKeys17424527": "AWS::SecretsManager::Secret",
    "StoreFormKeys24EBB24A": "AWS::SecretsManager::Secret",
    "StoreSignInKeys5ADA5AB1": "AWS::SecretsManager::Secret",
    "StoreIdentitySecretDA9B15CE": "AWS::SecretsManager::Secret",
    "StoreSessionKey7FC1BDED": "AWS::KMS::Key",
    "StoreSigningKeyAlias1F4505BD": "AWS::KMS::Alias",
    "WiringWakeE31B1A1F": "AWS::SQS::Queue",
    "WiringUndelivered9E4F3AF3": "AWS::SQS::Queue",
    "WiringVerifications44D9E6DF": "AWS::SQS::Queue",
    "WiringRegistrations8ADDD587": "AWS::SQS::Queue",
    "WiringLater7A66D1C6": "AWS::SQS::Queue",
    "WiringBusAA993822": "AWS::Events::EventBus",
    "Alarms04B5A0BF": "AWS::SNS::Topic",
    "ApiHttp17514DA7": "AWS::ApiGatewayV2::Api",
    "SenderF5F9B8E0": "AWS::SES::EmailIdentity",
}


def test_everything_that_is_kept_has_the_logical_id_that_it_had(template: Template) -> None:
    """The lists are complete, and only grow: by its id the next deployment finds a resource."""
    retained = {
        name: resource["Type"]
        for name, resource in template.resources.items()
        if str(resource.get("DeletionPolicy")).startswith("Retain")
    }
    assert retained == STATEFUL
    kinds = set(STATEFUL.values()) | set(HELD.values())
    found = {name: resource["Type"] for name, resource in template.resources.items() if resource["Type"] in kinds}
    assert found == STATEFUL | HELD


def test_cdk_destroy_leaves_ledger_key_and_evidence(template: Template) -> None:
    for name in STATEFUL:
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


def test_settings_for_replicas_that_cannot_be_changed_later_are_set(template: Template) -> None:
    """docs/decisions has why."""
    _, key = template.the("AWS::KMS::Key", "StoreSigningKey0A1284B9")
    assert key["MultiRegion"] is True
    _, ledger = template.the("AWS::DynamoDB::Table", "StoreLedger")
    assert ledger["StreamSpecification"] == {"StreamViewType": "NEW_AND_OLD_IMAGES"}
    for name in ("StoreEvidence", "StoreAnchors"):
        assert template.the("AWS::S3::Bucket", name)[1]["VersioningConfiguration"] == {"Status": "Enabled"}
