"""`alumnus VERB …`: a thin verb for each public function, and what every verb shares: words, exit codes, signals.

Exit codes: 0 done; 2 the input is wrong (one message, no traceback); 1 anything else; 130 or 143 stopped by Ctrl-C or SIGTERM.
Each verb imports what it needs when it runs, so that `alumnus --help` answers at once.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from alumnus import cli_cache, cli_teachers
from alumnus import words as read
from alumnus.cli_words import AS_WORDS, Words, output, table, verb
from alumnus.errors import RunError, UserError
from alumnus.faults import explained
from alumnus.log import console

app = typer.Typer(
    help="One student from many teachers: train it, prove it, use it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="Known data sets to get; any images to check and curate.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(cli_cache.app, name="cache")
app.add_typer(cli_teachers.app, name="teachers")

GOING_ON = (["train"], ["demo"], ["bench"], ["cache", "build"], ["data", "pack"])  # what is done stays done
ANEW = ("resume=never", "--from")  # words with which these, too, begin again


class Terminated(BaseException):
    """SIGTERM came. Not an Exception, so that nothing on the way takes it for an error to work around."""


def main() -> NoReturn:
    """The command `alumnus`."""
    signal.signal(signal.SIGTERM, partial(_terminate, os.getpid()))
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Runs one command line and returns its exit code.

    Raises:
        Exception: what nobody foresaw, for its traceback.
    """
    try:
        app(list(arguments), prog_name="alumnus")
    except UserError as error:
        return _say(f"error: {error}", code=2)
    except RunError as error:
        return _say(f"failed: {error}", code=1)
    except Terminated:
        return _say(_stopped(arguments), code=128 + signal.SIGTERM)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
        return _say(_stopped(arguments), code=code) if code == 128 + signal.SIGINT else code
    except (OSError, MemoryError, RuntimeError) as error:
        limit = explained(error)
        if limit is None:
            raise
        return _say(f"failed: {limit}", code=1)
    return 0


def _stopped(arguments: Sequence[str]) -> str:
    if not any(list(arguments[: len(verb)]) == verb for verb in GOING_ON):
        return "stopped; the same command begins again"
    anew = [word for word in ANEW if any(given.startswith(word) for given in arguments)]
    without = f", without {' and '.join(anew)}, which would begin again" if anew else ""
    return f"stopped; resume with the same command{without}"


