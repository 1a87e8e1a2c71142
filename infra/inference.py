"""Inference of each environment: the machine, its role, and its triggers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from infra import machine
from infra.permissions import Permissions, allow
from promotion import names
from promotion.config.loading import Config
from promotion.config.settings import Environment, duration


class InferenceMachine(Construct):
    """The machine of one environment, with an execution role that writes below that environment only."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        environment: Environment,
        settings: Config,
        permissions: Permissions,
        evidence: s3.IBucket,
        bus: events.IEventBus,
        prepare: lambda_.IFunction,
        machine_name: str,
        role_names: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(scope, name)
        self._environment = environment
        self._bus = bus
        self._names = role_names or {}
        wanted = settings.inference
        self.execution_role: iam.IRole = (
            iam.Role.from_role_arn(self, "ExecutionRole", environment.execution_role, mutable=False)
            if environment.execution_role
            else self._execution_role(settings, permissions, evidence)
        )
        log_group = logs.LogGroup(
            self,
            "Log",
            # Below this path, Step Functions needs no statement for each log group in the resource policy of at most
            # 5,120 characters.
            log_group_name=f"/aws/vendedlogs/states/{machine_name}",
            retention=logs.RetentionDays.ONE_YEAR,
            removal_policy=RemovalPolicy.DESTROY,
        )
        told: dict[str, Any] = {
            "environment": environment.name,
            "execution_role_arn": self.execution_role.role_arn,
            "evidence_bucket": evidence.bucket_name,
            "subnets": list(wanted.subnets),
            "security_groups": list(wanted.security_groups),
        }
        stack = Stack.of(self)
        role = iam.Role(
            self,
            "Role",
            role_name=self._names.get("machine"),
            assumed_by=iam.ServicePrincipal(
                "states.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": stack.account}}
            ),
        )
        for statement in self._may(permissions, prepare):
            role.add_to_policy(statement)
        self.role: iam.IRole = role
        self.machine = sfn.StateMachine(
            self,
            "Machine",
            state_machine_name=machine_name,
            state_machine_type=sfn.StateMachineType.STANDARD,
            role=role,
            # json.dumps, because the CDK's own to_json_string drops None: without `"ResultPath": null` the next state
            # would lose its input.
            definition_body=sfn.DefinitionBody.from_string(
                json.dumps(
                    machine.definition(
                        environment=environment.name,
                        prepare_function=prepare.function_arn,
                        bus=bus.event_bus_name,
                        settings=told,
                        longest_transform=duration(wanted.longest_transform),
                    )
                ).replace('"arn:aws:states:', f'"arn:{stack.partition}:states:')
            ),
            logs=sfn.LogOptions(destination=log_group, level=sfn.LogLevel.ALL, include_execution_data=False),
            tracing_enabled=True,
        )

    def failures(self) -> dict[str, cloudwatch.Metric]:
        """Return the metrics of failed and of timed-out runs (which can't report), by the name of their alarm."""
        period = Duration.minutes(5)
        return {
            "InferenceFailed": self.machine.metric_failed(period=period),
            "InferenceTimedOut": self.machine.metric_timed_out(period=period),
        }

    def start_on_promotion(self, undelivered: sqs.IQueue, *, scheduled: bool) -> None:
        """Start a run whenever a version goes live here, and by the schedule if there is one."""
        events.Rule(
            self,
            "OnPromotion",
            description=f"Starts the inference machine of {self._environment.name}",
            event_bus=self._bus,
            event_pattern=events.EventPattern(
                source=[names.EVENT_SOURCE, *([names.SCHEDULE_SOURCE] if scheduled else [])],
                detail_type=[
                    names.MODEL_PROMOTED,
                    names.MODEL_ROLLED_BACK,
                    *([names.RUN_SCHEDULED] if scheduled else []),
                ],
                detail={"environment": [self._environment.name]},
            ),
            targets=[
                targets.SfnStateMachine(
                    self.machine,
                    input=events.RuleTargetInput.from_object(
                        {
                            "group": events.EventField.from_path("$.detail.model_package_group"),
                            "environment": events.EventField.from_path("$.detail.environment"),
                        }
                    ),
                    dead_letter_queue=undelivered,
                )
            ],
        )

    def _may(self, permissions: Permissions, prepare: lambda_.IFunction) -> list[iam.PolicyStatement]:
        arn = permissions.arn
        # The names come from prepare_inference and begin with the service's prefix, so that the role can't access other
        # jobs.
        ours = f"{names.SERVICE}-*"
        return [
            permissions.invoke(prepare.function_arn),
            permissions.publish(self._bus.event_bus_arn, names.INFERENCE_SOURCE),
            allow(["sagemaker:CreateModel", "sagemaker:DeleteModel"], [arn("sagemaker", f"model/{ours}")]),
            allow(
                ["sagemaker:CreateTransformJob", "sagemaker:DescribeTransformJob", "sagemaker:StopTransformJob"],
                [arn("sagemaker", f"transform-job/{ours}")],
            ),
            allow(
                ["sagemaker:CreateProcessingJob", "sagemaker:DescribeProcessingJob", "sagemaker:StopProcessingJob"],
                [arn("sagemaker", f"processing-job/{ours}")],
            ),
            allow(
                ["iam:PassRole"],
                [self.execution_role.role_arn],
                {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}},
            ),
        ]

    def _execution_role(self, settings: Config, permissions: Permissions, evidence: s3.IBucket) -> iam.Role:
        stack = Stack.of(self)
        role = iam.Role(
            self,
            "ExecutionRole",
            role_name=self._names.get("execution"),
            description=f"What the models of {self._environment.name} run as",
            assumed_by=iam.ServicePrincipal(
                "sagemaker.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": stack.account}}
            ),
        )
        data = [permissions.bucket(name) for name in settings.data_buckets]
        readable = list(dict.fromkeys([*permissions.artifact_buckets(), *data]))
        written = evidence.bucket_arn
        for statement in [
            allow(["s3:GetObject", "s3:GetObjectVersion"], [f"{bucket}/*" for bucket in readable]),
            allow(["s3:ListBucket", "s3:GetBucketLocation"], [*readable, written]),
            # {group}/{environment}/{run_id}/…, so that a run in dev can't change the evidence for prod.
            allow(
                ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"],
                [f"{written}/*/{self._environment.name}/*"],
            ),
            allow(["s3:GetObject"], [f"{written}/{names.COPIES}/*"]),
            *permissions.run_jobs(),
        ]:
            role.add_to_policy(statement)
        return role
