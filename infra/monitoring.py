"""Alarms and a dashboard. Every alarm is described in docs/operations.md, which a test checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from infra.cdk_nag import acknowledge
from infra.events import Wiring
from infra.functions import Functions
from infra.inference import InferenceMachine
from infra.mail import Sender
from infra.storage import Store
from promotion import names
from promotion.config.loading import Config, duration

_FIVE_MINUTES = Duration.minutes(5)
_AT_LEAST = cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD


def alarm_topic(scope: Construct, topic_name: str | None = None) -> sns.Topic:
    """Make the SNS topic of all alarms, and of the projector's messages about dead-lettered groups.

    The operators of the service subscribe to it.
    """
    topic = sns.Topic(scope, "Alarms", topic_name=topic_name, enforce_ssl=True)
    topic.add_to_resource_policy(
        iam.PolicyStatement(
            actions=["sns:Publish"],
            resources=[topic.topic_arn],
            principals=[iam.ServicePrincipal("cloudwatch.amazonaws.com")],
        )
    )
    acknowledge(
        topic,
        {"AwsSolutions-SNS2": "It carries names of alarms. CloudWatch can't publish through AWS's own key for SNS."},
    )
    return topic


def watch_machine(scope: Construct, made: InferenceMachine, undelivered: sqs.IQueue, topic_name: str) -> sns.Topic:
    """Add alarms to an environment's own account: for runs that could not report, and for undelivered events."""
    topic = alarm_topic(scope, topic_name)
    waiting = undelivered.metric_approximate_number_of_messages_visible(period=_FIVE_MINUTES, statistic="Maximum")
    for name, metric in {**made.failures(), "Undelivered": waiting}.items():
        alarm = cloudwatch.Alarm(
            scope,
            f"{name}Alarm",
            metric=metric,
            threshold=1,
            evaluation_periods=1,
            comparison_operator=_AT_LEAST,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
            alarm_description=f"{name}: docs/operations.md says what it means and what to do.",
        )
        alarm.add_alarm_action(actions.SnsAction(topic))
    return topic


def _reported(environment: str, installation: str) -> cloudwatch.Metric:
    """Return the metric of failed runs in another account, which lambdas/handlers/on_inference_completed.py counts."""
    return cloudwatch.Metric(
        namespace=names.METRICS_NAMESPACE,
        metric_name=names.FAILED_RUNS_METRIC,
        dimensions_map={"environment": environment, "service": installation},
        statistic="Sum",
        period=_FIVE_MINUTES,
    )


def longest_wait_hours(settings: Config) -> float:
    """Return the hours after which no request can be open: longest lifetime, freeze windows, and one for the sweep."""
    lives = [environment.expires_after for environment in settings.environments]
    changed = [each for override in settings.groups_override.values() for each in override.environments.values()]
    lives += [each.expires_after for each in changed if each.expires_after is not None]
    frozen = sum((window.end - window.start for window in settings.freeze), timedelta())
    return (max(map(duration, lives)) + frozen) / timedelta(hours=1) + 1


