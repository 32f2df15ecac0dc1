"""`alumnus teachers …`: which teachers there are, and what the ones of a recipe are worth."""

from __future__ import annotations

import typer

from alumnus import words as read
from alumnus.cli_words import AS_WORDS, Words, output, table, verb
from alumnus.errors import ConfigError, UserError
from alumnus.log import console

app = typer.Typer(help="Teachers to look up, and to audit before training.", no_args_is_help=True)


@app.command(
    "list", context_settings=AS_WORDS, cls=verb("[PATTERN]", settings="alumnus.teachers.catalogue:catalogue")
)
def list_(words: Words = None) -> None:
    """Search published weights by name: alumnus teachers list resnet18, or "vit_*dinov3*" limit=200"""
    patterns, settings = read.split(words or [])
    if len(patterns) > 1:
        raise UserError(
            f"unexpected word {patterns[1]!r}; one PATTERN is searched for, such as 'vit_*dinov3*'"
        )
    from alumnus.teachers import FORMS
    from alumnus.teachers.catalogue import catalogue

    found = catalogue(*patterns, **read.bind(catalogue, settings, skip=1))
    if found.rows:
        table(("source", "px", "licence", "use"), found.rows)
    more = found.total - len(found.rows)
    if more:
        console.print(f"{more:,} more; narrow the pattern, or give limit={found.total}")
    console.print(f"torchvision has {found.torchvision} that fit. All sources: {FORMS}")


@app.command("info", context_settings=AS_WORDS, cls=verb("SOURCE"))
def info(words: Words = None) -> None:
    """Say what is known of a teacher without downloading it: alumnus teachers info timm/resnet18.a1_in1k

    Words of a recipe's entry are taken, and needed where a source does not say all itself: alumnus teachers info python:mine:build size=64
    """
    (source,), settings = read.plain(words or [], "SOURCE")
    from pydantic import ValidationError

    from alumnus.teachers.catalogue import info as look_up
    from alumnus.teachers.spec import TeacherSpec
    from alumnus.training.messages import explain
    from alumnus.training.recipe import read_values

    try:
        spec = TeacherSpec.model_validate({"model": source, **read_values(None, settings)})
    except ValidationError as error:
        raise ConfigError(explain(error, TeacherSpec)) from error
    table(("field", "value"), look_up(spec))


@app.command(
    "audit", context_settings=AS_WORDS, cls=verb("[RECIPE]", settings="alumnus.auditing.run:audit", skip=2)
)
def audit(words: Words = None) -> None:
    """Measure what teachers are worth before training: alumnus teachers audit recipe.yaml out=audit/

    By domain kNN and retrieval, how much teachers agree, their cost and licence; suggests weights, trusted domains and what is redundant.
    Without a recipe: data=images/ teachers="[timm/resnet18, timm/vit_tiny_patch16_224]". Others: limit=1000 images of a domain, seed=0,
    device=auto, and words of the recipe such as teachers.0.size=160.
    """
    recipes, settings = read.split(words or [])
    if len(recipes) > 1:
        raise UserError(f"unexpected word {recipes[1]!r}; after the recipe come key=value words")
    of_recipe = [word for word in settings if "." in word.partition("=")[0]]
    from alumnus.auditing.run import audit as measure
    from alumnus.report.audit import doubts, summary, write_page

    given = read.bind(measure, [word for word in settings if word not in of_recipe], skip=2)
    found = measure(recipes[0] if recipes else None, of_recipe, **given)
    for warning, names in found.warnings.items():
        console.print(f"warning: {', '.join(names)}: {warning}")
    for note in doubts(found):
        console.print(f"note: {note}")
    output().print(summary(found))
    print(f"\n{found.recipe}")
    if given.get("out"):
        print(write_page(found, given["out"]))
