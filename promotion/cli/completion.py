"""The shell completion script for commands and options."""

from __future__ import annotations

import argparse
import re

_BASH = """\
_promotion() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" command="" one
  for one in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case "$one" in {either}) command="$one"; break;; esac
  done
  case "$command" in
{cases}
    *) COMPREPLY=($(compgen -W "{words}" -- "$word"));;
  esac
}}
complete -o default -F _promotion promotion"""


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the completion script, for `eval` or the shell's start-up file.

    Args:
        parser: The parser of the whole command.
        shell: `bash`, or `zsh`, which runs bash's script through bashcompinit.
    """
    commands = {
        name: made
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for name, made in action.choices.items()
    }
    cases = [
        f'    {name}) COMPREPLY=($(compgen -W "{" ".join(_options(made))}" -- "$word"));;'
        for name, made in commands.items()
    ]
    words = " ".join([*commands, *_options(parser)])
    made = _BASH.format(either="|".join(commands), cases="\n".join(cases), words=words)
    return f"autoload -Uz bashcompinit && bashcompinit\n{made}" if shell == "zsh" else made


def _options(parser: argparse.ArgumentParser) -> list[str]:
    return sorted(set(re.findall(r"--[a-z][\w-]+", parser.format_usage())))
