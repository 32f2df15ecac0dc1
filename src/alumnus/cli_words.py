"""What the files of verbs share: how a verb takes its words, and how it prints a table."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperCommand

from alumnus.cli_help import settings_of
from alumnus.errors import ConfigError, nearest

# Options that do not exist reach the verb as words, whose message says how to write them.
AS_WORDS = {"ignore_unknown_options": True}
Words = Annotated[list[str] | None, typer.Argument(show_default=False, hidden=True)]  # `verb` shows them
PLAIN_WIDTH = 160  # columns of a table that goes to a file or a pipe


def verb(*plain: str, settings: str | None = None, skip: int | None = None) -> type[TyperCommand]:
    """Returns the class of a command that takes words, so that its help says which.

    Args:
        plain: the plain words as usage shows them; one that may be left out is in brackets.
        settings: `module:name` of the function, or class, whose parameters the `key=value` words are; None if there are none.
        skip: how many leading parameters the verb gives itself; by default one a plain word.
    """

    class Verb(TyperCommand):
        def collect_usage_pieces(self, ctx: Any) -> list[str]:
            return ["[OPTIONS]", *plain, *(["[KEY=VALUE]..."] if settings else [])]

        def format_help(self, ctx: Any, formatter: Any) -> None:
            super().format_help(ctx, formatter)
            if settings is not None:
                found = settings_of(settings)[len(plain) if skip is None else skip :]
                table(("setting", "default", "what it is"), found)

        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            rest = super().parse_args(ctx, args)
            for word in ctx.params.get("words") or ():
                if word.startswith("--"):
                    _refuse_near(word, [flag for option in self.params for flag in option.opts])
            return rest

    return Verb


def _refuse_near(word: str, flags: Sequence[str]) -> None:
    """An option that does not exist, if it is nearly one that does; the rest `words` answers."""
    name = word.partition("=")[0]
    close = [flag for flag in flags if flag.startswith("--") and nearest(name[2:], [flag[2:]])]
    if close:
        raise ConfigError(f"there is no option {name!r}{nearest(name, close)}")


def output() -> Console:
    """Returns where results are printed: standard output, wide where it is no terminal; names that look like markup stay as they are."""
    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a table on standard output; as wide as needed, without colours, when that is no terminal."""
    out = output()
    drawn = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        drawn.add_row(*row)
    out.print(drawn)
