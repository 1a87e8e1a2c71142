"""Environments in accounts of their own: what they hold, what they may reach here, and what the owners of buckets must add."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aws_cdk import CfnOutput, Duration, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.acknowledged import acknowledge, explain_wildcards
from infra.endpoints import MODULE, may_roll_back, may_serve
from infra.functions import Functions
from infra.image import InferenceImage
from infra.inference import InferenceMachine
from infra.monitoring import watch_machine
from infra.permissions import Permissions, allow
from infra.store import Store
from infra.wiring import Wiring
from promotion import names
from promotion.config import Config

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
    wiring.bus.add_to_resource_policy(
        iam.PolicyStatement(
            sid="RunsReport",
            principals=[iam.AccountPrincipal(account) for account in sorted(set(far.settings.elsewhere.values()))],
            actions=["events:PutEvents"],
            resources=[wiring.bus.event_bus_arn],
            conditions={
                "StringEquals": {"events:source": names.INFERENCE_SOURCE},
                "ArnEquals": {"aws:PrincipalArn": far.roles("reporter")},
            },
        )
    )


class EnvironmentStack(Stack):
    """One environment in its own account: its bus, its inference machine, and the roles by which we reach its parameters."""

    def __init__(self, scope: Construct, name: str, *, environment: str, far: Elsewhere, **stack: Any) -> None:
        super().__init__(scope, name, **stack)
        self._environment, self._far = environment, far
        settings = far.settings.at(environment)
        self.bus = events.EventBus(
            self, "Bus", event_bus_name=far.service, description=f"What happened to models in {environment}"
        )
        undelivered = sqs.Queue(
            self,
            "Undelivered",
            queue_name=names.far_queue(far.prefix, environment),
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.days(14),
        )
        acknowledge(undelivered, {"AwsSolutions-SQS3": "This is a dead-letter queue: of this account's rules."})
        permissions = Permissions(self, None, settings, far.prefix)
        live = [permissions.arn("ssm", f"parameter{far.prefix}/*/{environment}/live")]
        below = [permissions.arn("ssm", f"parameter{far.prefix}{tail}") for tail in ("", "/*")]
        self._opened("writer", ["on_projection_due"], [allow(["ssm:GetParameter", "ssm:PutParameter"], live)])
        reading = [allow(["ssm:GetParameter"], live), allow(["ssm:GetParametersByPath"], below)]
        rung = next(each for each in far.settings.environments if each.name == environment)
        served = rung.endpoint is not None
        readers = ["prepare_inference", "verify", *([MODULE] if served else [])]
        self._opened("reader", readers, reading)
        self.machine = InferenceMachine(
            self,
            "Inference",
            environment=rung,
            settings=settings,
            permissions=permissions,
            evidence=s3.Bucket.from_bucket_name(self, "Evidence", far.evidence_bucket),
            bus=self.bus,
            prepare=lambda_.Function.from_function_arn(
                self, "Prepare", far.here("lambda", f"function:{far.service}-prepare-inference")
            ),
            machine_name=far.machine(environment),
            image=None,
            role_names={
                purpose: names.environment_role(far.prefix, environment, purpose)
                for purpose in ("machine", "execution")
            },
        )
        self.machine.start_on_promotion(undelivered)
        if served:
            role = self.machine.execution_role
            self._opened("endpoints", [MODULE], may_serve(permissions, rung, settings, far.prefix, role.role_arn))
            role.add_to_principal_policy(may_roll_back(permissions, rung, far.prefix))
        if schedule := far.settings.inference.schedule:
            self.machine.start_on_schedule(schedule, far.settings.groups, undelivered)
        self._report(undelivered)
        self._guard()
        topic = watch_machine(self, self.machine, undelivered, names.far_topic(far.prefix, environment))
        self._open_to_operators(permissions, live, undelivered, topic)
        for output, value, description in (
            ("MachineArn", self.machine.machine.state_machine_arn, "Runs what is live here"),
            ("AlarmTopic", topic.topic_arn, "Subscribe whoever answers for this account to the machine's alarms"),
        ):
            CfnOutput(self, output, value=value, description=description)
        explain_wildcards(self)

    def _open_to_operators(
        self, permissions: Permissions, live: list[str], undelivered: sqs.IQueue, topic: sns.ITopic
    ) -> None:
        """What `promotion verify` and `doctor` look at by command; it writes nothing."""
        far = self._far
        principals = list(far.settings.operators.principals)
        if not principals:
            return
        below = [permissions.arn("ssm", f"parameter{far.prefix}{tail}") for tail in ("", "/*")]
        bootstrap = permissions.arn("ssm", "parameter/cdk-bootstrap/*/version")
        self._role_for(
            "operator",
            "How operators look at what is here, by command",
            {"ArnLike": {"aws:PrincipalArn": principals}},
            [
                allow(["ssm:GetParameter"], [*live, bootstrap]),
                allow(["ssm:GetParametersByPath"], below),
                allow(["servicequotas:ListServiceQuotas", "servicequotas:ListAWSDefaultServiceQuotas"], ["*"]),
                allow(["states:DescribeStateMachine"], [self.machine.machine.state_machine_arn]),
                allow(["sqs:GetQueueUrl", "sqs:GetQueueAttributes"], [undelivered.queue_arn]),
                allow(["sns:ListSubscriptionsByTopic"], [topic.topic_arn]),
            ],
        )

    def _opened(self, purpose: str, modules: list[str], statements: list[iam.PolicyStatement]) -> None:
        """A role that the named functions take on, and only for this environment."""
        callers = [self._far.function_role(module) for module in modules]
        description = f"How the service's account {'writes' if purpose == 'writer' else 'reads'} what is live here"
        self._role_for(purpose, description, {"ArnEquals": {"aws:PrincipalArn": callers}}, statements)

    def _role_for(
        self,
        purpose: str,
        description: str,
        conditions: dict[str, dict[str, Any]],
        statements: list[iam.PolicyStatement],
    ) -> None:
        far = self._far
        role = iam.Role(
            self,
            purpose.title(),
            role_name=names.environment_role(far.prefix, self._environment, purpose),
            description=description,
            # Of the account, by a condition on the role: this stack is there before the roles that it names.
            assumed_by=iam.PrincipalWithConditions(
                iam.AccountPrincipal(far.account),
                {
                    **conditions,
                    "StringEquals": {"sts:ExternalId": names.external_id(far.prefix, self._environment)},
                },
            ),
        )
        for statement in statements:
            role.add_to_policy(statement)

    def _report(self, undelivered: sqs.IQueue) -> None:
        """What a run found goes to the service's bus."""
        far = self._far
        home = far.here("events", f"event-bus/{far.service}")
        role = iam.Role(
            self,
            "Reporter",
            role_name=names.environment_role(far.prefix, self._environment, "reporter"),
            description="Reports inference runs to the service's account",
            assumed_by=iam.ServicePrincipal(
                "events.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": self.account}}
            ),
        )
        events.Rule(
            self,
            "Report",
            description="Reports inference runs to the service's account",
            event_bus=self.bus,
            event_pattern=events.EventPattern(source=[names.INFERENCE_SOURCE]),
            targets=[
                targets.EventBus(
                    events.EventBus.from_event_bus_arn(self, "Home", home), role=role, dead_letter_queue=undelivered
                )
            ],
        )

    def _guard(self) -> None:
        """Only the service's account tells here what happened, and only the machine what it ran."""
        far = self._far
        forwarder = far.here("iam", f"role/{far.service}-forwarder")
        bus = self.bus.event_bus_arn
        self.bus.add_to_resource_policy(
            iam.PolicyStatement(
                sid="TheServiceTells",
                principals=[iam.AccountPrincipal(far.account)],
                actions=["events:PutEvents"],
                resources=[bus],
                conditions={
                    "StringEquals": {"events:source": names.EVENT_SOURCE},
                    "ArnEquals": {"aws:PrincipalArn": forwarder},
                },
            )
        )
        self.bus.add_to_resource_policy(
            iam.PolicyStatement(
                sid="NobodyElse",
                effect=iam.Effect.DENY,
                principals=[iam.AnyPrincipal()],
                actions=["events:PutEvents"],
                resources=[bus],
                conditions={
                    "ArnNotEquals": {"aws:PrincipalArn": [forwarder, far.role(self._environment, "machine")]},
                },
            )
        )


def _title(environment: str) -> str:
    return environment.title().replace("-", "")
