"""CloudFormation templates: dependencies of resources and values of intrinsic functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from local import ACCOUNT, REGION

PSEUDO: Mapping[str, Any] = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Region": REGION,
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::StackName": "Promotion",
    "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/Promotion/local",
    "AWS::NotificationARNs": [],
}
_VARIABLE = re.compile(r"\$\{(!?)([^}]+)\}")
_NO_VALUE = object()


class TemplateError(Exception):
    """The template needs something that can't be made here; names the resource and the place."""


@dataclass
class Made:
    """A resource that exists: the value of Ref, and the values of GetAtt by attribute name."""

    ref: str
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass
class Resource:
    logical_id: str
    type: str
    properties: dict[str, Any]
    depends_on: tuple[str, ...] = ()
    condition: str | None = None


class Template:
    """A parsed template. Made resources are in `made`."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.made: dict[str, Made] = {}
        self._rewrites: list[tuple[str, str]] = []
        self._conditions: dict[str, Any] = document.get("Conditions", {})
        self.resources: dict[str, Resource] = {}
        for logical_id, body in document.get("Resources", {}).items():
            depends_on = body.get("DependsOn", ())
            resource = Resource(
                logical_id=logical_id,
                type=body["Type"],
                properties=body.get("Properties", {}),
                depends_on=(depends_on,) if isinstance(depends_on, str) else tuple(depends_on),
                condition=body.get("Condition"),
            )
            if resource.condition is None or self._condition(resource.condition):
                self.resources[logical_id] = resource

    def of_type(self, type_: str) -> Iterator[Resource]:
        return (resource for resource in self.resources.values() if resource.type == type_)

    def in_order(self, is_made: Callable[[Resource], bool]) -> list[Resource]:
        """Return the resources for which `is_made` is true, each after all those that it refers to.

        Raises:
            TemplateError: the references are circular.
        """
        wanted = {name: resource for name, resource in self.resources.items() if is_made(resource)}
        order: list[Resource] = []
        state: dict[str, int] = {}

        def visit(resource: Resource, path: tuple[str, ...]) -> None:
            if state.get(resource.logical_id) == 2:
                return
            if state.get(resource.logical_id) == 1:
                raise TemplateError(f"These resources refer to each other in a circle: {' → '.join(path)}.")
            state[resource.logical_id] = 1
            for name in sorted({*references(resource.properties), *resource.depends_on}):
                if name in wanted:
                    visit(wanted[name], (*path, name))
            state[resource.logical_id] = 2
            order.append(resource)

        for resource in wanted.values():
            visit(resource, (resource.logical_id,))
        return order

    def rewrite(self, text: str, replacement: str) -> None:
        """Replace `text`, such as an address that only AWS has, with `replacement` in all strings resolved later."""
        self._rewrites.append((text, replacement))

    def resolve(self, value: Any, *, of: str = "") -> Any:
        """Return `value` with every intrinsic function replaced by its value.

        Raises:
            TemplateError: a function or a reference in the resource `of` is unknown here.
        """
        resolved = self._resolve(value, of)
        return None if resolved is _NO_VALUE else resolved

    def _resolve(self, value: Any, of: str) -> Any:
        if isinstance(value, str):
            for text, replacement in self._rewrites:
                value = value.replace(text, replacement)
            return value
        if isinstance(value, list):
            return [item for item in (self._resolve(each, of) for each in value) if item is not _NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, argument),) = value.items()
            if name == "Ref":
                return self._ref(argument, of)
            if name == "Condition" and isinstance(argument, str):
                return self._condition(argument)
            if name.startswith("Fn::"):
                return self._resolve_text(self._function(name.removeprefix("Fn::"), argument, of))
        pairs = ((key, self._resolve(each, of)) for key, each in value.items())
        return {key: each for key, each in pairs if each is not _NO_VALUE}

    def _resolve_text(self, value: Any) -> Any:
        return self._resolve(value, "") if isinstance(value, str) else value

    def _ref(self, name: str, of: str) -> Any:
        if name == "AWS::NoValue":
            return _NO_VALUE
        if name in PSEUDO:
            return PSEUDO[name]
        if name in self.made:
            return self.made[name].ref
        raise TemplateError(f"{of}: Ref to {name}, which was not made.")

    def _attribute(self, name: str, attribute: str, of: str) -> Any:
        if name not in self.made:
            raise TemplateError(f"{of}: GetAtt of {name}.{attribute}, but {name} was not made.")
        attributes = self.made[name].attributes
        if attribute not in attributes:
            raise TemplateError(f"{of}: {self.resources[name].type} {name} has no attribute {attribute} here.")
        return attributes[attribute]

    def _condition(self, name: str) -> bool:
        return bool(self._resolve(self._conditions[name], f"condition {name}"))

    def _function(self, name: str, argument: Any, of: str) -> Any:
        match name:
            case "GetAtt":
                logical_id, _, attribute = (
                    argument.partition(".") if isinstance(argument, str) else (argument[0], ".", argument[1])
                )
                return self._attribute(logical_id, attribute, of)
            case "Sub":
                text, variables = (
                    (argument, {}) if isinstance(argument, str) else (argument[0], self._resolve(argument[1], of))
                )
                return _VARIABLE.sub(lambda match: self._substitute(match, variables, of), text)
            case "Join":
                separator, items = argument
                return separator.join(str(item) for item in self._resolve(items, of))
            case "Select":
                index, items = argument
                return self._resolve(items, of)[int(self._resolve(index, of))]
            case "Split":
                separator, text = argument
                return self._resolve(text, of).split(separator)
            case "If":
                condition, then, otherwise = argument
                return self._resolve(then if self._condition(condition) else otherwise, of)
            case "Equals":
                first, second = self._resolve(argument, of)
                return first == second
            case "Or":
                return any(self._resolve(each, of) for each in argument)
            case _:
                raise TemplateError(f"{of}: the local service doesn't know Fn::{name}.")

    def _substitute(self, match: re.Match[str], variables: Mapping[str, Any], of: str) -> str:
        literal, name = match.groups()
        if literal:
            return f"${{{name}}}"
        if name in variables:
            return str(variables[name])
        if "." in name:
            logical_id, attribute = name.split(".", 1)
            return str(self._attribute(logical_id, attribute, of))
        return str(self._ref(name, of))


def references(value: Any) -> Iterator[str]:
    """Return the names of all resources and parameters that a value refers to by Ref, GetAtt or Sub."""
    if isinstance(value, list):
        for each in value:
            yield from references(each)
    elif isinstance(value, dict):
        for key, argument in value.items():
            if key == "Ref":
                yield argument
            elif key == "Fn::GetAtt":
                yield argument.split(".")[0] if isinstance(argument, str) else argument[0]
            elif key == "Fn::Sub":
                text = argument if isinstance(argument, str) else argument[0]
                for _, name in _VARIABLE.findall(text):
                    yield name.split(".")[0]
                if not isinstance(argument, str):
                    yield from references(argument[1])
            else:
                yield from references(argument)
