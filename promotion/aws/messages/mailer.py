"""Mail, by SES."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from msgspec.structs import replace

from promotion.aws.messages.refused_mail import is_for_good
from promotion.aws.s3.artifacts import read_details
from promotion.aws.s3.picture_store import read_picture
from promotion.config.loading import Config
from promotion.ledger.events import Event, RefusedMail
from promotion.ledger.snapshot import GroupSnapshot
from promotion.links.urls import Links
from promotion.rendering.mail import compose, mime
from promotion.rendering.mails.layout import Message

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sesv2 import SESV2Client

# https://docs.aws.amazon.com/ses/latest/dg/quotas.html: of To, Cc and Bcc together.
MOST_RECIPIENTS = 50


def in_parts(message: Message) -> Iterator[Message]:
    """Yield the message once for each 50 recipients, To before Cc; the parts are in one mail thread."""
    everybody = [*message.to, *message.cc]
    for begin in range(0, len(everybody), MOST_RECIPIENTS):
        to = message.to[begin : begin + MOST_RECIPIENTS]
        cc = everybody[begin : begin + MOST_RECIPIENTS][len(to) :]
        # If a part has only Cc recipients, they become its To recipients.
        yield replace(message, to=to or tuple(cc), cc=tuple(cc) if to else ())


class MailTarget:
    """Send the mails about each event. A request is one mail to all its approvers, or several above 50 recipients.

    An address that SES refuses permanently delays neither other recipients nor later events: `refused` is called with
    it, and `accepted` with the group and the addresses of a mail that SES accepted. A mail is sent twice only if this
    process stops after SES accepted it and before the cursor was written.
    """

    one_by_one = True

    def __init__(
        self,
        client: SESV2Client,
        s3: S3Client,
        config: Config,
        links: Links,
        configuration_set: str | None = None,
        *,
        refused: Callable[[RefusedMail], None],
        accepted: Callable[[str, Collection[str]], None],
    ) -> None:
        self._client = client
        self._s3 = s3
        self._config = config
        self._links = links
        self._refused = refused
        self._accepted = accepted
        # Named in each mail, because an SES identity that existed before the service has another default set, or none.
        self._set: dict[str, Any] = {"ConfigurationSetName": configuration_set} if configuration_set else {}

    def project(self, view: GroupSnapshot, events: Sequence[Event]) -> None:
        for event in events:
            for message in compose(
                event,
                view=view,
                config=self._config,
                links=self._links,
                picture=partial(read_picture, self._s3),
                samples=partial(self._samples, view, event),
                slices=partial(self._slices, view, event),
            ):
                self.report_outcome(event, message, self.send(message))

    def send(self, message: Message) -> dict[str, str]:
        """Send a message by SES; return the addresses that SES refuses permanently, with the reason.

        If SES refuses one recipient, it refuses the whole mail; then each recipient gets a separate mail.
        """
        refused: dict[str, str] = {}
        for part in in_parts(message):
            try:
                self._send(part)
            except ClientError as error:
                if not is_for_good(error, self._config.mail.sender):
                    raise
                first, *others = (*part.to, *part.cc)
                if not others:
                    refused[first] = error.response["Error"].get("Message", str(error))
                    continue
                for address in (first, *others):
                    refused |= self.send(replace(part, to=(address,), cc=()))
        return refused

    def report_outcome(self, event: Event, message: Message, refused: Mapping[str, str]) -> None:
        """Report the addresses that got a mail about an event, and those that SES refused."""
        self._accepted(event.group, {*message.to, *message.cc} - refused.keys())
        for address, reason in refused.items():
            self._refused(
                RefusedMail(
                    group=event.group,
                    address=address,
                    version=event.version,
                    environment=event.environment,
                    at=event.time,
                    reason=reason,
                )
            )

    def _send(self, part: Message) -> None:
        raw = mime(part, sender=self._config.mail.sender, reply_to=self._config.mail.reply_to)
        self._client.send_email(
            FromEmailAddress=self._config.mail.sender,
            Destination={"ToAddresses": list(part.to), "CcAddresses": list(part.cc)},
            Content={"Raw": {"Data": raw}},
            **self._set,
        )

    def _samples(self, view: GroupSnapshot, event: Event, uri: str) -> Sequence[Mapping[str, object]]:
        """Return the samples of an event's evidence; called only if the configuration allows them in mail."""
        found = self._details(view, event, uri).get("samples")
        return [sample for sample in found if isinstance(sample, dict)] if isinstance(found, list) else ()

    def _slices(self, view: GroupSnapshot, event: Event, uri: str) -> Mapping[str, object]:
        found = self._details(view, event, uri).get("slices")
        return found if isinstance(found, dict) else {}

    def _details(self, view: GroupSnapshot, event: Event, uri: str) -> Mapping[str, object]:
        state = view.find_version(event.version) if event.version is not None else None
        request = state.requests.get(event.environment or "") if state else None
        if request is None or request.evidence.metrics_uri != uri:
            return {}
        return read_details(self._s3, request.evidence)
