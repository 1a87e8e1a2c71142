"""The event buses of several accounts, and their policies, in stacks that are deployed before all others.

EventBridge checks the target bus and its policy when a rule's target is put, and the accounts' rules point at each other's
buses: with a bus and its rules in one stack, no order of deployment would work.
https://github.com/aws/aws-cdk/issues/3323
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aws_cdk import Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.accounts import CrossAccount
from infra.events import of_reporters
from infra.schedule import PUBLISHERS, RUNS
from promotion import names


class BusStack(Stack):
    """A bus onto which only the roles in `writers`, in the accounts `senders`, may put events."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        bus_name: str,
        description: str,
        senders: Sequence[str],
        sources: Sequence[str],
        writers: Sequence[str],
        reporters: Sequence[str] = (),
        **stack: Any,
    ) -> None:
        super().__init__(scope, name, description=description, **stack)
        bus = events.EventBus(self, "Bus", event_bus_name=bus_name, description=description)
        # By account, without a condition on the role, because PutTargets in the other account is checked against this
        # statement. The deny statements restrict it.
        bus.add_to_resource_policy(
            iam.PolicyStatement(
                sid="OtherAccountsTell",
                principals=[iam.AccountPrincipal(account) for account in senders],
                actions=["events:PutEvents"],
                resources=[bus.event_bus_arn],
            )
        )
        bus.add_to_resource_policy(
            iam.PolicyStatement(
                sid="NobodyElse",
                effect=iam.Effect.DENY,
                principals=[iam.AnyPrincipal()],
                actions=["events:PutEvents"],
                resources=[bus.event_bus_arn],
                conditions={"ArnNotLike": {"aws:PrincipalArn": [*writers, *reporters, *self._deployers(senders)]}},
            )
        )
        bus.add_to_resource_policy(
            iam.PolicyStatement(
                sid="NothingElse",
                effect=iam.Effect.DENY,
                principals=[iam.AnyPrincipal()],
                actions=["events:PutEvents"],
                resources=[bus.event_bus_arn],
                conditions={
                    "StringEquals": {"aws:PrincipalAccount": list(senders)},
                    "StringNotEquals": {"events:source": [*sources, *([names.REPORT_SOURCE] if reporters else [])]},
                    # The check of PutTargets has no event, and so no source.
                    "Null": {"events:source": "false"},
                },
            )
        )
        for statement in of_reporters(bus.event_bus_arn, reporters, [*writers, *self._deployers(senders)]):
            bus.add_to_resource_policy(statement)

    def _deployers(self, senders: Sequence[str]) -> list[str]:
        """Return the deployment roles and account roots, which can administer their account anyway."""
        return [
            f"arn:{self.partition}:iam::{account}:{principal}"
            for account in senders
            for principal in ("root", f"role/cdk-*-cfn-exec-role-{account}-*")
        ]


def registry_bus(scope: Construct, far: CrossAccount, **stack: Any) -> BusStack:
    """Make the bus of the service's account; its functions and machines and the environments' reporters write to it."""
    settings = far.settings
    sources = [names.INFERENCE_SOURCE]
    if any(settings.base_environment(environment).endpoint is not None for environment in settings.cross_account):
        # SageMaker's events about endpoints keep their source when they are forwarded.
        sources.append(names.SAGEMAKER_SOURCE)
    publishers = [name for name in PUBLISHERS if name != RUNS or settings.inference.schedule is not None]
    machines = [
        far.here("iam", f"role/{names.environment_role(far.prefix, each.name, 'machine')}")
        for each in settings.environments
        if each.name not in settings.cross_account
    ]
    return BusStack(
        scope,
        f"{far.service}-EventBus",
        bus_name=far.service,
        description="What happened to models",
        senders=sorted(set(settings.cross_account.values())),
        sources=sources,
        writers=[*map(far.function_role, publishers), *machines, *far.roles("reporter")],
        reporters=settings.inference.reporters,
        **stack,
    )


def environment_bus(scope: Construct, far: CrossAccount, environment: str, **stack: Any) -> BusStack:
    """Make the bus of an environment's account; the service's forwarder and the machine there write to it."""
    return BusStack(
        scope,
        f"{far.service}-{environment}-EventBus",
        bus_name=far.service,
        description=f"What happened to models in {environment}",
        senders=[far.account],
        sources=far.announced,
        writers=[far.here("iam", f"role/{far.service}-forwarder"), far.role(environment, "machine")],
        **stack,
    )
