"""Completion scripts for bash, zsh and fish, made of an argument parser."""

from __future__ import annotations

import argparse
from collections.abc import Iterator


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Returns the script of a shell that completes the commands, their options and fixed values.

    Args:
        parser: a parser with subcommands.
        shell: `bash`, `zsh` or `fish`.
    """
    commands = dict(_commands(parser))
    if shell == "fish":
        return "".join(f"{line}\n" for line in _fish(parser.prog, commands))
    lines = list(_bash(parser.prog, commands))
    start = [
        "autoload -U +X compinit && compinit -u",
        "autoload -U +X bashcompinit && bashcompinit",
    ]
    return "".join(f"{line}\n" for line in [*(start if shell == "zsh" else []), *lines])


def _commands(
    parser: argparse.ArgumentParser,
) -> Iterator[tuple[str, tuple[str, argparse.ArgumentParser]]]:
    """Yields the name of each subcommand, its line of help and its parser."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, child in action.choices.items():
                yield name, (helps.get(name, ""), child)


def _words(parser: argparse.ArgumentParser) -> list[str]:
    options = [text for action in parser._actions for text in action.option_strings]
    fixed = [
        str(choice)
        for action in parser._actions
        if not action.option_strings
        for choice in action.choices or ()
    ]
    return [*options, *fixed]


def _bash(prog: str, commands: dict[str, tuple[str, argparse.ArgumentParser]]) -> Iterator[str]:
    name = f"_{prog}_completion"
    yield f"{name}() {{"
    yield '  local current="${COMP_WORDS[COMP_CWORD]}" command="${COMP_WORDS[1]}" words=""'
    yield '  local previous="${COMP_WORDS[COMP_CWORD-1]}"'
    yield '  if [ "$COMP_CWORD" -eq 1 ]; then'
    yield f'    words="{" ".join(commands)} --help --version"'
    yield "  else"
    yield '    case "$command" in'
    for command, (_, child) in commands.items():
        yield f'      {command}) words="{" ".join(_words(child))}" ;;'
    yield "    esac"
    yield '    case "$previous" in'
    yield f'      -m|--method) words="$({prog} methods --names)" ;;'
    for option, choices in _choices(commands):
        yield f'      {option}) words="{choices}" ;;'
    yield "    esac"
    yield "  fi"
    yield '  COMPREPLY=($(compgen -W "$words" -- "$current"))'
    yield '  case "$current" in -*) ;; *) COMPREPLY+=($(compgen -f -- "$current")) ;; esac'
    yield "}"
    yield f"complete -o filenames -F {name} {prog}"


def _choices(
    commands: dict[str, tuple[str, argparse.ArgumentParser]],
) -> list[tuple[str, str]]:
    found = {
        "|".join(action.option_strings): " ".join(map(str, action.choices))
        for _, child in commands.values()
        for action in child._actions
        if action.option_strings and action.choices
    }
    return sorted(found.items())


def _fish(prog: str, commands: dict[str, tuple[str, argparse.ArgumentParser]]) -> Iterator[str]:
    first = f"complete -c {prog} -n __fish_use_subcommand -f"
    for command, (text, child) in commands.items():
        yield f"{first} -a {command} -d {_quoted(text)}"
        seen = f"complete -c {prog} -n '__fish_seen_subcommand_from {command}'"
        for action in child._actions:
            names = " ".join(
                f"-l {text[2:]}" if text.startswith("--") else f"-s {text[1:]}"
                for text in action.option_strings
            )
            values = " ".join(map(str, action.choices or ()))
            if "--method" in action.option_strings:
                values = f"({prog} methods --names)"
            arguments = f" -x -a {_quoted(values)}" if values else ""
            if names or values:
                described = f" -d {_quoted(action.help or '')}"
                yield f"{seen} {names}{arguments}{described}".replace("  ", " ")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
