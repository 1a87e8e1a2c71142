"""Exceptions of the inference pipeline, besides the service's own.

PromotionError
├── IntegrityError (the service's)
│   └── ModelRefused    this model may not be opened: not approved, a hub's id, pickled weights, code of its own
├── ModelBroken         approved, but it does not load: a missing tokenizer, weights of another shape
└── Invalid (the service's)
    ├── RecordInvalid   one input record is wrong; its line gets the error, the others go on
    │   └── TooLong     it asks for more tokens than a limit lets it
    └── HyperParametersInvalid
"""

from __future__ import annotations

from promotion.errors import IntegrityError, Invalid, PromotionError


class ModelRefused(IntegrityError):
    """This model may not be opened here; no more of it was read than this check needed."""


class ModelBroken(PromotionError):
    """The model was approved, but it does not load."""


class RecordInvalid(Invalid):
    """One record is wrong. `record_id` is None if its id can't be read."""

    def __init__(self, field: str, message: str, record_id: str | int | float | None = None) -> None:
        super().__init__(field, message)
        self.record_id = record_id

    def __str__(self) -> str:
        named = f"{self.field}: {self.reason}" if self.field else self.reason
        return named if self.record_id is None else f"record {self.record_id}: {named}"


class TooLong(RecordInvalid):
    """A record is too long: its text, or the requested output."""


class HyperParametersInvalid(Invalid):
    """The job's own parameters are wrong: no record could be answered with them."""
