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
    """This model may not be opened here: nothing in it was read beyond what was needed to tell."""


class ModelBroken(PromotionError):
    """The model was approved, but it does not load."""


class RecordInvalid(Invalid):
    """One record is wrong. `record_id` is None where it has no id that can be told."""

    def __init__(self, field: str, message: str, record_id: str | int | float | None = None) -> None:
        super().__init__(field, message)
        self.record_id = record_id

    def __str__(self) -> str:
        named = f"{self.field}: {self.reason}" if self.field else self.reason
        return named if self.record_id is None else f"record {self.record_id}: {named}"


class TooLong(RecordInvalid):
    """A record is fine but for its length: in its text, or in what it asks for."""


class HyperParametersInvalid(Invalid):
    """The job's own parameters are wrong: no record could be answered with them."""
