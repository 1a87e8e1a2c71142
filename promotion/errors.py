"""Exceptions of this service.

PromotionError
├── Refused             the rules say no; never retry
│   ├── AlreadyDecided  another decision stands
│   └── LinkInvalid     forged, damaged or unknown
├── NotApproved         nothing is live in this environment
├── IntegrityError      the bytes, or the record about them, are not those that were approved
├── SignInFailed        somebody could not be signed in
│   └── ClientRefused   the provider refuses this application: nobody can be signed in
├── ProviderUnavailable the identity provider does not answer
├── Invalid             outside data is wrong: a field, what is wrong with it, what to do
└── Conflict            somebody appended first; read again and decide again

What AWS raises passes through untouched, so that retries and alarms see it.
"""

from __future__ import annotations

from typing import TypeVar


class PromotionError(Exception):
    """Anything this service refuses or finds broken."""


class Refused(PromotionError):
    """The rules say no. `code` is stable for machines, the message is for the person; `who_may` names who could."""

    def __init__(self, message: str, *, code: str = "refused", who_may: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.who_may = who_may


class AlreadyDecided(Refused):
    """The request is already decided or closed; `state` is its final state."""

    def __init__(self, message: str, *, code: str = "decided", state: str = "") -> None:
        super().__init__(message, code=code)
        self.state = state


class LinkInvalid(Refused):
    """A link that this service did not make, or that was damaged on its way."""

    def __init__(self, message: str = "This link is not one of ours, or it was cut short.") -> None:
        super().__init__(message, code="link_invalid")


class NotApproved(PromotionError):
    """No version is live in this environment: none was approved there, or it was revoked."""


class IntegrityError(PromotionError):
    """The bytes, or the record that vouches for them, are not those that were approved."""


class SignInFailed(PromotionError):
    """A sign-in failed; the message has the reason, and the question for the administrator."""


class ClientRefused(SignInFailed):
    """The identity provider refuses this application, as with an expired client secret: nobody can sign in."""


class ProviderUnavailable(PromotionError):
    """The identity provider does not answer: nobody can sign in until it does."""


class Invalid(PromotionError):
    """Outside data that is wrong.

    `field` is where, as a path from the top of the document; the message says what is wrong and what to do.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field
        self.reason = message


class Conflict(PromotionError):
    """Another process appended first; nothing was written. Read again and decide again."""


# Errors of reading untrusted data (msgspec's errors are ValueErrors). AWS's own are not among them.
UNREADABLE: tuple[type[Exception], ...] = (
    PromotionError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError,
)  # fmt: skip

T = TypeVar("T")


def require(value: T | None, place: str, field: str) -> T:
    """`value`, which has to be there.

    Raises:
        IntegrityError: it is not.
    """
    if value is None:
        raise IntegrityError(f"{place} has no {field}.")
    return value
