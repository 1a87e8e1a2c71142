"""An installation in memory whose mails settle as deployed: what goes out, and the timers that the queue would keep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from email import message_from_bytes, policy
from typing import Any

from botocore.exceptions import ClientError

from promotion import names
from promotion.aws.messages.held_mail import Waiting
from promotion.aws.messages.mailer import MailTarget
from promotion.aws.messages.settling_mail import SettlingMail
from promotion.ledger.events import Event, RefusedMail, version_of
from promotion.links.tokens import Keyring
from promotion.links.urls import Links
from promotion.workflows.storms import Storm
from tests.fakes import FakeService
from tests.memory import FakeS3

LINKS = Links(base_url="https://promotion.example.com", keyring=Keyring(["a key for tests"]))


class MemoryHeld:
    """Waiting mail, and the messages of the delayed queue: (due, group)."""

    def __init__(self, fake: FakeService) -> None:
        self._house = fake
        self.known: dict[str, dict[str, Storm]] = {}
        self.waiting: dict[tuple[str, int], Waiting] = {}
        self.timers: list[tuple[datetime, str]] = []

    def storms(self, group: str) -> dict[str, Storm]:
        return dict(self.known.get(group, {}))

    def put_storm(self, group: str, environment: str, storm: Storm) -> None:
        self.known.setdefault(group, {})[environment] = storm

    def digest(self) -> list[Waiting]:
        return list(self.waiting.values())

    def put(self, waiting: Waiting) -> None:
        self.waiting[waiting.group, waiting.sequence] = waiting

    def remove(self, waiting: Waiting) -> None:
        self.waiting.pop((waiting.group, waiting.sequence), None)

    def wake(self, group: str, after: timedelta) -> None:
        self.timers.append((self._house.now + max(after, timedelta()), group))


class Post:
    """SES, in front of a mail target; `sent` has (recipients, subject, text)."""

    def __init__(self, fake: FakeService) -> None:
        self.fake, self.sent = fake, list[tuple[list[str], str, str]]()
        self.held, self.refused = MemoryHeld(fake), ""
        self.refused_for_good, self.untold = "", list[RefusedMail]()
        # What channels are told: (kind, versions).
        self.told: list[tuple[str, list[int]]] = []
        plain = MailTarget(self, FakeS3(), fake.config, LINKS, refused=self.untold.append, accepted=self._accept)  # type: ignore[arg-type]
        settles = fake.config.mail.settles
        self.mail = SettlingMail(
            plain, self.held, fake.ledger, fake.config, LINKS, settles, lambda: fake.now, self._tell
        )
        fake.mail = self.mail  # type: ignore[assignment]

    def send_email(self, *, Destination: dict[str, Any], Content: dict[str, Any], **_: Any) -> None:  # noqa: N803
        message = message_from_bytes(Content["Raw"]["Data"], policy=policy.default)
        body = message.get_body(("plain",))
        assert body is not None
        if self.refused in Destination["ToAddresses"]:
            raise ValueError(f"{self.refused} is refused")
        if self.refused_for_good in [*Destination["ToAddresses"], *Destination["CcAddresses"]]:
            said = f"Email address is not verified: {self.refused_for_good}"
            raise ClientError({"Error": {"Code": "MessageRejected", "Message": said}}, "SendEmail")
        people = [*Destination["ToAddresses"], *Destination["CcAddresses"]]
        self.sent.append((people, str(message["Subject"]), body.get_content()))

    def _accept(self, group: str, addresses: Collection[str]) -> None:
        self.untold[:] = [each for each in self.untold if each.group != group or each.address not in addresses]

    def _tell(self, events: Sequence[Event]) -> None:
        self.told.append((events[-1].kind, [version_of(event) for event in events]))

    def pass_time(self, **length: float) -> None:
        """Time passes, and the delayed queue delivers what is due, in order."""
        until = self.fake.now + timedelta(**length)
        while due := sorted(timer for timer in self.held.timers if timer[0] <= until):
            self.held.timers.remove(due[0])
            self.fake.now = max(self.fake.now, due[0][0])
            if due[0][1] == names.DIGEST:
                self.mail.send_digest()
            else:
                self.mail.release(due[0][1], again=True)
        self.fake.now = until

    def mails_to(self, address: str) -> list[str]:
        return [subject for people, subject, _ in self.sent if address in people]

    def most(self) -> int:
        """The most mails that one person got."""
        return max(Counter(address for people, *_ in self.sent for address in people).values(), default=0)