@contextmanager
def _importing() -> Iterator[None]:
    """Imports make objects that stay: to search them for garbage costs an eighth of a start (docs/lab/2026-11-28-training-speed.md)."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@app.command(context_settings=AS_WORDS, cls=verb(settings="alumnus.demo:run"))
def demo(
    words: Words = None,
    seeds: Annotated[int, typer.Option(min=1, help="Repeat with that many seeds, for intervals.")] = 1,
) -> None:
    """From nothing to a proven student on real images: alumnus demo out=runs/demo"""
    _, settings = read.plain(words or [])
    with _importing():
        from alumnus import demo as demonstration

    given = [*settings, *([] if any(word.startswith("seeds=") for word in settings) else [f"seeds={seeds}"])]
    demonstration.run(**read.bind(demonstration.run, given))


@app.command(
    context_settings=AS_WORDS, cls=verb("[RECIPE]", settings="alumnus.training.config:Config", skip=0)
)
def train(
    words: Words = None,
    begin_at: Annotated[
        str | None, typer.Option("--from", metavar="STAGE", help="Begin anew at this stage of the recipe.")
    ] = None,
) -> None:
    """Train a student: alumnus train recipe.yaml out=runs/x steps=2000 teachers.0.weight=2

    recipe:NAME is a recipe that comes with Alumnus, see `alumnus recipes`. Of a recipe with stages, finished ones are passed over.
    """
    paths, settings = read.split(words or [])
    if len(paths) > 1:
        raise UserError(f"unexpected word {paths[1]!r}; after the recipe come key=value words")
    with _importing():
        from alumnus.distributed import is_main, joined
        from alumnus.training.stages import load_stages, train_stages

    with joined():
        run = train_stages(load_stages(paths[0] if paths else None, settings), begin_at=begin_at)
        if is_main():
            print(run.folder)


@app.command(context_settings=AS_WORDS, cls=verb("[NAME]"))
def recipes(words: Words = None) -> None:
    """List the recipes that come with Alumnus, or print one: alumnus recipes experts > mine.yaml"""
    names, settings = read.split(words or [])
    if settings or len(names) > 1:
        raise UserError(
            f"unexpected word {[*settings, *names[1:]][0]!r}; wanted: the NAME of a recipe, or nothing"
        )
    from alumnus import recipes as shipped

    if names:
        print(shipped.text(names[0].removeprefix(shipped.PREFIX)), end="")
    else:
        table(("recipe", "what for"), ((name, shipped.title(name)) for name in shipped.names()))


@app.command(context_settings=AS_WORDS, cls=verb("RUN"))
def replay(words: Words = None) -> None:
    """Do again the step at which a run met NaN or Inf: alumnus replay runs/demo"""
    (folder,), _ = read.plain(words or [], "RUN")
    from alumnus.training.replay import COLUMNS
    from alumnus.training.replay import replay as do_again

    found = do_again(folder)
    print(f"step {found.failure.step}: {found.failure.why}")
    table(COLUMNS, found.rows)
    print(
        "finite now: not the run itself, but the machine or a library differs"
        if found.is_finite
        else "not finite again"
    )


@app.command(context_settings=AS_WORDS, cls=verb("MODEL", settings="alumnus.scoring:evaluate"))
def evaluate(words: Words = None) -> None:
    """Score a model: alumnus evaluate runs/demo/student data=dataset/"""
    (model,), settings = read.plain(words or [], "MODEL")
    from alumnus import evaluate as score
    from alumnus.distributed import is_main, joined

    with joined():
        results = score(model, **read.bind(score, settings, skip=1))
        if is_main():
            table(("metric", "value"), ((name, f"{value:.4f}") for name, value in results.items()))


@app.command(context_settings=AS_WORDS, cls=verb("--suite SUITE --models MODEL... --out FOLDER"))
def bench(words: Words = None) -> None:
    """Score models on a suite of tasks: alumnus bench --suite gvb26 --models runs/demo/student timm/resnet18 pixels --out bench/

    --suite gvb26, uned8 or a YAML file. --models: student folders, teacher sources, ONNX files, models.yaml, pixels, untrained:timm/NAME.
    --fractions 0.01 0.1 1 of the labels, --seeds 3, --budget quick, standard or full, --size PX, --tasks NAME..., --compare A B, --plan to
    see what would be done. The same command continues a run that was stopped.
    """
    from alumnus.bench.options import read_options

    settings = read_options(words or [])
    from alumnus.bench.run import bench as run_bench
    from alumnus.bench.summary import tell
    from alumnus.distributed import is_main, joined

    with joined():
        summary = run_bench(**settings)
        if is_main():
            tell(summary, output())


@app.command(context_settings=AS_WORDS, cls=verb("MODEL", settings="alumnus.adaptation.run:adapt"))
def adapt(words: Words = None) -> None:
    """Fit a student to a labelled dataset: alumnus adapt runs/demo/student data=photos/ out=runs/photos method=finetune fraction=0.1"""
    (model,), settings = read.plain(words or [], "MODEL")
    from alumnus.adaptation.run import adapt as fit

    adapted = fit(model, **read.bind(fit, settings, skip=1))
    scores = adapted.about.scores.items()
    rows = ((name, f"{score.mean:.4f}", f"{score.low:.4f} to {score.high:.4f}") for name, score in scores)
    if scores:
        table(("test score", "mean", "95 % interval"), rows)
    print(adapted.folder)


@app.command(context_settings=AS_WORDS, cls=verb("MODEL...", settings="alumnus.merging:merge"))
def merge(words: Words = None) -> None:
    """Make one student of several by their weights: alumnus merge runs/a/student runs/b/student out=runs/soup data=dataset/

    An average, with weights=[0.7,0.3] of unequal shares. With base=runs/first/student scale=0.4 it is task arithmetic.
    """
    models, settings = read.split(words or [])
    if not models:
        raise UserError("MODELS are missing; wanted: student folders, out=FOLDER and other key=value words")
    from alumnus import merge as merge_weights

    print(merge_weights(models, **read.bind(merge_weights, settings, skip=1)))


@app.command(
    context_settings=AS_WORDS, cls=verb("OLD", "NEW", settings="alumnus.adaptation.consolidate:consolidate")
)
def consolidate(words: Words = None) -> None:
    """Two detectors into one, without labels: alumnus consolidate runs/old runs/new data=photos/ out=runs/both"""
    (old, new), settings = read.plain(words or [], "OLD", "NEW")
    from alumnus.adaptation.consolidate import consolidate as join

    print(join(old, new, **read.bind(join, settings, skip=2)).folder)


@app.command(
    context_settings=AS_WORDS, cls=verb("MODEL", "IMAGES...", settings="alumnus.adaptation.use:predict")
)
def predict(words: Words = None) -> None:
    """Use an adapted model on images: alumnus predict runs/photos images/ out=labels.csv"""
    (model,), images, settings = read.with_sources(words or [], "MODEL", "IMAGES")
    from alumnus import predict as write_predictions

    print(write_predictions(model, images, **read.bind(write_predictions, settings, skip=2)))


@app.command(context_settings=AS_WORDS, cls=verb("MODEL", "IMAGES...", settings="alumnus.encoder:embed"))
def embed(words: Words = None) -> None:
    """Turn images into vectors: alumnus embed runs/demo/student images/ out=vectors.parquet"""
    (model,), images, settings = read.with_sources(words or [], "MODEL", "IMAGES")
    from alumnus import embed as write_vectors
    from alumnus.distributed import is_main, joined

    with joined():
        path = write_vectors(model, images, **read.bind(write_vectors, settings, skip=2))
        if is_main():
            print(path)


@app.command(context_settings=AS_WORDS, cls=verb("RUN"))
def report(words: Words = None) -> None:
    """Write a run's report.html again: alumnus report runs/demo"""
    (folder,), settings = read.plain(words or [], "RUN")
    from alumnus.report.html import write_report

    print(write_report(Path(folder), **read.bind(write_report, settings, skip=1)))


