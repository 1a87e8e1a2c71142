"""SES identity of the sender, and metrics of bounces and complaints."""

from __future__ import annotations

from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ses as ses
from constructs import Construct

_NAME = "ses:configuration-set"


class Sender:
    """The sender's domain, and a configuration set that counts bounces and complaints."""

    def __init__(self, scope: Construct, address: str, *, managed: bool = True) -> None:
        self.followed = ses.ConfigurationSet(scope, "Mails")
        self.followed.add_event_destination(
            "Lost",
            destination=ses.EventDestination.cloud_watch_dimensions(
                [
                    ses.CloudWatchDimension(
                        name=_NAME, source=ses.CloudWatchDimensionSource.MESSAGE_TAG, default_value="none"
                    )
                ]
            ),
            events=[ses.EmailSendingEvent.BOUNCE, ses.EmailSendingEvent.COMPLAINT, ses.EmailSendingEvent.REJECT],
        )
        # The identity's default set, so that every mail of this sender is counted. An identity belongs to the account:
        # if it exists already, made manually or by another installation, it can't be made again, and must not be
        # deleted with this stack.
        self.identity = (
            ses.EmailIdentity(
                scope,
                "Sender",
                identity=ses.Identity.domain(address.partition("@")[2]),
                configuration_set=self.followed,
            )
            if managed
            else None
        )

    @property
    def set_name(self) -> str:
        return self.followed.configuration_set_name

    def metric(self, name: str) -> cloudwatch.Metric:
        """Return the metric `Bounce`, `Complaint` or `Reject`."""
        return cloudwatch.Metric(
            namespace="AWS/SES", metric_name=name, dimensions_map={_NAME: self.set_name}, statistic="Sum"
        )