class Monitoring(Construct):
    """Alarms and the dashboard."""

    def __init__(
        self,
        scope: Construct,
        name: str,
        *,
        functions: Functions,
        wiring: Wiring,
        machines: Mapping[str, InferenceMachine],
        elsewhere: Sequence[str],
        installation: str,
        sender: Sender,
        topic: sns.ITopic,
        api_id: str,
        store: Store,
        settings: Config,
    ) -> None:
        super().__init__(scope, name)
        self.topic = topic
        # A dimension of every metric, because there may be two installations in one account.
        self._installation = installation
        self._alarms: list[cloudwatch.Alarm] = []
        self._queues(wiring)
        self._functions(functions)
        self._api(api_id)
        self._answers()
        self._tables(store)
        self._limits(settings)
        # The machine's own metrics in this account; the metrics of reported runs for other accounts.
        failures = {name: made.failures() for name, made in machines.items()}
        failures |= {name: {"InferenceFailed": _reported(name, installation)} for name in elsewhere}
        for environment, metrics in failures.items():
            for name, failed in metrics.items():
                self._alarm(name + environment.title().replace("-", ""), failed, 1)
        for title, metric in (("MailBounced", "Bounce"), ("MailComplained", "Complaint"), ("MailRejected", "Reject")):
            self._alarm(title, sender.metric(metric).with_(period=_FIVE_MINUTES), 1)
        self._verification()
        self._dashboard(functions, wiring, sender, api_id)

    def _queues(self, wiring: Wiring) -> None:
        for name, queue in (("DeadLetters", wiring.dead_letters), ("Undelivered", wiring.undelivered)):
            visible = queue.metric_approximate_number_of_messages_visible(period=_FIVE_MINUTES, statistic="Maximum")
            self._alarm(name, visible, 1)
        waiting = wiring.wake.metric_approximate_age_of_oldest_message(period=_FIVE_MINUTES, statistic="Maximum")
        self._alarm("ProjectionLate", waiting, 600)
        registering = wiring.registrations.metric_approximate_age_of_oldest_message(
            period=_FIVE_MINUTES, statistic="Maximum"
        )
        # Longer than a function needs to hash the largest artifact.
        self._alarm("RegistrationLate", registering, 1800)

    def _functions(self, functions: Functions) -> None:
        """Add alarms for errors of each function, and for the lag of the stream's reader."""
        for module, function in functions.by_name.items():
            title = "".join(word.title() for word in module.split("_"))
            self._alarm(f"{title}Errors", function.metric_errors(period=_FIVE_MINUTES), 1)
        # Without a dimension, because an alarm has at most ten metrics; it counts all functions of the account.
        throttled = cloudwatch.Metric(
            namespace="AWS/Lambda", metric_name="Throttles", statistic="Sum", period=_FIVE_MINUTES
        )
        self._alarm("Throttled", throttled, 1)
        behind = functions["on_ledger_appended"].metric(
            "IteratorAge", statistic="Maximum", period=_FIVE_MINUTES, unit=cloudwatch.Unit.MILLISECONDS
        )
        self._alarm("StreamLate", behind, 60_000)

    def _api(self, api_id: str) -> None:
        self._alarm("ApiErrors", self._of_api("5xx", api_id), 1)

    def _of_api(self, metric: str, api_id: str) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace="AWS/ApiGateway",
            metric_name=metric,
            dimensions_map={"ApiId": api_id},
            statistic="Sum",
            period=_FIVE_MINUTES,
        )

    def _answers(self) -> None:
        """Add alarms for errors that people see but no function counts as its own: pages, sign-ins, wake-ups."""
        for module in ("web", "decide", "sign_in", "operate"):
            title = "".join(word.title() for word in module.split("_"))
            self._alarm(f"{title}Answers5xx", self._own(names.ERROR_ANSWERS_METRIC, function=module), 1)
        self._alarm("SignInsBroken", self._own(names.BROKEN_SIGN_INS_METRIC), 1)
        self._alarm("WakeUpsRefused", self._own(names.REFUSED_WAKE_UPS_METRIC), 1)

    def _tables(self, store: Store) -> None:
        """Add alarms for throttled requests of DynamoDB, reads and writes together."""
        for title, table in (("LedgerThrottled", store.ledger), ("ProjectionsThrottled", store.projections)):
            counts = {
                kind: cloudwatch.Metric(
                    namespace="AWS/DynamoDB",
                    metric_name=f"{kind.title()}ThrottleEvents",
                    dimensions_map={"TableName": table.table_name},
                    statistic="Sum",
                    period=_FIVE_MINUTES,
                )
                for kind in ("read", "write")
            }
            both = cloudwatch.MathExpression(
                expression="FILL(read, 0) + FILL(write, 0)", using_metrics=counts, period=_FIVE_MINUTES
            )
            self._alarm(title, both, 1)

    def _limits(self, settings: Config) -> None:
        """Add alarms on growing numbers: parameters, and the age of undecided requests."""
        day = Duration.days(1)
        parameters = self._own(names.PARAMETERS_METRIC, statistic="Maximum", period=day)
        self._alarm("ParametersMany", parameters, names.MOST_PARAMETERS * names.NEAR_LIMIT)
        oldest = self._own(names.OLDEST_REQUEST_METRIC, statistic="Maximum", period=_FIVE_MINUTES)
        self._alarm("RequestsOverdue", oldest, longest_wait_hours(settings))

    def _own(
        self, metric: str, *, statistic: str = "Sum", period: Duration = _FIVE_MINUTES, **dimensions: str
    ) -> cloudwatch.Metric:
        """Return a metric that a function counts (lambdas/shared/dependencies.py)."""
        return cloudwatch.Metric(
            namespace=names.METRICS_NAMESPACE,
            metric_name=metric,
            dimensions_map={**dimensions, "service": self._installation},
            statistic=statistic,
            period=period,
        )

    def _verification(self) -> None:
        """Add alarms for differences, and for a missing verification, which would look like no differences."""
        self._differences = differences = cloudwatch.Metric(
            namespace=names.METRICS_NAMESPACE,
            metric_name=names.DIFFERENCES_METRIC,
            dimensions_map={"service": self._installation},
            statistic="Maximum",
            period=Duration.days(1),
        )
        self._alarm("Differences", differences, 1)
        # The first verification is a day after the deployment. Until then the alarm is in INSUFFICIENT_DATA; a message
        # is sent when it returns to that state, but not for the initial one.
        self._alarm(
            "NotVerified",
            differences.with_(statistic="SampleCount"),
            1,
            comparison=cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
            missing=cloudwatch.TreatMissingData.MISSING,
            periods=2,
        ).add_insufficient_data_action(actions.SnsAction(self.topic))

    def _alarm(
        self,
        name: str,
        metric: cloudwatch.IMetric,
        threshold: float,
        *,
        comparison: cloudwatch.ComparisonOperator = _AT_LEAST,
        missing: cloudwatch.TreatMissingData = cloudwatch.TreatMissingData.NOT_BREACHING,
        periods: int = 1,
    ) -> cloudwatch.Alarm:
        alarm = cloudwatch.Alarm(
            self,
            name,
            metric=metric,
            threshold=threshold,
            evaluation_periods=periods,
            comparison_operator=comparison,
            treat_missing_data=missing,
            alarm_description=f"{name}: docs/operations.md says what it means and what to do.",
        )
        alarm.add_alarm_action(actions.SnsAction(self.topic))
        self._alarms.append(alarm)
        return alarm

    def _dashboard(self, functions: Functions, wiring: Wiring, sender: Sender, api_id: str) -> None:
        board = cloudwatch.Dashboard(self, "Dashboard", default_interval=Duration.days(1))
        board.add_widgets(cloudwatch.AlarmStatusWidget(title="Alarms", alarms=self._alarms, width=24, height=4))
        slow = [function.metric_duration(statistic="p95", label=name) for name, function in functions.by_name.items()]
        failing = [function.metric_errors(label=name) for name, function in functions.by_name.items()]
        board.add_widgets(
            cloudwatch.GraphWidget(title="Functions: p95 (ms)", left=slow, width=12),
            cloudwatch.GraphWidget(title="Functions: errors", left=failing, width=12),
        )
        board.add_widgets(
            cloudwatch.GraphWidget(
                title="Queues: messages",
                left=[
                    queue.metric_approximate_number_of_messages_visible(label=name)
                    for name, queue in (
                        ("wake", wiring.wake),
                        ("dead letters", wiring.dead_letters),
                        ("undelivered", wiring.undelivered),
                    )
                ],
                width=12,
            ),
            cloudwatch.GraphWidget(
                title="Pages: requests and errors",
                left=[self._of_api(metric, api_id) for metric in ("Count", "4xx", "5xx")],
                width=12,
            ),
        )
        board.add_widgets(
            cloudwatch.GraphWidget(
                title="How late the targets are (s)",
                left=[wiring.wake.metric_approximate_age_of_oldest_message(statistic="Maximum", label="wake")],
                width=12,
            ),
            cloudwatch.GraphWidget(
                title="Mail that did not arrive, and differences that were found",
                left=[sender.metric("Bounce"), sender.metric("Complaint"), sender.metric("Reject")],
                right=[self._differences],
                width=12,
            ),
        )
