"""Event sources of the functions: rules, the ledger's stream, the queue, schedules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_destinations as destinations
from aws_cdk import aws_lambda_event_sources as sources
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.cdk_nag import acknowledge
from infra.functions import SIZES, Functions
from infra.storage import Store
from promotion import names
from promotion.config.loading import Config

# Parameter Store accepts 3 writes a second from the whole account, so that more projectors would only wait for each
# other.
PROJECTORS = 4
# Concurrent calls of `verify`; few, because pipelines use the ledger, the registry and Parameter Store at the same
# time.
VERIFIERS = 4
# Registrations that are read and hashed at once; few, because decisions and pages share the account's concurrency.
REGISTRARS = 4
# After this many tries, a person must handle a registration; the function has it retried within a minute.
REGISTRATION_TRIES = 5


class Wiring(Construct):
    """Queues, the bus, and all triggers of functions except the HTTP API."""

    def __init__(self, scope: Construct, name: str, *, bus_name: str, bus_arn: str | None = None) -> None:
        super().__init__(scope, name)
        # With several accounts, the bus and its policy are in a separate stack: infra/buses.py.
        self.bus: events.IEventBus = (
            events.EventBus.from_event_bus_arn(self, "Bus", bus_arn)
            if bus_arn
            else events.EventBus(self, "Bus", event_bus_name=bus_name, description="What happened to models")
        )
        self.dead_letters = sqs.Queue(
            self,
            "DeadLetters",
            fifo=True,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.days(14),
            # Not retained after a failed deployment, because the remaining queue would block the next one.
            removal_policy=RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE,
        )
        self.wake = sqs.Queue(
            self,
            "Wake",
            fifo=True,
            content_based_deduplication=False,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            visibility_timeout=Duration.seconds(6 * SIZES["on_projection_due"].timeout_s),
            retention_period=Duration.days(14),
            dead_letter_queue=sqs.DeadLetterQueue(queue=self.dead_letters, max_receive_count=5),
        )
        # A standard queue, because a FIFO queue can't be the dead-letter queue of EventBridge or of a stream.
        self.undelivered = sqs.Queue(
            self,
            "Undelivered",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.days(14),
        )
        # Lists of groups that one call of `verify` leaves to the next.
        self.verifications = sqs.Queue(
            self,
            "Verifications",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            visibility_timeout=Duration.seconds(6 * SIZES["verify"].timeout_s),
            dead_letter_queue=sqs.DeadLetterQueue(queue=self.undelivered, max_receive_count=3),
        )
        acknowledge(
            self.undelivered,
            {"AwsSolutions-SQS3": "This is a dead-letter queue: of rules, schedules and the ledger's stream."},
        )
        self.registrations = sqs.Queue(
            self,
            "Registrations",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            # Longer than the function's time-out: the function may still be working on the message until then.
            visibility_timeout=Duration.seconds(SIZES["on_model_registered"].timeout_s + 60),
            retention_period=Duration.days(14),
            dead_letter_queue=sqs.DeadLetterQueue(queue=self.undelivered, max_receive_count=REGISTRATION_TRIES),
        )
        # Wake-up messages of delayed mail, in a standard queue, because a FIFO queue can't delay single messages.
        self.later = sqs.Queue(
            self,
            "Later",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            visibility_timeout=Duration.seconds(6 * SIZES["on_ledger_appended"].timeout_s),
            retention_period=Duration.days(14),
            dead_letter_queue=sqs.DeadLetterQueue(queue=self.undelivered, max_receive_count=5),
        )

    def connect(
        self, functions: Functions, store: Store, *, groups: tuple[str, ...], reporters: tuple[str, ...]
    ) -> None:
        """Connect each function to the event in its name."""
        for module, statuses in (
            ("on_model_registered", [names.PENDING]),
            ("on_approval_changed", [names.APPROVED, names.REJECTED]),
        ):
            detail: dict[str, Any] = {"ModelApprovalStatus": statuses}
            if patterns := group_patterns(groups):
                detail["ModelPackageGroupName"] = patterns
            events.Rule(
                self,
                "".join(word.title() for word in module.split("_")),
                description=f"Starts lambdas/handlers/{module}.py",
                event_pattern=events.EventPattern(
                    source=[names.SAGEMAKER_SOURCE], detail_type=[names.PACKAGE_STATE_CHANGE], detail=detail
                ),
                targets=[
                    self._registrations() if module == "on_model_registered" else self._function(functions, module)
                ],
            )
        events.Rule(
            self,
            "OnHashingEnded",
            description="Starts lambdas/handlers/on_model_registered.py again: the job that hashes a large artifact has ended",
            event_pattern=events.EventPattern(
                source=[names.SAGEMAKER_SOURCE],
                detail_type=[names.PROCESSING_STATE_CHANGE],
                detail={
                    "ProcessingJobStatus": ["Completed", "Failed", "Stopped"],
                    "ProcessingJobName": [{"prefix": names.HASH_JOBS}],
                },
            ),
            targets=[self._registrations()],
        )
        events.Rule(
            self,
            "OnInferenceCompleted",
            description="Starts lambdas/handlers/on_inference_completed.py",
            event_bus=self.bus,
            event_pattern=events.EventPattern(
                source=[names.INFERENCE_SOURCE, *([names.REPORT_SOURCE] if reporters else [])],
                detail_type=[names.INFERENCE_COMPLETED],
            ),
            targets=[self._function(functions, "on_inference_completed")],
        )
        for module, schedule in (
            ("sweep", events.Schedule.rate(Duration.minutes(5))),
            ("verify", events.Schedule.rate(Duration.days(1))),
        ):
            events.Rule(
                self,
                module.title(),
                description=f"Starts lambdas/handlers/{module}.py",
                schedule=schedule,
                targets=[self._function(functions, module)],
            )
        # EventBridge's delivery ends when Lambda accepts the event; an event at which the function fails three times
        # goes here.
        for module in (
            "on_approval_changed",
            "on_inference_completed",
            "on_monitoring_completed",
            "on_drift_detected",
            "on_event_published",
            "sweep",
            "verify",
        ):
            functions[module].configure_async_invoke(
                on_failure=destinations.SqsDestination(self.undelivered), retry_attempts=2
            )
        functions["on_ledger_appended"].add_event_source_mapping(
            "LedgerStream",
            event_source_arn=store.ledger.table_stream_arn,
            starting_position=lambda_.StartingPosition.TRIM_HORIZON,
            batch_size=100,
            bisect_batch_on_error=True,
            retry_attempts=10,
            report_batch_item_failures=True,
            # One wake-up for each change of a group's head is enough; other items of the transaction are filtered out.
            filters=[
                lambda_.FilterCriteria.filter(
                    {"dynamodb": {"Keys": {"sk": {"S": lambda_.FilterRule.is_equal("HEAD")}}}}
                )
            ],
            on_failure=sources.SqsDlq(self.undelivered),
        )
        mappings: tuple[tuple[str, str, sqs.Queue, int | None, bool | None], ...] = (
            ("on_ledger_appended", "LaterQueue", self.later, None, True),
            ("on_model_registered", "RegistrationsQueue", self.registrations, REGISTRARS, None),
            ("on_projection_due", "WakeQueue", self.wake, PROJECTORS, True),
            ("verify", "Verifications", self.verifications, VERIFIERS, None),
        )
        for module, name, queue, at_once, single_failures in mappings:
            functions[module].add_event_source_mapping(
                name,
                event_source_arn=queue.queue_arn,
                batch_size=1,
                max_concurrency=at_once,
                report_batch_item_failures=single_failures,
            )

    def follow_drift(self, functions: Functions, settings: Config) -> None:
        """Add triggers for drift, if the configuration has monitors or retraining."""
        if settings.drift.monitors:
            events.Rule(
                self,
                "OnMonitoringCompleted",
                description="Starts lambdas/handlers/on_monitoring_completed.py",
                event_pattern=events.EventPattern(
                    source=[names.SAGEMAKER_SOURCE],
                    detail_type=[names.PROCESSING_STATE_CHANGE],
                    # Only the job itself shows whether it is a monitor's; our own jobs never are.
                    detail={
                        "ProcessingJobStatus": ["Completed"],
                        "ProcessingJobName": [{"anything-but": {"prefix": "promotion-"}}],
                    },
                ),
                targets=[self._function(functions, "on_monitoring_completed")],
            )
        if settings.drift.retraining:
            events.Rule(
                self,
                "OnDriftDetected",
                description="Starts lambdas/handlers/on_drift_detected.py",
                event_bus=self.bus,
                event_pattern=events.EventPattern(
                    source=[names.EVENT_SOURCE],
                    detail_type=[names.DRIFT_DETECTED],
                    detail={"retraining": [{"exists": True}]},
                ),
                targets=[self._function(functions, "on_drift_detected")],
            )

    def tell_channels(self, functions: Functions, settings: Config) -> None:
        """Make one rule for each channel, so that each is retried separately."""
        for name, channel in settings.channels.items():
            detail = {"model_package_group": patterns} if (patterns := group_patterns(channel.groups)) else None
            events.Rule(
                self,
                f"Channel{name.title().replace('-', '')}",
                description=f"Tells {name}: starts lambdas/handlers/on_event_published.py",
                event_bus=self.bus,
                event_pattern=events.EventPattern(
                    source=[names.EVENT_SOURCE, names.CHANNELS_SOURCE],
                    detail_type=list(channel.events or names.PUBLISHED),
                    detail=detail,
                ),
                targets=[
                    self._function(
                        functions,
                        "on_event_published",
                        events.RuleTargetInput.from_object(
                            {
                                "channel": name,
                                "source": events.EventField.from_path("$.source"),
                                "detail": events.EventField.from_path("$.detail"),
                            }
                        ),
                    )
                ],
            )

    def guard_bus(self, writers: Sequence[str], reporters: Sequence[str]) -> None:
        """Deny PutEvents to all but `writers`, so that an identity policy alone is not enough to forge an event.

        `reporters` may put events about their own evaluations.
        """
        if not isinstance(self.bus, events.EventBus):
            return
        self.bus.add_to_resource_policy(
            iam.PolicyStatement(
                sid="OnlyThePipelines",
                effect=iam.Effect.DENY,
                principals=[iam.AnyPrincipal()],
                actions=["events:PutEvents"],
                resources=[self.bus.event_bus_arn],
                conditions={"ArnNotEquals": {"aws:PrincipalArn": [*writers, *reporters]}},
            )
        )
        for statement in of_reporters(self.bus.event_bus_arn, reporters, writers):
            self.bus.add_to_resource_policy(statement)

    def _registrations(self) -> targets.SqsQueue:
        return targets.SqsQueue(
            self.registrations,
            dead_letter_queue=self.undelivered,
            retry_attempts=185,
            max_event_age=Duration.hours(24),
        )

    def _function(
        self, functions: Functions, module: str, given: events.RuleTargetInput | None = None
    ) -> targets.LambdaFunction:
        return targets.LambdaFunction(
            functions[module],
            event=given,
            dead_letter_queue=self.undelivered,
            retry_attempts=185,
            max_event_age=Duration.hours(24),
        )


def of_reporters(bus: str, reporters: Sequence[str], writers: Sequence[str]) -> list[iam.PolicyStatement]:
    """Allow reporters to put events under their own source only, and no events of `writers`."""
    if not reporters:
        return []
    accounts = sorted({arn.split(":")[4] for arn in reporters if arn.count(":") > 4} - {"", "*"})
    named = [account for account in accounts if account.isdecimal()]
    let_in = iam.PolicyStatement(
        sid="ReportersTell",
        principals=[iam.AccountPrincipal(account) for account in named],
        actions=["events:PutEvents"],
        resources=[bus],
        conditions={
            "ArnLike": {"aws:PrincipalArn": list(reporters)},
            "StringEquals": {"events:source": names.REPORT_SOURCE},
        },
    )
    nothing_else = iam.PolicyStatement(
        sid="ReportersOnlyReport",
        effect=iam.Effect.DENY,
        principals=[iam.AnyPrincipal()],
        actions=["events:PutEvents"],
        resources=[bus],
        conditions={
            "ArnLike": {"aws:PrincipalArn": list(reporters)},
            "ArnNotLike": {"aws:PrincipalArn": list(writers)},
            "StringNotEquals": {"events:source": names.REPORT_SOURCE},
        },
    )
    return [*([let_in] if named else []), nothing_else]


def group_patterns(groups: tuple[str, ...]) -> list[Any]:
    """Return `groups` as EventBridge patterns; empty if it can't match them, as the function checks groups anyway."""
    if any(pattern == "*" or "?" in pattern or "[" in pattern for pattern in groups):
        return []
    return [{"wildcard": pattern} if "*" in pattern else pattern for pattern in groups]
