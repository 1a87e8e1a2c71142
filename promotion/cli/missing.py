"""Errors of boto3 about a missing setting, replaced by errors that name the setting."""

from __future__ import annotations

from promotion.errors import Invalid

NO_REGION = "none is set: use --region, AWS_REGION, or a profile that has one."
NO_CREDENTIALS = "there are none: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
_FIELDS = {"NoRegionError": ("region", NO_REGION), "NoCredentialsError": ("credentials", NO_CREDENTIALS)}


def named(error: Exception) -> Exception:
    """Return an error that names the missing setting, or `error` itself."""
    known = _FIELDS.get(type(error).__name__)
    return error if known is None else Invalid(*known)
