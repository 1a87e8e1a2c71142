"""Real-time endpoints: the function that deploys the live version to them, its triggers, and its permissions.

These resources exist only if an environment has an endpoint configured. The endpoints themselves aren't resources of the
stack, because the ledger, and not a deployment, determines which ones exist.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aws_cdk import Duration, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda_destinations as destinations
from constructs import Construct

from infra.events import Wiring
from infra.functions import Functions, Size
from infra.inference import InferenceMachine
from infra.permissions import Permissions, allow
from infra.storage import Store
from promotion import names
from promotion.config.loading import Config
from promotion.config.settings import Environment

MODULE = "on_live_changed"
# The longest time until the effect of a lost event is repaired.
SWEEP = Duration.minutes(5)


class Endpoints(Construct):
    """The function that deploys live versions to endpoints, in the account of each environment."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        settings: Config,
        prefix: str,
        role_elsewhere: Callable[[str, str], str],
        functions: Functions,
        permissions: Permissions,
        store: Store,
        wiring: Wiring,
        machines: Mapping[str, InferenceMachine],
        inference_image: str,
    ) -> None:
        super().__init__(scope, name)
        self._functions, self._wiring = functions, wiring
        served = [each for each in settings.environments if each.endpoint is not None]
        here = [each for each in served if each.name in machines]
        # It may have to copy the live artifact first.
        functions.add(MODULE, Size(900))
        roles = {
            each.name: machines[each.name].execution_role.role_arn
            if each.name in machines
            else role_elsewhere(each.name, "execution")
            for each in served
        }
        functions.set_environment(
            MODULE,
            **{
                names.LEDGER_TABLE: store.ledger.table_name,
                names.SIGNING_KEY_ARN: store.signing_key.key_arn,
                names.RECORD_FUNCTION: functions["record"].function_name,
                names.EVIDENCE_BUCKET: store.evidence.bucket_name,
                names.INFERENCE_IMAGE: inference_image,
                names.EXECUTION_ROLES: Stack.of(self).to_json_string(roles),
            },
        )
        functions.grant(
            MODULE,
            [
                permissions.read_ledger(),
                permissions.read_parameters(),
                permissions.read_public_key(),
                permissions.invoke(functions["record"].function_arn),
                *permissions.read_artifacts(),
                *permissions.keep_copies(),
                *permissions.act_elsewhere("reader"),
                *(permissions.act_elsewhere("endpoints") if len(here) < len(served) else []),
            ],
        )
        for each in here:
            functions.grant(MODULE, may_serve(permissions, each, settings.at(each.name), prefix, roles[each.name]))
            machines[each.name].execution_role.add_to_principal_policy(may_roll_back(permissions, each, prefix))
        self._wake(here, prefix, elsewhere=len(here) < len(served))

    def _wake(self, here: list[Environment], prefix: str, *, elsewhere: bool) -> None:
        """Trigger on the ledger's events about models, SageMaker's about endpoints, and every few minutes for lost ones."""
        live = [names.MODEL_PROMOTED, names.MODEL_ROLLED_BACK, names.MODEL_REVOKED]
        asked = {"status": [names.ENDPOINT_REMOVED, names.ENDPOINT_RESTORED]}
        self._rule("OnLiveChanged", events.EventPattern(source=[names.EVENT_SOURCE], detail_type=live), ours=True)
        self._rule(
            "OnEndpointAsked",
            events.EventPattern(source=[names.EVENT_SOURCE], detail_type=[names.ENDPOINT_CHANGED], detail=asked),
            ours=True,
        )
        if here:
            begin = [{"prefix": endpoint_names(each, prefix).partition("*")[0]} for each in here]
            self._rule(
                "OnEndpointChanged",
                events.EventPattern(
                    source=[names.SAGEMAKER_SOURCE],
                    detail_type=list(names.ENDPOINT_STATE_CHANGES),
                    detail={"EndpointName": begin},
                ),
            )
        if elsewhere:
            # Forwarded by the environments' accounts, which forward only events about this service's endpoints.
            told = events.EventPattern(source=[names.SAGEMAKER_SOURCE], detail_type=list(names.ENDPOINT_STATE_CHANGES))
            self._rule("OnEndpointElsewhere", told, ours=True)
        events.Rule(
            self,
            "Sweep",
            description=f"Starts lambdas/handlers/{MODULE}.py for what no event told",
            schedule=events.Schedule.rate(SWEEP),
            targets=[self._target()],
        )
        self._functions[MODULE].configure_async_invoke(
            on_failure=destinations.SqsDestination(self._wiring.undelivered), retry_attempts=2
        )

    def _rule(self, name: str, pattern: events.EventPattern, *, ours: bool = False) -> None:
        events.Rule(
            self,
            name,
            description=f"Starts lambdas/handlers/{MODULE}.py",
            event_bus=self._wiring.bus if ours else None,
            event_pattern=pattern,
            targets=[self._target()],
        )

    def _target(self) -> targets.LambdaFunction:
        return targets.LambdaFunction(
            self._functions[MODULE],
            dead_letter_queue=self._wiring.undelivered,
            retry_attempts=185,
            max_event_age=Duration.hours(24),
        )


