"""IAM statements of each function's role; nothing else grants permissions."""

from __future__ import annotations

import re
from collections.abc import Sequence

from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sqs as sqs

from infra.storage import Store
from promotion import names
from promotion.config.loading import Config


def allow(
    actions: Sequence[str], resources: Sequence[str], conditions: dict[str, dict[str, object]] | None = None
) -> iam.PolicyStatement:
    """Return a statement that allows; the roles of this stack have no other kind."""
    return iam.PolicyStatement(actions=list(actions), resources=list(resources), conditions=conditions)


class Permissions:
    """Statements by purpose, so that a role reads as a list of its function's tasks."""

    def __init__(self, stack: Stack, store: Store | None, settings: Config, prefix: str) -> None:
        self._stack = stack
        self._kept = store
        self._settings = settings
        self._prefix = prefix

    @property
    def _store(self) -> Store:
        """The stored resources; an environment's own account has none."""
        assert self._kept is not None
        return self._kept

    def read_ledger(self) -> iam.PolicyStatement:
        table = self._store.ledger.table_arn
        return allow(["dynamodb:GetItem", "dynamodb:Query"], [table, f"{table}/index/{names.BOARD_INDEX}"])

    def read_active_groups(self) -> iam.PolicyStatement:
        """Read the states of many groups by one call."""
        return allow(["dynamodb:BatchGetItem"], [self._store.ledger.table_arn])

    def know_installation(self) -> list[iam.PolicyStatement]:
        """Read when the ledger and the stack's own key were made: older versions are never requested."""
        return [
            allow(["dynamodb:DescribeTable"], [self._store.ledger.table_arn]),
            allow(["kms:DescribeKey"], [self._store.own_key.key_arn]),
        ]

    def append_to_ledger(self) -> iam.PolicyStatement:
        """Put and update, never delete; a transaction is authorised by the actions of its items."""
        return allow(["dynamodb:PutItem", "dynamodb:UpdateItem"], [self._store.ledger.table_arn])

    def read_projections(self) -> iam.PolicyStatement:
        return allow(["dynamodb:Query"], [self._store.projections.table_arn])

    def write_differences(self) -> iam.PolicyStatement:
        """Write the differences of a verification, and no cursor."""
        mine: dict[str, dict[str, object]] = {
            "ForAllValues:StringEquals": {"dynamodb:LeadingKeys": [names.DIFFERENCES_KEY]},
            # `ForAllValues` is also true if the request has no key.
            "Null": {"dynamodb:LeadingKeys": "false"},
        }
        return allow(["dynamodb:PutItem"], [self._store.projections.table_arn], conditions=mine)

    def write_projections(self) -> iam.PolicyStatement:
        """Write cursors, and delayed mail until it is sent."""
        return allow(["dynamodb:Query", "dynamodb:PutItem", "dynamodb:DeleteItem"], [self._store.projections.table_arn])

    def follow_ledger(self) -> list[iam.PolicyStatement]:
        stream = self._store.ledger.table_stream_arn or ""
        return [
            allow(["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"], [stream]),
            allow(["dynamodb:ListStreams"], [f"{self._store.ledger.table_arn}/stream/*"]),
        ]

    def read_public_key(self) -> iam.PolicyStatement:
        return allow(["kms:GetPublicKey"], [self._store.signing_key.key_arn])

    def sign(self) -> iam.PolicyStatement:
        """Sign with the only algorithm of this kind of key, ECDSA with SHA-256."""
        return allow(["kms:Sign"], [self._store.signing_key.key_arn])

    def sign_changes(self) -> list[iam.PolicyStatement]:
        """Sign with former keys too, because a key rotation is signed by both keys."""
        former = [each.key_id for each in self._settings.signing.former if each.key_id.startswith("arn:")]
        return [allow(["kms:Sign"], former)] if former else []

    def describe_packages(self) -> iam.PolicyStatement:
        return allow(["sagemaker:DescribeModelPackage"], self.packages())

    def list_packages(self) -> iam.PolicyStatement:
        return allow(["sagemaker:ListModelPackages", "sagemaker:ListModelPackageGroups"], ["*"])

    def write_registry(self) -> list[iam.PolicyStatement]:
        """Update model packages, restricted to the projector's own statuses, fields and stages."""
        environments = self._settings.environment_names
        fields: dict[str, object] = {
            f"sagemaker:CustomerMetadataProperties/{environment}": list(names.STATUSES) for environment in environments
        }
        return [
            allow(["sagemaker:DescribeModelPackage"], self.packages()),
            allow(
                ["sagemaker:UpdateModelPackage"],
                self.packages(),
                {
                    "StringEqualsIfExists": {
                        "sagemaker:ModelApprovalStatus": [names.PENDING, names.APPROVED, names.REJECTED],
                        "sagemaker:ModelLifeCycle:Stage": list(environments),
                        **fields,
                    }
                },
            ),
        ]

    def read_artifacts(self) -> list[iam.PolicyStatement]:
        buckets = self.artifact_buckets()
        return [
            allow(["s3:GetObject", "s3:GetObjectVersion"], [f"{bucket}/*" for bucket in buckets]),
            allow(["s3:ListBucket", "s3:GetBucketLocation"], buckets),
            *self.decrypt(self._settings.artifacts.keys),
        ]

    def resolve_images(self) -> iam.PolicyStatement:
        """Read the digests of images that packages name by a tag, in any account."""
        stack = self._stack
        return allow(["ecr:BatchGetImage"], [f"arn:{stack.partition}:ecr:{stack.region}:*:repository/*"])

    def read_registered_metrics(self) -> list[iam.PolicyStatement]:
        """Read the documents of registered metrics, beside the artifacts, to detect that they were replaced."""
        buckets = self.artifact_buckets()
        return [
            allow(["s3:GetObject"], [f"{bucket}/*.json" for bucket in buckets]),
            # Without ListBucket, a missing document is a 403.
            allow(["s3:ListBucket"], buckets),
            *self.decrypt(self._settings.artifacts.keys),
        ]

    def read_evidence(self) -> list[iam.PolicyStatement]:
        """Read evidence; without ListBucket a missing object would be a 403 rather than a 404.

        This covers the evidence bucket, and `[inference] bucket`, which manual runs write to, with the keys of outputs.
        """
        evidence, own = self._store.evidence.bucket_arn, self._settings.inference.bucket
        # Only below score/, because the same bucket may contain artifacts and inputs.
        places = [f"{evidence}/*", *([f"{self.bucket(own)}/*/score/*"] if own else [])]
        return [
            allow(["s3:GetObject"], places),
            allow(["s3:ListBucket"], [evidence, *([self.bucket(own)] if own else [])]),
            *self.decrypt(self._settings.output_keys),
        ]

    def decrypt(self, keys: Sequence[str]) -> list[iam.PolicyStatement]:
        """Decrypt objects in S3 that are encrypted with KMS keys."""
        via: dict[str, dict[str, object]] = {
            "StringEquals": {"kms:ViaService": f"s3.{self._stack.region}.{self._stack.url_suffix}"}
        }
        return [allow(["kms:Decrypt"], list(keys), via)] if keys else []

    def find_inputs(self) -> list[iam.PolicyStatement]:
        """List the inputs of inference runs; only the job reads them."""
        buckets = [self.bucket(name) for name in self._settings.data_buckets]
        return [allow(["s3:ListBucket"], buckets)] if buckets else []

    def bucket(self, name: str) -> str:
        """Return the ARN of a bucket."""
        return f"arn:{self._stack.partition}:s3:::{name}"

    def keep_manifests(self) -> iam.PolicyStatement:
        """Write lists of artifacts' members, each under its own digest, which readers check."""
        return allow(["s3:PutObject"], [f"{self._store.evidence.bucket_arn}/{names.MANIFESTS}/*"])

    def keep_attestations(self) -> iam.PolicyStatement:
        return allow(["s3:PutObject"], [f"{self._store.evidence.bucket_arn}/{names.ATTESTATIONS}/*"])

    def read_histories(self) -> list[iam.PolicyStatement]:
        """Read the events of folded runs, and archived histories; without ListBucket a missing object is a 403."""
        bucket = self._store.evidence.bucket_arn
        places = [f"{bucket}/{names.FOLDED_RUNS}/*", f"{bucket}/{names.ARCHIVES}/*"]
        return [allow(["s3:GetObject"], places), allow(["s3:ListBucket"], [bucket])]

    def keep_checkpoints(self) -> iam.PolicyStatement:
        """Read and write the checkpoints of verifications; their proof is among the anchors."""
        return allow(["s3:GetObject", "s3:PutObject"], [f"{self._store.evidence.bucket_arn}/{names.CHECKPOINTS}/*"])

    def fold_runs(self) -> list[iam.PolicyStatement]:
        """Write the events of folded runs, and delete the pages of histories that contained them."""
        return [
            allow(["s3:PutObject"], [f"{self._store.evidence.bucket_arn}/{names.FOLDED_RUNS}/*"]),
            allow(["ssm:DeleteParameter"], [self.arn("ssm", f"parameter{self._prefix}/*/versions/*/history/*")]),
        ]

    def archive_histories(self) -> list[iam.PolicyStatement]:
        """Write histories to S3, and delete the parameters of archived versions.

        Histories that are already archived are continued there without `[history] keep_versions`, too.
        """
        keep = allow(["s3:PutObject"], [f"{self._store.evidence.bucket_arn}/{names.ARCHIVES}/*"])
        if self._settings.history.keep_versions is None:
            return [keep]
        return [keep, allow(["ssm:DeleteParameter"], [self.arn("ssm", f"parameter{self._prefix}/*/versions/*")])]

    def write_run_context(self) -> iam.PolicyStatement:
        return allow(["s3:PutObject"], [f"{self._store.evidence.bucket_arn}/*/context/*"])

    def keep_copies(self) -> list[iam.PolicyStatement]:
        """Make and find copies of approved artifacts."""
        bucket = self._store.evidence.bucket_arn
        return [
            allow(["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"], [f"{bucket}/{names.COPIES}/*"]),
            # To read the approved object versions of a folder of files.
            allow(["s3:GetObject"], [f"{bucket}/{names.MANIFESTS}/*"]),
            # Without ListBucket, a missing copy is a 403.
            allow(["s3:ListBucket"], [bucket]),
        ]

    def write_reports(self) -> list[iam.PolicyStatement]:
        """Write teams' own evaluations if reporters are configured; never into the folder of a run."""
        place = f"{self._store.evidence.bucket_arn}/*/report-*/score/*"
        return [allow(["s3:PutObject"], [place])] if self._settings.inference.reporters else []

    def write_anchors(self) -> iam.PolicyStatement:
        return allow(["s3:PutObject"], [f"{self._store.anchors.bucket_arn}/*"])

    def read_anchors(self) -> iam.PolicyStatement:
        """List the names of anchors, of all object versions, so that a delete marker doesn't hide an anchor."""
        return allow(["s3:ListBucketVersions"], [self._store.anchors.bucket_arn])

    def read_parameters(self) -> iam.PolicyStatement:
        return allow(["ssm:GetParameter", "ssm:GetParametersByPath"], self._parameters())

    def write_parameters(self) -> iam.PolicyStatement:
        return allow(["ssm:PutParameter"], self._parameters()[:1])

    def send_mail(self, configuration_set: str) -> iam.PolicyStatement:
        """Send from the sender's address only; in its sandbox SES checks the recipients' identities too."""
        return allow(
            ["ses:SendEmail", "ses:SendRawEmail"],
            [self.arn("ses", "identity/*"), self.arn("ses", f"configuration-set/{configuration_set}")],
            {"StringEquals": {"ses:FromAddress": self._settings.mail.sender}},
        )

    def invoke(self, function_arn: str) -> iam.PolicyStatement:
        return allow(["lambda:InvokeFunction"], [function_arn])

    def send(self, *queues: sqs.IQueue) -> iam.PolicyStatement:
        return allow(["sqs:SendMessage"], [queue.queue_arn for queue in queues])

    def consume(self, queue: sqs.IQueue) -> iam.PolicyStatement:
        return allow(
            ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes"],
            [queue.queue_arn],
        )

    def publish(self, bus_arn: str, *sources: str) -> iam.PolicyStatement:
        wanted = list(sources) if len(sources) > 1 else sources[0]
        return allow(["events:PutEvents"], [bus_arn], {"StringEquals": {"events:source": wanted}})

    def publish_events(self, bus_arn: str) -> iam.PolicyStatement:
        """Put this service's events on its bus, and messages for channels where there are any."""
        return self.publish(bus_arn, names.EVENT_SOURCE, *([names.CHANNELS_SOURCE] if self._settings.channels else []))

    def describe_runs(self) -> iam.PolicyStatement:
        """Describe the jobs of our own runs, for the time of their instances."""
        jobs = [self.arn("sagemaker", f"{kind}/{names.SERVICE}-*") for kind in ("transform-job", "processing-job")]
        return allow(["sagemaker:DescribeTransformJob", "sagemaker:DescribeProcessingJob"], jobs)

    def follow_monitors(self) -> list[iam.PolicyStatement]:
        """Read Model Monitor's jobs, whose names are not known before they are made, and its reports."""
        monitors = self._settings.drift.monitors
        reports = sorted({f"{self.bucket(monitor.bucket)}/*" for monitor in monitors if monitor.bucket is not None})
        jobs = [allow(["sagemaker:DescribeProcessingJob"], [self.arn("sagemaker", "processing-job/*")])]
        return [*(jobs if monitors else []), *([allow(["s3:GetObject"], reports)] if reports else [])]

    def start_retraining(self) -> list[iam.PolicyStatement]:
        """Start the pipelines for retraining after drift, each by its ARN."""
        pipelines = sorted({retraining.pipeline for retraining in self._settings.drift.retraining.values()})
        return [allow(["sagemaker:StartPipelineExecution"], pipelines)] if pipelines else []

    def tell_channels(self) -> list[iam.PolicyStatement]:
        """Publish to the channels' topics, and read the secrets of webhooks, each by its ARN."""
        channels = self._settings.channels.values()
        topics = sorted({channel.topic for channel in channels if channel.topic is not None})
        secrets = sorted({channel.webhook_secret for channel in channels if channel.webhook_secret is not None})
        return [
            *([allow(["sns:Publish"], topics)] if topics else []),
            *([allow(["secretsmanager:GetSecretValue"], secrets)] if secrets else []),
        ]

    def share_groups(self) -> list[iam.PolicyStatement]:
        """Write the policies of governed groups, so that other accounts' pipelines can read the groups."""
        groups = [self.arn("sagemaker", f"model-package-group/{name}") for name in self._group_names()]
        actions = ["sagemaker:GetModelPackageGroupPolicy", "sagemaker:PutModelPackageGroupPolicy"]
        return [allow(actions, groups)] if self._settings.cross_account else []

    def act_elsewhere(self, purpose: str) -> list[iam.PolicyStatement]:
        """Assume the roles for a purpose in the environments' own accounts."""
        roles = [
            f"arn:{self._stack.partition}:iam::{account}:role/{names.environment_role(self._prefix, name, purpose)}"
            for name, account in self._settings.cross_account.items()
        ]
        return [allow(["sts:AssumeRole"], roles)] if roles else []

    def run_jobs(self) -> list[iam.PolicyStatement]:
        """Permissions of every SageMaker job's role: image, logs, metrics, network, volumes."""
        stack, settings = self._stack, self._settings.inference
        keys = [key for key in (settings.volume_key, settings.output_key) if key]
        interfaces = ("CreateNetworkInterface", "CreateNetworkInterfacePermission", "DeleteNetworkInterface",
                      "DeleteNetworkInterfacePermission")  # fmt: skip
        described = ("NetworkInterfaces", "Subnets", "SecurityGroups", "Vpcs", "DhcpOptions")
        # The ARN of a subnet or security group that is shared by RAM contains the owner's account.
        any_account = f"arn:{stack.partition}:ec2:{stack.region}:*"
        network = [
            allow([f"ec2:Describe{what}" for what in described], ["*"]),
            allow(
                [f"ec2:{action}" for action in interfaces],
                [
                    self.arn("ec2", "network-interface/*"),
                    *(f"{any_account}:subnet/{subnet}" for subnet in settings.subnets),
                    *(f"{any_account}:security-group/{group}" for group in settings.security_groups),
                ],
            ),
        ]
        volumes = [
            allow(["kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey"], keys),
            # Only grants by SageMaker for the volumes of its instances.
            allow(["kms:CreateGrant"], keys, {"Bool": {"kms:GrantIsForAWSResource": "true"}}),
        ]
        return [
            allow(
                ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"],
                [self.arn("logs", "log-group:/aws/sagemaker/*")],
            ),
            # Only SageMaker's namespaces, so that a model can't put metrics of this service's alarms.
            allow(["cloudwatch:PutMetricData"], ["*"], {"StringLike": {"cloudwatch:namespace": ["/aws/sagemaker/*"]}}),
            allow(["ecr:GetAuthorizationToken"], ["*"]),
            # An approved package names its image, which may be in one of AWS's own accounts.
            allow(
                ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability"],
                [f"arn:{stack.partition}:ecr:{stack.region}:*:repository/*"],
            ),
            *(network if settings.subnets else []),
            *(volumes if keys else []),
            *self.decrypt(self._settings.artifacts.keys),
        ]

    def start_hashing(self, role_arn: str) -> list[iam.PolicyStatement]:
        """Start the jobs that hash large artifacts, write their input, and read their output."""
        jobs = [self.arn("sagemaker", f"processing-job/{names.HASH_JOBS}*")]
        return [
            allow(["sagemaker:CreateProcessingJob", "sagemaker:DescribeProcessingJob"], jobs),
            allow(["iam:PassRole"], [role_arn], {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}),
            allow(["s3:GetObject"], [f"{self._store.evidence.bucket_arn}/{names.HASHES}/*"]),
            allow(["s3:PutObject"], [f"{self._store.evidence.bucket_arn}/{names.HASHES}/*.plan.json"]),
        ]

    def packages(self) -> list[str]:
        """Return the ARNs of the packages in governed groups."""
        return [self.arn("sagemaker", f"model-package/{name}/*") for name in self._group_names()]

    def _group_names(self) -> list[str]:
        """Return the groups' names unchanged and in lower case.

        SageMaker's ARNs have them in lower case, but IAM has compared the unchanged names since about April 2023:
        https://github.com/aws-samples/ml-edge-getting-started/issues/18
        """
        patterns = [_iam_pattern(group) for group in self._settings.groups]
        return list(dict.fromkeys(name for pattern in patterns for name in (pattern, pattern.lower())))

    def artifact_buckets(self) -> list[str]:
        """Return the ARNs of the artifacts' buckets; of SageMaker's default bucket if none is configured."""
        stack = self._stack
        buckets = self._settings.artifacts.buckets or (f"sagemaker-{stack.region}-{stack.account}",)
        return [f"arn:{stack.partition}:s3:::{bucket}" for bucket in buckets]

    def arn(self, service: str, resource: str) -> str:
        stack = self._stack
        return f"arn:{stack.partition}:{service}:{stack.region}:{stack.account}:{resource}"

    def _parameters(self) -> list[str]:
        """Return the ARNs of all parameters below the prefix, and of the prefix itself, for reads by path."""
        return [self.arn("ssm", f"parameter{self._prefix}/*"), self.arn("ssm", f"parameter{self._prefix}")]


def _iam_pattern(pattern: str) -> str:
    """Return an fnmatch pattern as IAM's: `[ab]`, which IAM doesn't have, becomes `?`, any single character."""
    return re.sub(r"\[[^\]]*\]", "?", pattern)