@app.command()
def doctor() -> None:
    """What this machine has for Alumnus, and what it lacks."""
    from alumnus.doctor import report as examine

    table(("topic", "name", "found", "note"), examine())


@app.command()
def schema() -> None:
    """Print the JSON schema of a recipe, for editors."""
    from alumnus.training.config import schema as recipe_schema

    print(json.dumps(recipe_schema(), indent=2))


@app.command()
def version() -> None:
    """Print the version."""
    from importlib import metadata

    print(metadata.version("alumnus"))


@data_app.command("list")
def data_list() -> None:
    """Name every known data set."""
    from alumnus import datasets

    table(("name", "what"), ((name, datasets.info(name).title) for name in datasets.names()))


@data_app.command("info", context_settings=AS_WORDS, cls=verb("NAME"))
def data_info(words: Words = None) -> None:
    """Say where a data set comes from, its licence and its splits: alumnus data info emoji"""
    (name,), _ = read.plain(words or [], "NAME")
    from alumnus import datasets

    table(("field", "value"), datasets.info(name))


@data_app.command("get", context_settings=AS_WORDS, cls=verb("NAME", settings="alumnus.datasets:get"))
def data_get(words: Words = None) -> None:
    """Fetch a data set and draw it as a dataset folder: alumnus data get emoji out=datasets/emoji size=96"""
    (name,), settings = read.plain(words or [], "NAME")
    from alumnus import datasets

    print(datasets.get(name, **read.bind(datasets.get, settings, skip=1)))


@data_app.command(
    "check", context_settings=AS_WORDS, cls=verb("IMAGES...", settings="alumnus.curation.check:check")
)
def data_check(
    words: Words = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 2 if a fault is found.")] = False,
) -> None:
    """Find broken files, copies, leaks and wrong labels: alumnus data check images/ out=check/ --strict"""
    sources, settings = read.split(words or [])
    if not sources:
        raise UserError("IMAGES is missing; wanted: IMAGES and key=value words, such as out=check/")
    from alumnus.curation.check import check
    from alumnus.report.check import summary, write_page

    given = read.bind(check, settings, skip=1)
    found = check(sources, **given)
    output().print(summary(found))
    if given.get("out"):
        print(write_page(found, given["out"]))
    if strict and any(found.faults.values()):
        faults = ", ".join(f"{count:,} {what}" for what, count in found.faults.items() if count)
        raise UserError(f"{faults}. Mend them, or write a clean set: alumnus data curate")


@data_app.command(
    "curate", context_settings=AS_WORDS, cls=verb("IMAGES...", settings="alumnus.curation.curate:curate")
)
def data_curate(words: Words = None) -> None:
    """Write a set without copies, balanced or smaller: alumnus data curate images/ out=curated/ balance=domain fraction=0.1"""
    sources, settings = read.split(words or [])
    if not sources:
        raise UserError("IMAGES is missing; wanted: IMAGES, out=FOLDER and other key=value words")
    from alumnus.curation.curate import curate

    print(curate(sources, **read.bind(curate, settings, skip=1)))


@data_app.command(
    "pack", context_settings=AS_WORDS, cls=verb("IMAGES...", settings="alumnus.curation.pack:pack")
)
def data_pack(words: Words = None) -> None:
    """Decode a set once, for fast epochs: alumnus data pack images/ out=packed/ short_side=128 budget=20GB"""
    sources, settings = read.split(words or [])
    if not sources:
        raise UserError("IMAGES is missing; wanted: IMAGES, out=FOLDER and other key=value words")
    from alumnus.curation.pack import pack

    print(pack(sources, **read.bind(pack, settings, skip=1)))


def _say(message: str, *, code: int) -> int:
    console.print(message)
    return code


def _terminate(main_process: int, number: int, frame: FrameType | None) -> None:
    if os.getpid() != main_process:  # a forked worker inherits this handler, and should just go
        os._exit(128 + number)
    # When the whole process group is stopped, torch would report its dead workers as an error while we leave.
    signal.signal(signal.SIGCHLD, lambda *_: None)
    raise Terminated
