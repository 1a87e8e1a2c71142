"""The stack of an environment in its own account."""

from __future__ import annotations

from typing import Any

from aws_cdk import CfnOutput, Duration, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from infra.accounts import CrossAccount
from infra.cdk_nag import acknowledge, explain_wildcards
from infra.endpoints import MODULE, endpoint_names, may_roll_back, may_serve
from infra.inference import InferenceMachine
from infra.monitoring import watch_machine
from infra.permissions import Permissions, allow
from promotion import names


class EnvironmentStack(Stack):
    """An environment in its own account: its bus, its inference machine, and the roles for access to its parameters."""

    def __init__(self, scope: Construct, name: str, *, environment: str, far: CrossAccount, **stack: Any) -> None:
        super().__init__(scope, name, **stack)
        self._environment, self._far = environment, far
        self._configured = configured = far.settings.base_environment(environment)
        settings = far.settings.at(environment)
        # The previous stack makes the bus and its policy: infra/buses.py.
        self.bus = events.EventBus.from_event_bus_arn(
            self, "Bus", far.there(environment, "events", f"event-bus/{far.service}")
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
        writing = [allow(["ssm:GetParameter", "ssm:PutParameter"], live)]
        reading = [allow(["ssm:GetParameter"], live), allow(["ssm:GetParametersByPath"], below)]
        served = configured.endpoint is not None
        readers = ["prepare_inference", "verify", *([MODULE] if served else [])]
        self._opened("writer", "writes what is live here", ["on_projection_due"], writing)
        self._opened("reader", "reads what is live here", readers, reading)
        self.machine = InferenceMachine(
            self,
            "Inference",
            environment=configured,
            settings=settings,
            permissions=permissions,
            evidence=s3.Bucket.from_bucket_name(self, "Evidence", far.evidence_bucket),
            bus=self.bus,
            prepare=lambda_.Function.from_function_arn(
                self, "Prepare", far.here("lambda", f"function:{far.service}-prepare-inference")
            ),
            machine_name=far.machine(environment),
            role_names={
                purpose: names.environment_role(far.prefix, environment, purpose)
                for purpose in ("machine", "execution")
            },
        )
        self.machine.start_on_promotion(undelivered, scheduled=far.settings.inference.schedule is not None)
        if served:
            role = self.machine.execution_role
            serving = may_serve(permissions, configured, settings, far.prefix, role.role_arn)
            self._opened("endpoints", "serves what is live here", [MODULE], serving)
            role.add_to_principal_policy(may_roll_back(permissions, configured, far.prefix))
        self._report(undelivered)
        topic = watch_machine(self, self.machine, undelivered, names.far_topic(far.prefix, environment))
        self._open_to_operators(permissions, reading, undelivered, topic)
        ssm.StringParameter(
            self,
            "Environment",
            description="The environment that this account belongs to, for promotion resolve",
            parameter_name=names.environment_parameter(far.prefix, environment),
            string_value=far.account,
        )
        for output, value, description in (
            ("MachineArn", self.machine.machine.state_machine_arn, "Runs what is live here"),
            ("AlarmTopic", topic.topic_arn, "Subscribe whoever answers for this account to the machine's alarms"),
        ):
            CfnOutput(self, output, value=value, description=description)
        explain_wildcards(self)

    def _open_to_operators(
        self, permissions: Permissions, reading: list[iam.PolicyStatement], undelivered: sqs.IQueue, topic: sns.ITopic
    ) -> None:
        """Make the read-only role for `promotion verify` and `doctor`."""
        principals = list(self._far.settings.operators.principals)
        if not principals:
            return
        bootstrap = permissions.arn("ssm", "parameter/cdk-bootstrap/*/version")
        self._role_for(
            "operator",
            "How operators look at what is here, by command",
            {"ArnLike": {"aws:PrincipalArn": principals}},
            [
                *reading,
                allow(["ssm:GetParameter"], [bootstrap]),
                allow(["servicequotas:ListServiceQuotas", "servicequotas:ListAWSDefaultServiceQuotas"], ["*"]),
                allow(["states:DescribeStateMachine"], [self.machine.machine.state_machine_arn]),
                allow(["sqs:GetQueueUrl", "sqs:GetQueueAttributes"], [undelivered.queue_arn]),
                allow(["sns:ListSubscriptionsByTopic"], [topic.topic_arn]),
            ],
        )

    def _opened(self, purpose: str, does: str, modules: list[str], statements: list[iam.PolicyStatement]) -> None:
        """Make a role that the named functions may assume, for this environment only."""
        callers = [self._far.function_role(module) for module in modules]
        description = f"How the service's account {does}"
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
            # The account is the principal, with a condition on the role, because this stack is deployed before those
            # roles.
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
        """Forward results of runs and states of endpoints to the service's bus."""
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
        reported = targets.EventBus(
            events.EventBus.from_event_bus_arn(self, "Home", home), role=role, dead_letter_queue=undelivered
        )
        events.Rule(
            self,
            "Report",
            description="Reports inference runs to the service's account",
            event_bus=self.bus,
            event_pattern=events.EventPattern(source=[names.INFERENCE_SOURCE]),
            targets=[reported],
        )
        if self._configured.endpoint is not None:
            begin = endpoint_names(self._configured, far.prefix).partition("*")[0]
            events.Rule(
                self,
                "ReportEndpoints",
                description="Tells the service's account how endpoints fare",
                event_pattern=events.EventPattern(
                    source=[names.SAGEMAKER_SOURCE],
                    detail_type=list(names.ENDPOINT_STATE_CHANGES),
                    detail={"EndpointName": [{"prefix": begin}]},
                ),
                targets=[reported],
            )
