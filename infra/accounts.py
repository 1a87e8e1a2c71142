"""Environments in accounts of their own: what they hold, what they may reach here, and what the owners of buckets must add."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.events import Wiring
from infra.functions import Functions
from infra.image import InferenceImage
from infra.storage import Store
from promotion import names
from promotion.config.loading import Config

PULL = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability")


class Elsewhere:
    """Names that both sides know before either is deployed: what one account's policy says of another's roles."""

    def __init__(self, settings: Config, prefix: str) -> None:
        self.settings = settings
        self.prefix = prefix
        self.service = names.installation(prefix)
        self.account = settings.registry.account or ""
        self.region = settings.registry.region or ""

    @property
    def evidence_bucket(self) -> str:
        return f"{self.service}-evidence-{self.account}-{self.region}"

    def here(self, service: str, resource: str) -> str:
        """An ARN in the registry's account."""
        return f"arn:aws:{service}:{'' if service == 'iam' else self.region}:{self.account}:{resource}"

    def there(self, environment: str, service: str, resource: str) -> str:
        """An ARN in the account of an environment."""
        account = self.settings.elsewhere[environment]
        return f"arn:aws:{service}:{'' if service == 'iam' else self.region}:{account}:{resource}"

    def role(self, environment: str, purpose: str) -> str:
        """ARN of a role there; who brings an execution role has named it."""
        own = next(each.execution_role for each in self.settings.environments if each.name == environment)
        if purpose == "execution" and own:
            return own
        return self.there(environment, "iam", f"role/{names.environment_role(self.prefix, environment, purpose)}")

    def roles(self, purpose: str) -> list[str]:
        return [self.role(environment, purpose) for environment in self.settings.elsewhere]

    def function_role(self, module: str) -> str:
        """ARN of the role of a function of ours."""
        return self.here("iam", f"role/{self.service}-{module.replace('_', '-')}")

    def machine(self, environment: str) -> str:
        return f"{self.service}-inference-{environment}"

    @property
    def machines(self) -> dict[str, str]:
        """ARNs of the inference machines in other accounts."""
        return {
            name: self.there(name, "states", f"stateMachine:{self.machine(name)}") for name in self.settings.elsewhere
        }

    def owners_statements(self) -> dict[str, list[dict[str, Any]]]:
        """What the owners of buckets and keys that this app didn't make have to add to their policies, by file name."""
        readers = {"AWS": self.roles("execution")}
        found: dict[str, list[dict[str, Any]]] = {}
        for bucket in sorted({*self.settings.artifacts.buckets, self.settings.inference.bucket} - {""}):
            found[f"bucket-{bucket}"] = [
                {
                    "Sid": "PromotionReads",
                    "Effect": "Allow",
                    "Principal": readers,
                    "Action": ["s3:GetObject", "s3:GetObjectVersion"],
                    "Resource": f"arn:aws:s3:::{bucket}/*",
                },
                {
                    "Sid": "PromotionLists",
                    "Effect": "Allow",
                    "Principal": readers,
                    "Action": ["s3:ListBucket", "s3:GetBucketLocation"],
                    "Resource": f"arn:aws:s3:::{bucket}",
                },
            ]
        found["key-of-artifacts"] = [
            {
                "Sid": "PromotionDecrypts",
                "Effect": "Allow",
                "Principal": readers,
                "Action": ["kms:Decrypt", "kms:DescribeKey"],
                "Resource": "*",
                "Condition": {"StringEquals": {"kms:ViaService": f"s3.{self.region}.amazonaws.com"}},
            }
        ]
        for key, users in sorted(self._foreign_keys().items()):
            principal = {"AWS": users}
            found[f"key-{key.rpartition('/')[2]}"] = [
                {
                    "Sid": "PromotionEncrypts",
                    "Effect": "Allow",
                    "Principal": principal,
                    "Action": ["kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey"],
                    "Resource": "*",
                },
                {
                    "Sid": "PromotionGrants",
                    "Effect": "Allow",
                    "Principal": principal,
                    "Action": ["kms:CreateGrant"],
                    "Resource": "*",
                    "Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}},
                },
            ]
        found["repository-of-images"] = [
            {"Sid": "PromotionPulls", "Effect": "Allow", "Principal": readers, "Action": list(PULL)}
        ]
        return found

    def _foreign_keys(self) -> dict[str, list[str]]:
        """Keys of volumes and outputs that are in another account than the jobs', and the roles that use them."""
        found: dict[str, list[str]] = {}
        for environment, account in self.settings.elsewhere.items():
            inference = self.settings.at(environment).inference
            for key in sorted({inference.volume_key, inference.output_key} - {None, ""}, key=str):
                if str(key).split(":")[4:5] != [account]:
                    found.setdefault(str(key), []).append(self.role(environment, "execution"))
        return found

    def write(self, folder: Path) -> None:
        """Those statements as files, for their owners."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, statements in self.owners_statements().items():
            document = {"Version": "2012-10-17", "Statement": statements}
            (folder / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def share(
    scope: Construct,
    far: Elsewhere,
    wiring: Wiring,
    store: Store,
    functions: Functions,
    image: InferenceImage | None,
) -> None:
    """The registry account's side: events to and fro, evidence written, the image pulled, runs prepared."""
    if not far.settings.elsewhere:
        return
    forwarder = iam.Role(
        scope,
        "Forwarder",
        role_name=f"{far.service}-forwarder",
        description="Tells the environments' accounts what happened",
        assumed_by=iam.ServicePrincipal(
            "events.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": far.account}}
        ),
    )
    for environment in far.settings.elsewhere:
        title = _title(environment)
        bus = events.EventBus.from_event_bus_arn(
            scope, f"BusOf{title}", far.there(environment, "events", f"event-bus/{far.service}")
        )
        events.Rule(
            scope,
            f"To{title}",
            description=f"Tells the account of {environment}",
            event_bus=wiring.bus,
            # A revocation belongs to no environment, and concerns all.
            event_pattern=events.EventPattern(
                source=[names.EVENT_SOURCE], detail={"environment": [environment, {"exists": False}]}
            ),
            targets=[targets.EventBus(bus, role=forwarder, dead_letter_queue=wiring.undelivered)],
        )
        store.let_into_evidence(
            iam.PolicyStatement(
                sid=f"Runs{title}",
                principals=[iam.ArnPrincipal(far.role(environment, "execution"))],
                actions=["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"],
                resources=[store.evidence.arn_for_objects(f"*/{environment}/*")],
            )
        )
        functions["prepare_inference"].add_permission(
            f"From{title}", principal=iam.ArnPrincipal(far.role(environment, "machine"))
        )
    executing = [iam.ArnPrincipal(role) for role in far.roles("execution")]
    store.let_into_evidence(
        iam.PolicyStatement(
            sid="RunsList",
            principals=executing,
            actions=["s3:ListBucket", "s3:GetBucketLocation"],
            resources=[store.evidence.bucket_arn],
        )
    )
    if image is not None:
        image.repository.add_to_resource_policy(
            iam.PolicyStatement(sid="RunsPull", principals=executing, actions=list(PULL))
        )
    sources = [names.INFERENCE_SOURCE]
    if any(far.settings.rung(environment).endpoint is not None for environment in far.settings.elsewhere):
        # What SageMaker says of endpoints keeps SageMaker's name on its way here.
        sources.append(names.SAGEMAKER_SOURCE)
    wiring.bus.add_to_resource_policy(
        iam.PolicyStatement(
            sid="RunsReport",
            principals=[iam.AccountPrincipal(account) for account in sorted(set(far.settings.elsewhere.values()))],
            actions=["events:PutEvents"],
            resources=[wiring.bus.event_bus_arn],
            conditions={
                "StringEquals": {"events:source": sources},
                "ArnEquals": {"aws:PrincipalArn": far.roles("reporter")},
            },
        )
    )


def _title(environment: str) -> str:
    return environment.title().replace("-", "")
