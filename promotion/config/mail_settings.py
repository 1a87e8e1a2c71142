"""Settings of `[mail]`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Literal

from msgspec import Struct

from promotion.errors import Invalid

_SETTLE = re.compile(r"(\d{1,4})(s|m)")
# Mail waits for up to five times as long, and a queue holds a message back for at most 15 minutes.
LONGEST_SETTLE = timedelta(minutes=3)


class Mail(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Sender of mails; `identity` makes the stack create its SES identity, else the account has one.

    `domains` are those that addresses named by data scientists may lie in; empty for the sender's and the recipients' own.
    `time_zone` (IANA, `Europe/Berlin`) is that of the recipients: mails and pages say times in it, and in UTC beside it.
    `settle`: while requests of a group come sooner than this after one another, mail waits for the newest; so long mails of a
    digest wait too.
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
        """The time that mail settles; zero for "0s".

        Raises:
            Invalid: it is no such time, or longer than the queue can wait.
        """
        match = _SETTLE.fullmatch(self.settle)
        found = timedelta(seconds=int(match[1]) * (60 if match[2] == "m" else 1)) if match else None
        if found is None or found > LONGEST_SETTLE:
            raise Invalid(
                "mail.settle", f"{self.settle!r} is no number of s or m up to 3m, such as 60s; 0s mails at once."
            )
        return found
