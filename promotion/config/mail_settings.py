"""Settings of `[mail]`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Literal

from msgspec import Struct

from promotion.errors import Invalid

_SETTLE = re.compile(r"(\d{1,4})(s|m)")
# Mail is delayed for up to five times this, and SQS can delay a message for at most 15 minutes.
LONGEST_SETTLE = timedelta(minutes=3)


class Mail(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Sender and settings of mails; with `identity` "managed" the stack creates the sender's SES identity.

    `domains` are the allowed domains of addresses that data scientists name; if empty, those of the sender and the
    recipients. `time_zone` (IANA, `Europe/Berlin`) is that of the recipients: mails and pages show times in it, and in
    UTC. `settle`: while requests of a group follow one another sooner than this, only the newest is mailed; mails of a
    digest wait for this time, too.
    """

    sender: str
    identity: Literal["managed", "existing"] = "managed"
    reply_to: str | None = None
    samples_in_mail: bool = False
    domains: tuple[str, ...] = ()
    time_zone: str = "UTC"
    settle: str = "60s"

    @property
    def settles(self) -> timedelta:
        """`settle` as a duration; zero for "0s".

        Raises:
            Invalid: it is no duration, or longer than the queue can delay mail.
        """
        match = _SETTLE.fullmatch(self.settle)
        found = timedelta(seconds=int(match[1]) * (60 if match[2] == "m" else 1)) if match else None
        if found is None or found > LONGEST_SETTLE:
            raise Invalid(
                "mail.settle", f"{self.settle!r} is no number of s or m up to 3m, such as 60s; 0s mails at once."
            )
        return found
