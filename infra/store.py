"""What must outlive everything else: ledger, projections, signing key, secrets, evidence."""

from __future__ import annotations

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from infra.acknowledged import acknowledge
from promotion import names

_TEXT = dynamodb.AttributeType.STRING


class Store(Construct):
    """Everything with state. Its logical ids are held by a test: a renamed table would be a new, empty one."""

    def __init__(self, scope: Construct, name: str, *, alias: str, evidence_name: str | None = None) -> None:
        super().__init__(scope, name)
        self.ledger = dynamodb.Table(
            self,
            "Ledger",
            partition_key=dynamodb.Attribute(name="pk", type=_TEXT),
            sort_key=dynamodb.Attribute(name="sk", type=_TEXT),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            stream=dynamodb.StreamViewType.NEW_IMAGE,
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            encryption=dynamodb.TableEncryption.AWS_MANAGED,
            deletion_protection=True,
            removal_policy=RemovalPolicy.RETAIN,
        )
        self.ledger.add_global_secondary_index(
            index_name=names.BOARD_INDEX,
            partition_key=dynamodb.Attribute(name="board_pk", type=_TEXT),
            sort_key=dynamodb.Attribute(name="board_sk", type=_TEXT),
        )
        # Kept as well: without cursors the projector would bring up every target from the first event, mails included.
        self.projections = dynamodb.Table(
            self,
            "Projections",
            partition_key=dynamodb.Attribute(name="pk", type=_TEXT),
            sort_key=dynamodb.Attribute(name="sk", type=_TEXT),
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            encryption=dynamodb.TableEncryption.AWS_MANAGED,
            removal_policy=RemovalPolicy.RETAIN,
        )
        # Asymmetric, so that a pipeline verifies offline; kept, because nobody can check what a deleted key has signed.
        self.signing_key = kms.Key(
            self,
            "SigningKey",
            description="Signs what is live",
            key_spec=kms.KeySpec.ECC_NIST_P256,
            key_usage=kms.KeyUsage.SIGN_VERIFY,
            removal_policy=RemovalPolicy.RETAIN,
        )
        self.signing_key.add_alias(f"alias/{alias}-signing")
        self.link_keys = secretsmanager.Secret(
            self,
            "LinkKeys",
            description="Signs the ids in approval links; sessions too",
            generate_secret_string=secretsmanager.SecretStringGenerator(
                secret_string_template="{}", generate_string_key="key", password_length=64, exclude_punctuation=True
            ),
        )
        # Begins as noise rather than empty: nobody can sign in until the provider's own secret is put there.
        self.identity_secret = secretsmanager.Secret(
            self,
            "IdentitySecret",
            description="The client secret at the identity provider, as client_secret",
            generate_secret_string=secretsmanager.SecretStringGenerator(
                secret_string_template="{}",
                generate_string_key="client_secret",
                password_length=64,
                exclude_punctuation=True,
            ),
        )
        logs = _bucket(self, "AccessLogs", lifecycle_rules=[s3.LifecycleRule(expiration=Duration.days(90))])
        self.evidence = _bucket(
            self,
            "Evidence",
            bucket_name=evidence_name,
            versioned=True,
            server_access_logs_bucket=logs,
            server_access_logs_prefix="evidence/",
            lifecycle_rules=[s3.LifecycleRule(abort_incomplete_multipart_upload_after=Duration.days(7))],
        )
        # In compliance mode not even the account's root shortens the year: what its keeper can replace is no anchor.
        self.anchors = _bucket(
            self,
            "Anchors",
            versioned=True,
            object_lock_enabled=True,
            object_lock_default_retention=s3.ObjectLockRetention.compliance(Duration.days(365)),
            server_access_logs_bucket=logs,
            server_access_logs_prefix="anchors/",
        )
        acknowledge(logs, {"AwsSolutions-S1": "This is where the access logs go; a log of the log would never end."})
        for secret in (self.link_keys, self.identity_secret):
            acknowledge(
                secret,
                {"AwsSolutions-SMG4": "Rotated by hand: docs/operations.md."},
            )


def _bucket(scope: Construct, name: str, **settings: object) -> s3.Bucket:
    return s3.Bucket(
        scope,
        name,
        block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
        encryption=s3.BucketEncryption.S3_MANAGED,
        enforce_ssl=True,
        minimum_tls_version=1.2,
        object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
        removal_policy=RemovalPolicy.RETAIN,
        **settings,  # type: ignore[arg-type]
    )
