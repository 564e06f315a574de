"""``completion``: scripts that complete commands, options and their values in a shell."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator

from nano_banana_mcp.settings import Settings

PROGRAM = "nano-banana-mcp"

Words = dict[str, list[tuple[str, str]]]
"""The words that may follow a command (``"token create"``; ``""`` for none), each with what it does."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to its parser."""
    parser.add_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS))
    parser.set_defaults(run=run)


def run(_: Settings, arguments: argparse.Namespace) -> int:
    """Print the script. Returns the exit code."""
    words = dict(_words(arguments.build_parser()))
    words["help"] += [("settings", "All settings"), *words[""]]
    sys.stdout.write(SHELLS[arguments.shell](words))
    return 0


def _words(parser: argparse.ArgumentParser, command: str = "") -> Iterator[tuple[str, list[tuple[str, str]]]]:
    words = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, subparser in action.choices.items():
                words.append((name, (subparser.description or "").split(". ")[0]))
                yield from _words(subparser, f"{command} {name}".strip())
        elif action.option_strings:
            words += [(option, action.help or "") for option in action.option_strings if option.startswith("--")]
        elif action.choices is not None:
            words += [(str(choice), "") for choice in action.choices]
    yield command, words


def _collect_command(words: Words) -> str:
    """The body of a loop of bash or zsh that adds ``$word`` to ``$command`` where both together are a command."""
    commands = "|".join(f'"{command}"' for command in words if command)
    return f"""    case "${{command:+$command }}$word" in
      {commands}) command="${{command:+$command }}$word" ;;
    esac"""


def _bash(words: Words) -> str:
    cases = "".join(
        f'    "{command}") words="{" ".join(word for word, _ in items)}" ;;\n' for command, items in words.items()
    )
    return f"""# eval "$({PROGRAM} completion bash)"
_nano_banana_mcp() {{
  local cur="${{COMP_WORDS[COMP_CWORD]}}" command="" word words=""
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
{_collect_command(words)}
  done
  case "$command" in
{cases}  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}}
complete -o default -F _nano_banana_mcp {PROGRAM}
"""


def _zsh(words: Words) -> str:
    described = {
        command: " ".join(_quoted(f"{word}:{text}" if text else word) for word, text in items)
        for command, items in words.items()
    }
    cases = "".join(f"    {_quoted(command)}) items=({items}) ;;\n" for command, items in described.items())
    return f"""#compdef {PROGRAM}
# eval "$({PROGRAM} completion zsh)", after compinit
_nano_banana_mcp() {{
  local command="" word
  local -a items
  for word in "${{(@)words[2,CURRENT-1]}}"; do
{_collect_command(words)}
  done
  case "$command" in
{cases}  esac
  _describe -t words word items
  _files
}}
compdef _nano_banana_mcp {PROGRAM}
"""


def _fish(words: Words) -> str:
    lines = [f"# {PROGRAM} completion fish | source"]
    for command, items in words.items():
        if command:
            names = command.split()
            condition = " && ".join(f"__fish_seen_subcommand_from {name}" for name in names)
            deeper = [other.split()[-1] for other in words if other.startswith(f"{command} ")]
        else:
            condition, deeper = "__fish_use_subcommand", []
        for word, text in items:
            kind = f"-l {word[2:]}" if word.startswith("--") else f"-a {word}"
            unless = f" && not __fish_seen_subcommand_from {' '.join(deeper)}" if word in deeper else ""
            described = f" -d {_quoted(text)}" if text else ""
            lines.append(f"complete -c {PROGRAM} -n '{condition}{unless}' {kind}{described}")
    return "\n".join(lines) + "\n"


def _powershell(words: Words) -> str:
    table = "".join(
        f"    {_doubled(command)} = @({', '.join(_doubled(word) for word, _ in items)})\n"
        for command, items in words.items()
    )
    return f"""# {PROGRAM} completion powershell | Out-String | Invoke-Expression
Register-ArgumentCompleter -Native -CommandName {PROGRAM} -ScriptBlock {{
  param($wordToComplete, $commandAst, $cursorPosition)
  $words = @{{
{table}  }}
  $command = ''
  foreach ($element in $commandAst.CommandElements | Select-Object -Skip 1) {{
    $longer = "$command $element".Trim()
    if ($words.ContainsKey($longer) -and "$element" -ne $wordToComplete) {{ $command = $longer }}
  }}
  $words[$command] | Where-Object {{ $_ -like "$wordToComplete*" }} |
    ForEach-Object {{ [System.Management.Automation.CompletionResult]::new($_, $_, 'ParameterValue', $_) }}
}}
"""


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "") + "'"


def _doubled(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


SHELLS: dict[str, Callable[[Words], str]] = {
    "bash": _bash,
    "zsh": _zsh,
    "fish": _fish,
    "powershell": _powershell,
}
