"""The schedule of inference runs: one rule, and the function that sends an event for a run of each live model.

These resources exist only if `[inference] schedule` is set. There is one rule for all groups, because a bus has at most
300:
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html
"""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_lambda_destinations as destinations
from constructs import Construct

from infra.events import Wiring
from infra.functions import Functions, Size
from infra.permissions import Permissions
from promotion import names

RUNS = "schedule_runs"
# Functions that put events onto the service's bus.
PUBLISHERS = ("on_projection_due", RUNS)


def schedule_runs(
    scope: Construct,
    schedule: str,
    functions: Functions,
    permissions: Permissions,
    wiring: Wiring,
    ledger: dynamodb.ITable,
) -> None:
    """Make the function and the rule that starts it."""
    functions.add(RUNS, Size(300))
    bus = wiring.bus
    functions.set_environment(RUNS, **{names.LEDGER_TABLE: ledger.table_name, names.EVENT_BUS_NAME: bus.event_bus_name})
    functions.grant(RUNS, [permissions.read_ledger(), permissions.publish(bus.event_bus_arn, names.SCHEDULE_SOURCE)])
    # Not retried automatically, because the runs that were announced before the error would start a second time.
    functions[RUNS].configure_async_invoke(on_failure=destinations.SqsDestination(wiring.undelivered), retry_attempts=0)
    events.Rule(
        scope,
        "ScheduledRuns",
        description=f"Starts lambdas/handlers/{RUNS}.py",
        schedule=events.Schedule.expression(schedule),
        targets=[
            targets.LambdaFunction(
                functions[RUNS],
                dead_letter_queue=wiring.undelivered,
                retry_attempts=185,
                max_event_age=Duration.hours(24),
            )
        ],
    )
