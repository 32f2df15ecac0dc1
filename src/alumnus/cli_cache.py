"""`alumnus cache VERB …`: the store of teacher outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from alumnus import words as read
from alumnus.cli_words import AS_WORDS, Words, table, verb
from alumnus.errors import StoreError, UserError
from alumnus.log import console

app = typer.Typer(help="Teacher outputs on disk: run each teacher once.", no_args_is_help=True)


@app.command(
    context_settings=AS_WORDS,
    cls=verb("[RECIPE]", "out=STORE", settings="alumnus.store.settings:StoreSettings", skip=1),
)
def plan(words: Words = None) -> None:
    """Say what a store will take, measured on a few images: alumnus cache plan recipe.yaml out=store/ views.per_image=8"""
    recipe, settings = _recipe(words)
    from alumnus.training import cache

    store, estimates = cache.plan(recipe, settings)
    table(cache.PLAN_COLUMNS, cache.estimate_rows(store, estimates))


@app.command(
    context_settings=AS_WORDS,
    cls=verb("[RECIPE]", "out=STORE", settings="alumnus.store.settings:StoreSettings", skip=1),
)
def build(words: Words = None) -> None:
    """Compute what is missing: alumnus cache build recipe.yaml out=store/ precision=float16 budget=20GiB

    The words of the recipe work here too. Start it in several terminals, by torchrun, or on machines that share the folder, and they divide
    the work; kill it, and the same command goes on.
    """
    recipe, settings = _recipe(words)
    from alumnus.distributed import is_main, joined
    from alumnus.training import cache

    with joined():
        made = cache.build(recipe, settings)
        for folder in made if is_main() else ():
            print(folder.path)


@app.command(context_settings=AS_WORDS, cls=verb("STORE"))
def info(words: Words = None) -> None:
    """List a store's teachers, outputs and what keeping them lost: alumnus cache info store/"""
    (store,), _ = read.plain(words or [], "STORE")
    from alumnus.training import cache

    table(cache.COLUMNS, cache.info(_store(store)))


@app.command(
    context_settings=AS_WORDS, cls=verb("STORE", "[RECIPE]", settings="alumnus.training.cache:verify", skip=3)
)
def verify(
    words: Words = None,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Remove damaged shards and moments; a build or run makes them again."),
    ] = False,
) -> None:
    """Check every byte, and ask each teacher again about a sample: alumnus cache verify store/ sample=64

    With a recipe behind the store its teachers and data are asked; without one, data=FOLDER says where the images are now. Teachers that
    are code (Python objects, python:, hub:, torchscript:, export:) need the recipe: none is run on the store's word. Exit code 2 if
    anything is wrong or a teacher could not be asked; sample=0 asks none.
    """
    store, recipe, settings = _store_and_recipe(words)
    own = [word for word in settings if word.startswith("sample=")]
    from alumnus.training import cache

    given = read.bind(cache.verify, own, skip=3)
    rest = [word for word in settings if word not in own]
    verdicts = cache.verify(store, recipe, rest, repair=repair, **given)
    rows = [
        (
            v.folder,
            str(v.shards),
            str(len(v.damaged)),
            str(v.asked_again),
            str(v.drifted),
            f"{v.largest_error:.2g}",
            v.note,
        )
        for v in verdicts
    ]
    table(("teacher", "shards", "damaged", "asked again", "drifted", "largest error", "note"), rows)
    wrong = [v.folder for v in verdicts if not v.is_right]
    if wrong:
        raise StoreError(
            f"{', '.join(wrong)}: not what was kept, or not what the teacher says now, or the teacher could not be asked (see the notes); "
            "--repair removes damaged shards, a recipe behind the store gives teachers and data, sample=0 checks the files alone"
        )


@app.command(context_settings=AS_WORDS, cls=verb("STORE", "[RECIPE]"))
def prune(
    words: Words = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Remove it; without this, only say what would go.")
    ] = False,
) -> None:
    """Remove what a recipe does not need, or some teachers: alumnus cache prune store/ recipe.yaml --yes, … store/ teachers=old,older"""
    store, recipe, settings = _store_and_recipe(words)
    named = next((word.removeprefix("teachers=") for word in settings if word.startswith("teachers=")), "")
    if recipe is None and (other := [word for word in settings if not word.startswith("teachers=")]):
        raise UserError(
            f"unexpected word {other[0]!r}; without a recipe prune takes teachers=NAME,… alone, and nothing was removed"
        )
    from alumnus.training import cache

    names = [name for name in named.split(",") if name] if recipe is None else []
    rest = settings if recipe is not None else []
    found = cache.prune(store, recipe, rest, teachers=names, really=yes)
    for path in found:
        print(path)
    if not found:
        console.print(
            "there is nothing to remove: teachers go as a whole, and views or images that the recipe does not ask for stay with theirs"
            if recipe is not None
            else "there is nothing to remove"
        )
    elif not yes:
        console.print("nothing was removed; --yes removes what is listed")


def _recipe(words: list[str] | None) -> tuple[Path | None, list[str]]:
    paths, settings = read.split(words or [])
    if len(paths) > 1:
        raise UserError(f"unexpected word {paths[1]!r}; after the recipe come key=value words")
    return (Path(paths[0]) if paths else None), settings


def _store_and_recipe(words: list[str] | None) -> tuple[Path, Path | None, list[str]]:
    paths, settings = read.split(words or [])
    if not paths or len(paths) > 2:
        raise UserError("wanted: STORE, perhaps a recipe, and key=value words")
    return _store(paths[0]), (Path(paths[1]) if len(paths) == 2 else None), settings


def _store(text: str) -> Path:
    if not Path(text).is_dir():
        raise StoreError(f"there is no store {text}; `alumnus cache build` makes one")
    return Path(text)
