"""SageMaker's lists: a page may be empty and still have a token. moto's first page is always the whole list.

By AWS's documentation, only a token shows whether a list continues. Only the local service does this, because tests
that check a list's content read one page.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from moto.core.responses import ActionResult
from moto.sagemaker.responses import SageMakerResponse

# Set by the local service: True if the first page of a list is empty.
first_is_empty: list[bool] = []
_FIRST = "after-an-empty-page"
_LISTS = {
    "list_model_package_groups": "ModelPackageGroupSummaryList",
    "list_model_packages": "ModelPackageSummaryList",
    "list_models": "Models",
    "list_endpoint_configs": "EndpointConfigs",
}


def mend() -> None:
    """Replace moto's operations with the patched ones."""
    for operation, key in _LISTS.items():
        setattr(SageMakerResponse, operation, _beginning_empty(operation, key, getattr(SageMakerResponse, operation)))


def _beginning_empty(operation: str, key: str, listed: Callable[[Any], ActionResult]) -> Callable[[Any], ActionResult]:
    def list_pages(self: Any) -> ActionResult:
        given: dict[str, Any] = json.loads(self.body or "{}")
        token = given.get("NextToken")
        if first_is_empty and token is None:
            return ActionResult({key: [], "NextToken": _FIRST})
        if token == _FIRST:
            del given["NextToken"]
            self.body = json.dumps(given)
            asked = self._get_param
            self._get_param = lambda name, *more: None if name == "NextToken" else asked(name, *more)
        return listed(self)

    list_pages.__name__ = operation
    return list_pages
