"""boto3's clients for services that are named at run time, and for credentials that are held in a dict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import boto3


def any_client(service: str, **given: Any) -> Any:
    """A client whose type isn't known; `given` goes to `boto3.client`."""
    make: Callable[..., Any] = boto3.client
    return make(service, **given)
