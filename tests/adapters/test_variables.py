"""A function's environment is read once, typed, and what is missing is named."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from lambdas.handlers import on_event_published
from lambdas.shared import dependencies
from lambdas.shared import variables as module
from promotion import names


def test_a_missing_variable_names_itself_and_what_to_do() -> None:
    with pytest.raises(RuntimeError, match=rf"{names.LEDGER_TABLE}: .*deploy the stack and its code together again"):
        _ = module.read({}).ledger_table
    with pytest.raises(RuntimeError, match=names.EXECUTION_ROLES):
        _ = module.read({}).execution_roles


def test_a_function_without_a_variable_refuses_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deployment may change a function's code before its variables; an event of that moment has to be tried again."""
    monkeypatch.delenv(names.LEDGER_TABLE, raising=False)
    for kept in (module.variables, dependencies.ledger):
        kept.cache_clear()
    detail = {"model_package_group": "summariser", "sequence": 1, "event_id": "x"}
    try:
        with pytest.raises(RuntimeError, match=names.LEDGER_TABLE):
            on_event_published.handler({"channel": "chat", "detail": detail}, None)
    finally:
        module.variables.cache_clear()


def test_variables_are_typed_and_have_their_defaults() -> None:
    found = module.read({names.LEDGER_TABLE: "ledger", names.EXECUTION_ROLES: '{"dev": "arn:aws:iam::1:role/x"}'})
    assert (found.ledger_table, found.execution_roles) == ("ledger", {"dev": "arn:aws:iam::1:role/x"})
    assert (found.prefix, found.inference_image) == (names.DEFAULT_PREFIX, "")


@pytest.mark.parametrize("text", ["", "[]", '{"dev": 1}', "dev"])
def test_a_value_of_the_wrong_form_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(RuntimeError, match=names.EXECUTION_ROLES):
        module.read({names.EXECUTION_ROLES: text})


def test_the_environment_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    module.variables.cache_clear()
    monkeypatch.setenv(names.LEDGER_TABLE, "ledger")
    assert module.variables().ledger_table == "ledger"
    monkeypatch.setenv(names.LEDGER_TABLE, "another")
    assert module.variables().ledger_table == "ledger"


def test_variables_do_not_change_and_show_no_credentials() -> None:
    found = module.read({names.LEDGER_TABLE: "ledger", "AWS_SECRET_ACCESS_KEY": "secret"})
    assert "secret" not in repr(found) + repr(found.given)
    with pytest.raises(FrozenInstanceError):
        found.prefix = "/other"  # type: ignore[misc]
