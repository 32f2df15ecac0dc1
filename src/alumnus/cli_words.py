"""What the files of verbs share: how a verb takes its words, and how it prints a table."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

# Options that do not exist reach the verb as words, whose message says how to write them.
AS_WORDS = {"ignore_unknown_options": True}
Words = Annotated[list[str] | None, typer.Argument(show_default=False)]

PLAIN_WIDTH = 160  # columns of a table that goes to a file or a pipe


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a table on standard output; as wide as needed, without colours, when that is no terminal."""
    out = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=PLAIN_WIDTH)
    drawn = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        drawn.add_row(*map(Text, row))  # Text, because [onnx] would be taken for markup
    out.print(drawn)
