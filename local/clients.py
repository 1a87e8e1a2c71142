"""boto3's clients for services that are named at run time, and for credentials in a dict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import boto3


def any_client(service: str, **given: Any) -> Any:
    """Return an untyped client; `given` are arguments of `boto3.client`."""
    make: Callable[..., Any] = boto3.client
    return make(service, **given)
