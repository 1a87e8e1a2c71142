"""Retained resources: ledger, projections, signing key, secrets, evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aws_cdk import Duration, RemovalPolicy, Tags
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from infra.cdk_nag import acknowledge
from promotion import names

_TEXT = dynamodb.AttributeType.STRING
# A write that can overwrite an object. Uploads of parts don't have this header, and create no object.
_WRITTEN_OVER = {"Null": {"s3:if-none-match": "true"}, "Bool": {"s3:ObjectCreationOperation": "true"}}


class Store(Construct):
    """All stateful resources. A test pins their logical ids, because a renamed table would be a new, empty one.

    `kept` are the resources of an earlier installation (promotion/aws/kept.py), which are reused and belong to no stack any more.
    `signing_key` is the ARN of a key that signs instead of the stack's own, which is kept. With `ends_sessions` there is a table
    of the sessions that the identity provider has ended.
    """

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        alias: str,
        evidence_name: str | None = None,
        kept: Mapping[str, str] | None = None,
        signing_key: str | None = None,
        ends_sessions: bool = False,
    ) -> None:
        super().__init__(scope, name)
        self._kept = kept or {}
        self._policies: dict[str, s3.BucketPolicy] = {}
        self.ledger: dynamodb.ITable = self._ledger()
        # Retained, too: without cursors the projector would project every event again to all targets, including mail.
        self.projections: dynamodb.ITable = self._projections()
        # Deletable, because no item is needed for longer than the longest session.
        self.ended_sessions: dynamodb.ITable | None = (
            _table(self, "EndedSessions", time_to_live_attribute="expires_at", removal_policy=RemovalPolicy.DESTROY)
            if ends_sessions
            else None
        )
        # Asymmetric, so that pipelines can verify offline; retained, because signatures of a deleted key can't be
        # verified.
        self.own_key = self._signing_key(alias)
        self.signing_key: kms.IKey = (
            kms.Key.from_key_arn(self, "SigningKeyInForce", signing_key) if signing_key else self.own_key
        )
        # A secret for each purpose, so that the key of links can sign neither sessions nor form tokens.
        self.link_keys = _keys(self, "LinkKeys", "Signs the ids in approval links")
        self.form_keys = _keys(self, "FormKeys", "Signs the tokens of forms")
        self.sign_in_keys = _keys(self, "SignInKeys", "Signs the state of a sign-in on its way")
        # Asymmetric, so that functions that read sessions can't make them; not retained, because a session lasts a day
        # at most.
        self.session_key = kms.Key(
            self,
            "SessionKey",
            description="Signs sessions",
            key_spec=kms.KeySpec.ECC_NIST_P256,
            key_usage=kms.KeyUsage.SIGN_VERIFY,
            removal_policy=RemovalPolicy.DESTROY,
        )
        # The initial value is random rather than empty, so that nobody can sign in until the provider's secret is put there.
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
        self.evidence: s3.IBucket = self._left_bucket("Evidence") or _bucket(
            self,
            "Evidence",
            bucket_name=evidence_name,
            versioned=True,
            server_access_logs_bucket=logs,
            server_access_logs_prefix="evidence/",
            lifecycle_rules=[s3.LifecycleRule(abort_incomplete_multipart_upload_after=Duration.days(7))],
        )
        # In compliance mode not even the account's root can shorten the year: a replaceable anchor would prove nothing.
        self.anchors: s3.IBucket = self._left_bucket("Anchors") or _bucket(
            self,
            "Anchors",
            versioned=True,
            object_lock_enabled=True,
            object_lock_default_retention=s3.ObjectLockRetention.compliance(Duration.days(365)),
            server_access_logs_bucket=logs,
            server_access_logs_prefix="anchors/",
        )
        self._remember()
        acknowledge(logs, {"AwsSolutions-S1": "This is where the access logs go; a log of the log would never end."})
        for secret in (self.link_keys, self.form_keys, self.sign_in_keys, self.identity_secret):
            acknowledge(
                secret,
                {"AwsSolutions-SMG4": "Rotated by hand: docs/operations.md."},
            )

    def let_into_evidence(self, statement: iam.PolicyStatement) -> None:
        """Add a statement to the evidence bucket's policy, also if the stack did not make the bucket."""
        if policy := self._policies.get("Evidence"):
            policy.document.add_statements(statement)
        else:
            self.evidence.add_to_resource_policy(statement)

    def guard_copies(self, makers: Sequence[str]) -> None:
        """Deny writing copies of approved artifacts to all but the given roles, and overwriting copies to these, too.

        https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html
        """
        for sid, conditions in (
            ("CopiesAreOurs", {"ArnNotEquals": {"aws:PrincipalArn": list(makers)}}),
            ("CopiesStay", _WRITTEN_OVER),
        ):
            self.let_into_evidence(
                iam.PolicyStatement(
                    sid=sid,
                    effect=iam.Effect.DENY,
                    principals=[iam.AnyPrincipal()],
                    actions=["s3:PutObject", "s3:ReplicateObject"],
                    resources=[self.evidence.arn_for_objects(f"{names.COPIES}/*")],
                    conditions=conditions,
                )
            )

    def guard_archives(self) -> None:
        """Deny overwriting archived histories to everybody."""
        self.let_into_evidence(
            iam.PolicyStatement(
                sid="ArchivesStay",
                effect=iam.Effect.DENY,
                principals=[iam.AnyPrincipal()],
                actions=["s3:PutObject", "s3:ReplicateObject"],
                resources=[self.evidence.arn_for_objects(f"{names.ARCHIVES}/*")],
                conditions=_WRITTEN_OVER,
            )
        )

    def guard_runs(self, roles: Mapping[str, str]) -> None:
        """Deny an environment's runs, which have the given `roles`, writing below the folder of another environment.

        A `*` in a policy also matches slashes, so without this a run of dev could write below any folder with the name
        `dev`, such as one below `{group}/prod/{run}/transform/`, whose files prod's score reads.
        """
        for name, role in roles.items():
            # Environments with the same custom role can't be separated.
            others = [other for other, anothers in roles.items() if anothers != role]
            if others:
                self.let_into_evidence(
                    iam.PolicyStatement(
                        sid=f"RunsOf{name.title().replace('-', '')}Stay",
                        effect=iam.Effect.DENY,
                        principals=[iam.AnyPrincipal()],
                        actions=["s3:PutObject"],
                        resources=[self.evidence.arn_for_objects(f"*/{other}/*{name}/*") for other in others],
                        conditions={"ArnEquals": {"aws:PrincipalArn": role}},
                    )
                )

    def _ledger(self) -> dynamodb.ITable:
        if "ledger" in self._kept:
            return dynamodb.Table.from_table_attributes(
                self,
                "Ledger",
                table_name=self._kept["ledger"],
                table_stream_arn=self._kept["stream"],
                global_indexes=[names.BOARD_INDEX],
            )
        # With old images, though nothing reads them: a replica requires them, and a stream's view type can't be
        # changed.
        ledger = _table(self, "Ledger", stream=dynamodb.StreamViewType.NEW_AND_OLD_IMAGES, deletion_protection=True)
        ledger.add_global_secondary_index(
            index_name=names.BOARD_INDEX,
            partition_key=dynamodb.Attribute(name="board_pk", type=_TEXT),
            sort_key=dynamodb.Attribute(name="board_sk", type=_TEXT),
        )
        return ledger

    def _projections(self) -> dynamodb.ITable:
        if "projections" in self._kept:
            return dynamodb.Table.from_table_name(self, "Projections", self._kept["projections"])
        return _table(self, "Projections")

    def _signing_key(self, alias: str) -> kms.IKey:
        name = f"alias/{alias}-signing"
        if "signing_key" in self._kept:
            # The same construct path as before, so that the alias keeps its logical id.
            place = Construct(self, "SigningKey")
            left = kms.Key.from_key_arn(place, "Left", self._kept["signing_key"])
            kms.Alias(place, "Alias", alias_name=name, target_key=left)
            return left
        key = kms.Key(
            self,
            "SigningKey",
            description="Signs what is live",
            key_spec=kms.KeySpec.ECC_NIST_P256,
            key_usage=kms.KeyUsage.SIGN_VERIFY,
            # A multi-Region key costs nothing until it is replicated, and a key can't be converted later.
            multi_region=True,
            removal_policy=RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
        )
        key.add_alias(name)
        return key

    def _left_bucket(self, name: str) -> s3.IBucket | None:
        """Import a retained bucket; its policy was deleted with the stack that made it, and is made again."""
        if name.lower() not in self._kept:
            return None
        place = Construct(self, name)
        left = s3.Bucket.from_bucket_name(place, "Left", self._kept[name.lower()])
        policy = s3.BucketPolicy(place, "Policy", bucket=left)
        for condition in (
            {"Bool": {"aws:SecureTransport": "false"}},
            {"NumericLessThan": {"s3:TlsVersion": 1.2}},
        ):
            policy.document.add_statements(
                iam.PolicyStatement(
                    effect=iam.Effect.DENY,
                    principals=[iam.AnyPrincipal()],
                    actions=["s3:*"],
                    resources=[left.bucket_arn, left.arn_for_objects("*")],
                    conditions=condition,
                )
            )
        self._policies[name] = policy
        return left

    def _remember(self) -> None:
        """Tag the ledger's table, so that its name is enough to find all other resources."""
        belongs = {
            "projections": self.projections.table_name,
            "signing_key": self.signing_key.key_arn,
            "evidence": self.evidence.bucket_name,
            "anchors": self.anchors.bucket_name,
        }
        if "ledger" not in self._kept:
            for word, tag in names.KEPT.items():
                Tags.of(self.ledger).add(tag, belongs[word])


def _keys(scope: Construct, name: str, description: str) -> secretsmanager.Secret:
    return secretsmanager.Secret(
        scope,
        name,
        description=description,
        generate_secret_string=secretsmanager.SecretStringGenerator(
            secret_string_template="{}", generate_string_key="key", password_length=64, exclude_punctuation=True
        ),
    )


def _table(
    scope: Construct,
    name: str,
    *,
    removal_policy: RemovalPolicy = RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
    **settings: object,
) -> dynamodb.Table:
    return dynamodb.Table(
        scope,
        name,
        partition_key=dynamodb.Attribute(name="pk", type=_TEXT),
        sort_key=dynamodb.Attribute(name="sk", type=_TEXT),
        billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
        point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
            point_in_time_recovery_enabled=True
        ),
        encryption=dynamodb.TableEncryption.AWS_MANAGED,
        removal_policy=removal_policy,
        **settings,  # type: ignore[arg-type]
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
        removal_policy=RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
        **settings,  # type: ignore[arg-type]
    )
