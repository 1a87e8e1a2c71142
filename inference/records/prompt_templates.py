"""Few-shot prompts: named templates in the artifact's `prompts/`, which are approved with it and can't change later.

A template is Jinja in blocks (docs/realtime.md). It is rendered in a sandbox. A missing variable is an error that names
it, and never an empty string in a prompt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, UndefinedError, meta
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from inference.errors import ModelBroken
from inference.records.json_lines import split_lines
from promotion.errors import Invalid

FOLDER, SUFFIX, EXAMPLES, DUMMY = "prompts", ".jinja", ".examples.jsonl", "dummy"
TEXT_FORM, CHAT_FORM = "text", "chat"
# Fields of a record that select and fill its prompt.
FIELDS = ("template", "variables", "shots", "form")
MOST_SHOTS = 100
_BLOCKS = frozenset({"prefix", "system", "instruction", "question", "answer", "shots", "form"})
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_BETWEEN = "\n\n"

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Prompt:
    """One named template and its examples."""

    name: str
    template: Template
    examples: tuple[Values, ...]
    dummy: Values | None
    variables: frozenset[str]

    def text(self, variables: Values, shots: int | None = None) -> str:
        """Render the prompt as one text.

        Raises:
            Invalid: a variable is missing or unknown, or the template fails.
        """
        self._check(variables)
        parts = [self._block("instruction", variables)]
        parts += [self._block("question", shot) + self._block("answer", shot) for shot in self.shown(shots)]
        parts.append(self._block("question", variables))
        return self._block("prefix", variables) + _BETWEEN.join(part for part in parts if part)

    def messages(self, variables: Values, shots: int | None = None) -> list[dict[str, str]]:
        """Render the prompt as a conversation, for the model's own chat template.

        Raises:
            Invalid: as above.
        """
        self._check(variables)
        found = []
        system = self._block("system", variables)
        if system:
            found.append({"role": "system", "content": system})
        instruction = self._block("instruction", variables)
        for shot in self.shown(shots):
            found.append({"role": "user", "content": self._block("question", shot)})
            found.append({"role": "assistant", "content": self._block("answer", shot).strip()})
        found.append({"role": "user", "content": self._block("question", variables)})
        first = next(message for message in found if message["role"] == "user")
        first["content"] = _BETWEEN.join(part for part in (instruction, first["content"]) if part)
        return found

    def shown(self, shots: int | None) -> Sequence[Values]:
        """Return the examples to show: the requested number, else the template's number, else all; for 0 the dummy."""
        if shots is None:
            said = self._block("shots", {}).strip()
            shots = int(said) if said else len(self.examples)
        if shots > len(self.examples):
            raise Invalid("shots", f"is {shots}, and {self.name} has {len(self.examples)} examples.")
        if shots == 0 and self.dummy is not None:
            return (self.dummy,)
        return self.examples[:shots]

    @property
    def form(self) -> str:
        """The template's default form, for records without one."""
        return self._block("form", {}).strip() or TEXT_FORM

    def _check(self, variables: Values) -> None:
        unknown = sorted(set(variables) - self.variables)
        if unknown:
            known = ", ".join(sorted(self.variables)) or "none"
            raise Invalid(f"variables.{unknown[0]}", f"is no variable of {self.name}; there are {known}.")

    def _block(self, name: str, variables: Values) -> str:
        block = self.template.blocks.get(name)
        if block is None:
            return ""
        try:
            return "".join(block(self.template.new_context(dict(variables))))
        except UndefinedError as error:
            missing = re.search(r"'(\w+)' is undefined", str(error))
            field = f"variables.{missing[1]}" if missing else "variables"
            raise Invalid(field, f"is missing: the template {self.name} needs it ({error}).") from None
        except (TemplateError, SecurityError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            raise Invalid("template", f"{self.name} fails: {error}") from None


class Prompts:
    """The templates of a folder."""

    def __init__(self, prompts: Mapping[str, Prompt]) -> None:
        self._prompts = prompts

    @property
    def names(self) -> list[str]:
        return sorted(self._prompts)

    @classmethod
    def of(cls, folder: Path) -> Prompts:
        """Load the templates in `folder`, none if it doesn't exist; each is tested on its examples.

        Raises:
            ModelBroken: a template or an example can't be used; names file and reason.
        """
        sandbox = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)
        paths = sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else []
        return cls({path.name.removesuffix(SUFFIX): _read(path, sandbox) for path in paths})

    def named(self, name: Any) -> Prompt:
        """Return a template by name; raise Invalid if there is none."""
        if not isinstance(name, str) or name not in self._prompts:
            known = ", ".join(self.names) or "none: the artifact has no prompts/"
            raise Invalid("template", f"must name one of the artifact's templates; there are {known}.")
        return self._prompts[name]

    def applied(self, record: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return `record` with its rendered text if it names a template, else unchanged.

        Raises:
            Invalid: the template is unknown, a variable is missing or unknown, or there is a text beside the template.
        """
        sent = [name for name in ("inputs", "text_inputs", "messages") if record.get(name) is not None]
        if "template" not in record or (sent and not self._prompts):
            # If the model has no templates, a field of that name is data.
            return record
        prompt = self.named(record["template"])
        if sent:
            raise Invalid(sent[0], "is sent beside a template, which makes the text.")
        variables, shots = record.get("variables", {}), record.get("shots")
        if not isinstance(variables, dict):
            raise Invalid("variables", "must be an object of values by name.")
        if shots is not None and (
            isinstance(shots, bool) or not isinstance(shots, int) or not 0 <= shots <= MOST_SHOTS
        ):
            raise Invalid("shots", f"must be a whole number from 0 to {MOST_SHOTS}.")
        form = prompt.form if record.get("form") is None else record["form"]
        if form not in (TEXT_FORM, CHAT_FORM):
            raise Invalid("form", f"must be {TEXT_FORM} or {CHAT_FORM}.")
        rest = {name: value for name, value in record.items() if name not in FIELDS}
        if form == CHAT_FORM:
            return {**rest, "messages": prompt.messages(variables, shots)}
        return {**rest, "inputs": prompt.text(variables, shots)}


def _read(path: Path, sandbox: ImmutableSandboxedEnvironment) -> Prompt:
    name = path.name.removesuffix(SUFFIX)
    if not _NAME.fullmatch(name):
        raise ModelBroken(f"{FOLDER}/{path.name}: a template's name has letters, digits, - and _ alone.")
    try:
        source = path.read_text(encoding="utf-8")
        template = sandbox.from_string(source)
        variables = meta.find_undeclared_variables(sandbox.parse(source))
    except TemplateSyntaxError as error:
        raise ModelBroken(f"{FOLDER}/{path.name} line {error.lineno}: {error.message}") from None
    except (TemplateError, UnicodeDecodeError) as error:
        raise ModelBroken(f"{FOLDER}/{path.name}: {error}") from None
    unknown = sorted(set(template.blocks) - _BLOCKS)
    if "question" not in template.blocks or unknown:
        wrong = f"has a block {unknown[0]}" if unknown else "has no block question"
        raise ModelBroken(f"{FOLDER}/{path.name} {wrong}; blocks are {', '.join(sorted(_BLOCKS))}.")
    examples, dummy = _examples(path.with_name(f"{name}{EXAMPLES}"))
    prompt = Prompt(name, template, examples, dummy, frozenset(variables))
    _try(prompt)
    return prompt


def _examples(path: Path) -> tuple[tuple[Values, ...], Values | None]:
    examples: list[Values] = []
    dummy: Values | None = None
    lines = split_lines(path.read_bytes()) if path.exists() else []
    for number, line in enumerate(lines, start=1):
        try:
            example = json.loads(line)
        except ValueError:
            example = None
        if not isinstance(example, dict):
            raise ModelBroken(f"{FOLDER}/{path.name} line {number} is no JSON object.")
        if example.pop(DUMMY, False):
            dummy = example
        else:
            examples.append(example)
    return tuple(examples), dummy


def _try(prompt: Prompt) -> None:
    """Refuse, when the artifact is opened, a template that would fail at every request."""
    where = f"{FOLDER}/{prompt.name}"
    try:
        prompt.shown(None)
        if prompt.form not in (TEXT_FORM, CHAT_FORM):
            raise Invalid("form", f"is {prompt.form!r}, and must be {TEXT_FORM} or {CHAT_FORM}.")
        for example in (*prompt.examples, *([prompt.dummy] if prompt.dummy else [])):
            for block in ("question", "answer"):
                prompt._block(block, example)
    except (Invalid, ValueError) as error:
        raise ModelBroken(f"{where}{SUFFIX} and its examples don't fit: {error}") from None
