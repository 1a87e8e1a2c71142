"""The environment variables of a function, read once at cold start."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TypeGuard

import msgspec

from promotion import names


class _Required:
    """A variable that the template sets for the functions that read it; reading it elsewhere raises RuntimeError.

    It is not Invalid, for which a handler drops the event: a deployment may change a function's code before its variables.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, variables: Variables, owner: type[Variables]) -> str:
        """Return the variable's value."""
        if self.name not in variables.given:
            raise _missing(self.name)
        return variables.given[self.name]


@dataclass(frozen=True)
class Variables:
    """A function's variables, typed."""

    given: Mapping[str, str] = field(repr=False)
    prefix: str
    # The service's own image; empty where none is built or named, as on one machine.
    inference_image: str
    # Where the runtime has unpacked the bundle.
    code: Path
    roles: Mapping[str, str] | None

    config = _Required(names.CONFIG)
    region = _Required("AWS_REGION")
    ledger_table = _Required(names.LEDGER_TABLE)
    projections_table = _Required(names.PROJECTIONS_TABLE)
    ended_sessions_table = _Required(names.ENDED_SESSIONS_TABLE)
    signing_key_arn = _Required(names.SIGNING_KEY_ARN)
    own_key_arn = _Required(names.OWN_KEY_ARN)
    link_keys_secret_arn = _Required(names.LINK_KEYS_SECRET_ARN)
    form_keys_secret_arn = _Required(names.FORM_KEYS_SECRET_ARN)
    sign_in_keys_secret_arn = _Required(names.SIGN_IN_KEYS_SECRET_ARN)
    session_key_arn = _Required(names.SESSION_KEY_ARN)
    identity_secret_arn = _Required(names.IDENTITY_SECRET_ARN)
    event_bus_name = _Required(names.EVENT_BUS_NAME)
    verify_queue_url = _Required(names.VERIFY_QUEUE_URL)
    public_url = _Required(names.PUBLIC_URL)
    wake_queue_url = _Required(names.WAKE_QUEUE_URL)
    later_queue_url = _Required(names.LATER_QUEUE_URL)
    registrations_queue_url = _Required(names.REGISTRATIONS_QUEUE_URL)
    dead_letter_queue_url = _Required(names.DEAD_LETTER_QUEUE_URL)
    alarm_topic_arn = _Required(names.ALARM_TOPIC_ARN)
    configuration_set = _Required(names.CONFIGURATION_SET)
    registry_role_arn = _Required(names.REGISTRY_ROLE_ARN)
    record_function = _Required(names.RECORD_FUNCTION)
    evidence_bucket = _Required(names.EVIDENCE_BUCKET)
    hashing_role_arn = _Required(names.HASHING_ROLE_ARN)
    anchor_bucket = _Required(names.ANCHOR_BUCKET)

    @property
    def execution_roles(self) -> Mapping[str, str]:
        """Execution roles of the models, by environment.

        Raises:
            RuntimeError: this function doesn't have the variable.
        """
        if self.roles is None:
            raise _missing(names.EXECUTION_ROLES)
        return self.roles


def _missing(name: str) -> RuntimeError:
    return RuntimeError(
        f"{name}: this function has no such environment variable: deploy the stack and its code together again."
    )


def read(given: Mapping[str, str]) -> Variables:
    """Decode a function's environment.

    Raises:
        RuntimeError: a value has the wrong format.
    """
    try:
        text = given.get(names.EXECUTION_ROLES)
        roles = None if text is None else msgspec.json.decode(text, type=dict[str, str])
    except msgspec.DecodeError as error:
        raise RuntimeError(
            f"{names.EXECUTION_ROLES}: this is no JSON object of role ARNs by environment: {error}"
        ) from None
    return Variables(
        given={each.name: given[each.name] for each in vars(Variables).values() if _is_set(each, given)},
        prefix=given.get(names.PREFIX) or names.DEFAULT_PREFIX,
        inference_image=given.get(names.INFERENCE_IMAGE, ""),
        code=Path(given.get("LAMBDA_TASK_ROOT", ".")),
        roles=roles,
    )


def _is_set(attribute: object, given: Mapping[str, str]) -> TypeGuard[_Required]:
    return isinstance(attribute, _Required) and attribute.name in given


@cache
def variables() -> Variables:
    """Return this process's variables, read at the first call."""
    return read(os.environ)
