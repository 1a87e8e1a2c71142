"""Properties and variables of every function."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from infra.functions import SIZES
from infra.grants import SESSION_READERS, TOLD
from promotion import names
from tests.infra.synthesized import ROOT, Template

EVERYBODY = {
    names.CONFIG,
    names.PREFIX,
    "POWERTOOLS_SERVICE_NAME",
    "POWERTOOLS_METRICS_NAMESPACE",
    "POWERTOOLS_LOG_LEVEL",
}
# What Lambda itself sets.
OF_THE_RUNTIME = ("region", "code")


@pytest.mark.parametrize("module", SIZES)
def test_a_function_learns_what_it_needs_and_no_more(template: Template, module: str) -> None:
    _, function = template.function(module)
    assert set(function["Environment"]["Variables"]) == EVERYBODY | set(TOLD[module])


@pytest.mark.parametrize("module", SIZES)
def test_a_function_reads_no_variable_that_it_is_not_told(module: str) -> None:
    """Follows the module's own imports from `lambdas`, so that a helper's variable counts as the function's."""
    asked = variables_read(ROOT / "lambdas" / "handlers" / f"{module}.py")
    told = EVERYBODY | set(TOLD[module]) | ({names.ENDED_SESSIONS_TABLE} if module in SESSION_READERS else set())
    assert asked <= told, "the template and the function disagree"


def test_the_environment_is_read_in_one_place() -> None:
    readers = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "lambdas").rglob("*.py")
        if re.search(r"\benviron\b|\bgetenv\b", path.read_text(encoding="utf-8"))
    ]
    assert readers == ["lambdas/shared/variables.py"]


@pytest.mark.parametrize("module", SIZES)
def test_a_function_runs_its_module_as_a_role_of_its_own(template: Template, module: str) -> None:
    name, function = template.function(module)
    assert function["Handler"] == f"lambdas.handlers.{module}.handler"
    assert (function["Runtime"], function["Architectures"]) == ("python3.13", ["arm64"])
    sharing = [
        other for other, its in template.of_type("AWS::Lambda::Function").items() if its["Role"] == function["Role"]
    ]
    assert sharing == [name]


def test_functions_behind_the_api_answer_before_it_gives_up(template: Template) -> None:
    for module in ("decide", "operate", "record", "sign_in", "web"):
        assert template.function(module)[1]["Timeout"] < 30


def test_the_address_in_mails_is_the_api_or_the_domain(template: Template) -> None:
    variables = template.function("on_projection_due")[1]["Environment"]["Variables"]
    assert variables[names.PUBLIC_URL].endswith(".ApiEndpoint>")
    assert not variables[names.PUBLIC_URL].endswith("/")


def variables_read(module: Path, wanted: set[str] | None = None) -> set[str]:
    """Environment variables that a module of `lambdas` reads as `variables().x`; of `wanted` functions, if given."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    asked: set[str] = set()
    todo: list[ast.AST] = (
        [tree] if wanted is None else [functions[name] for name in sorted(wanted) if name in functions]
    )
    seen: set[str] = set(wanted or ())
    for node in todo:
        for inner in ast.walk(node):
            match inner:
                case ast.Attribute(value=ast.Call(func=ast.Name(id="variables")), attr=name) if (
                    name not in OF_THE_RUNTIME
                ):
                    asked.add(getattr(names, name.upper()))
                case ast.Call(func=ast.Name(id=name)) if wanted is not None and name in functions and name not in seen:
                    seen.add(name)
                    todo.append(functions[name])
                case ast.ImportFrom(module=str(source), names=found) if source.startswith("lambdas"):
                    imported = {alias.name for alias in found}
                    if source == "lambdas.shared.dependencies":
                        asked |= variables_read(ROOT / "lambdas" / "shared" / "dependencies.py", imported)
                    elif source in ("lambdas.handlers", "lambdas.shared"):
                        for name in imported:
                            asked |= variables_read(ROOT / source.replace(".", "/") / f"{name}.py")
                    else:
                        asked |= variables_read(ROOT / (source.replace(".", "/") + ".py"))
    return asked