def endpoint_names(environment: Environment, prefix: str) -> str:
    """Return IAM patterns of the names of an environment's endpoints."""
    assert environment.endpoint is not None
    return names.endpoint_pattern(environment.endpoint.name, prefix, environment.name).replace("{group}", "*")


def may_serve(
    permissions: Permissions, environment: Environment, settings: Config, prefix: str, role_arn: str
) -> list[iam.PolicyStatement]:
    """Return the permissions to manage an environment's endpoints, and no others."""
    pattern, hosted = endpoint_names(environment, prefix), names.hosted_prefix(prefix, environment.name)
    endpoint = permissions.arn("sagemaker", f"endpoint/{pattern}")
    config, model = (permissions.arn("sagemaker", f"{kind}/{hosted}*") for kind in ("endpoint-config", "model"))
    key = settings.inference.volume_key
    return [
        allow(["sagemaker:DescribeEndpoint", "sagemaker:DeleteEndpoint"], [endpoint]),
        allow(["sagemaker:CreateEndpoint", "sagemaker:UpdateEndpoint"], [endpoint, config]),
        allow(
            ["sagemaker:CreateEndpointConfig", "sagemaker:DescribeEndpointConfig", "sagemaker:DeleteEndpointConfig"],
            [config],
        ),
        allow(["sagemaker:CreateModel", "sagemaker:DeleteModel"], [model]),
        allow(["sagemaker:AddTags", "sagemaker:ListTags"], [endpoint, config, model]),
        allow(["sagemaker:ListEndpointConfigs", "sagemaker:ListModels"], ["*"]),
        allow(
            ["cloudwatch:PutMetricAlarm", "cloudwatch:DeleteAlarms"],
            [permissions.arn("cloudwatch", f"alarm:{pattern}-*")],
        ),
        allow(["iam:PassRole"], [role_arn], {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}),
        # SageMaker uses the caller's permission to create a grant on the key of the instances' volumes.
        *(
            [
                allow(["kms:CreateGrant"], [key], {"Bool": {"kms:GrantIsForAWSResource": "true"}}),
                allow(["kms:DescribeKey"], [key]),
            ]
            if key
            else []
        ),
    ]


def may_roll_back(permissions: Permissions, environment: Environment, prefix: str) -> iam.PolicyStatement:
    """Return the permission by which SageMaker reads the alarms of a deployment.

    https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-configuration.html
    """
    alarms = permissions.arn("cloudwatch", f"alarm:{endpoint_names(environment, prefix)}-*")
    return allow(["cloudwatch:DescribeAlarms"], [alarms])
