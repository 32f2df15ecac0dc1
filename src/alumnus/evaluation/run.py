"""Score any number of models on a dataset: `score`. Of a student folder, `alumnus.scoring` does it.

Every model sees the same images, read once, and the same queries, so differences between models are paired. With `out`, leaves there
`results.json`, `gallery.json` and `evaluate.quarantine.jsonl`, from which the report is made.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from alumnus.data.dataset import Dataset
from alumnus.data.names import printable
from alumnus.data.quarantine import Quarantine, check_parts, passes_limit
from alumnus.disk import check_writable
from alumnus.distributed import decided, is_main
from alumnus.errors import ConfigError, DataError
from alumnus.evaluation.arrays import Floats, Ids
from alumnus.evaluation.assemble import Cost, columns, differences, model_scores
from alumnus.evaluation.baselines import CONCATENATION, ORACLE, REDUCED, check_specialists, choose_specialists
from alumnus.evaluation.compare import RESAMPLES, resample
from alumnus.evaluation.encode import Scored
from alumnus.evaluation.gallery import write_gallery
from alumnus.evaluation.interference import check_generalist, interference
from alumnus.evaluation.knn import classify, make_task
from alumnus.evaluation.reduction import reduced_teachers
from alumnus.evaluation.results import DomainCount, Results, write_results
from alumnus.evaluation.retrieval import Retrieval, retrieve
from alumnus.evaluation.vectors import check_names, concatenated, encode_paths, ms_per_image
from alumnus.log import console, number_of, progress

QUARANTINE = "evaluate.quarantine.jsonl"
SPARE = "spare"  # near copies of held-out classes; scoring them would flatter


def score(
    models: Sequence[Scored],
    data: Dataset,
    *,
    split: str = "test",
    index_split: str | None = None,
    concatenate: bool = True,
    oracle: bool = True,
    specialists: Mapping[str, str] | None = None,
    generalist: str | None = None,
    out: Path | None = None,
    batch_size: int = 64,
    workers: int = 2,
    device: str = "cpu",
    resamples: int = RESAMPLES,
    seed: int = 0,
    max_bad_fraction: float = 0.05,
    knn: bool = True,
) -> Results:
    """Returns the scores of all models and the paired differences between the first student (or first model) and each other one.

    Args:
        models: of distinct names, on their devices.
        split: the images that ask, and that answer unless `index_split` is given; several are joined by `+`.
        index_split: the images that answer, in the query/index protocol.
        concatenate: add all teachers side by side, if there are two or more, and that at the student's width, see `reduction`.
        oracle: add the specialist oracle, if there are teachers.
        specialists: domain -> model name, for the oracle; by default the teachers trusted on that domain.
        generalist: the model that the matrix of interference is relative to; by default, of several teachers, the only one trusted
            everywhere, the student's first weights, or the best teacher.
        out: folder for results.json, gallery.json and evaluate.quarantine.jsonl.
        batch_size, workers: of the reading.
        device: of the search, see `search`.
        resamples, seed: of the bootstrap; the seed also chooses the gallery.
        max_bad_fraction: more unreadable images than this part of the data, of those that ask or of those that answer, stop the evaluation.
        knn: score nearest-neighbour classification of the images that ask too, where classes of the training split do.

    Of several processes that torchrun started, all call this alike: they share the encoding and the search, and the first one writes.

    Raises:
        DataError: nothing to score; says which splits there are.
        TooManyBadImages: see `max_bad_fraction`.
    """
    check_names([model.name for model in models] + [CONCATENATION, REDUCED, ORACLE])
    if not models:
        raise ConfigError("there is no model to score")
    if out is not None:
        check_writable(out, is_folder=True)
    queries, index = _queries_and_index(data, split, index_split)
    asked = [data.domains[d] for d in np.unique(data.domain[queries])]
    check_specialists(specialists or {}, [model.name for model in models], asked)
    check_generalist(generalist, [model.name for model in models])
    task = make_task(data, queries, seed=seed, wanted=knn)
    rows = np.unique(np.concatenate([queries, index, task.train, task.queries]))
    paths = [data.paths[row] for row in rows]
    enough = passes_limit(
        [data.file_names[row] for row in rows], total=len(data), max_bad_fraction=max_bad_fraction
    )
    encoded = encode_paths(
        models, paths, batch_size=batch_size, workers=workers, together=True, enough=enough
    )
    table, bad, notes = dict(encoded.of), encoded.bad, dict[str, str]()
    _note_bad(data, rows, bad, (queries, index), out, max_bad_fraction)
    if concatenate:
        table |= _concatenation(models, table)
        small = reduced_teachers(models, table, data, batch_size=batch_size, workers=workers, seed=seed)
        if small is not None:
            table[REDUCED], notes[REDUCED] = small
    readable = np.setdiff1d(np.arange(len(rows)), list(bad))
    asking, answering = (_places(rows, chosen, readable) for chosen in (queries, index))
    if not len(asking):
        raise DataError(f"not one image of the split {split!r} could be read")
    found = _search(table, data, rows, asking, answering, device=device)
    domains = {int(d): data.domains[int(d)] for d in np.unique(data.domain[rows[asking]])}
    chosen = choose_specialists(models, found, domains, given=specialists) if oracle else {}
    reference = next((model.name for model in models if model.kind == "student"), models[0].name)
    drawn = resample(columns(found, chosen), found[reference].domain, resamples=resamples, seed=seed)
    times = decided(lambda: ms_per_image(models))  # while the other processes wait
    costs = {model.name: Cost(model.num_parameters, times[model.name]) for model in models}
    scored = model_scores(
        models,
        {name: vectors.shape[1] for name, vectors in table.items()},
        drawn,
        costs=costs,
        notes=notes,
        domains=domains,
        chosen=chosen,
        knn=classify(
            task, table, data, rows, readable=readable, seed=seed, resamples=resamples, device=device
        ),
    )
    results = Results(
        split=split,
        index_split=index_split,
        seed=seed,
        resamples=resamples,
        fingerprint=data.fingerprint,
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        versions=_versions(),
        timing=f"one image at a time, {torch.get_num_threads()} CPU threads, {_device_name()}",
        domains=_counts(found[reference], data.domain[rows[answering]], domains),
        num_images=len(rows) - len(bad),
        num_bad=len(bad),
        models=scored,
        knn_note=task.note,
        reference=reference,
        differences=differences(scored, drawn, domains, reference),
        interference=interference(models, scored, drawn, domains, generalist=generalist),
    )
    if out is not None and is_main():
        write_results(results, out / "results.json")
        write_gallery(out / "gallery.json", reference, found[reference], data, rows, seed=seed)
    return results


def _queries_and_index(data: Dataset, split: str, index_split: str | None) -> tuple[Ids, Ids]:
    """Returns the dataset's rows that ask and that answer; images without a label only answer, as distractors."""
    asking, answering = (_in_splits(data, names) for names in (split, index_split or split))
    queries = np.flatnonzero(asking & (data.label >= 0))
    if not len(queries):
        raise DataError(f"no image of the split {split!r} has a label; retrieval is scored by labels")
    return queries, np.flatnonzero(answering)


def _in_splits(data: Dataset, names: str) -> npt.NDArray[np.bool_]:
    """Returns which rows are in a split, or in one of several joined by `+`."""
    found = np.zeros(len(data), bool)
    for name in names.split("+"):
        here = data.split == name
        if name == SPARE or not here.any():
            there = {str(s): int(n) for s, n in zip(*np.unique(data.split, return_counts=True), strict=True)}
            allowed = ", ".join(f"{s} ({n} images)" for s, n in there.items() if s != SPARE)
            raise DataError(
                f"there is nothing to score in the split {name!r}; give split= one of: {allowed or 'none'}"
            )
        found |= here
    return found


def _concatenation(models: Sequence[Scored], table: Mapping[str, Floats]) -> dict[str, Floats]:
    """Returns the row of all teachers side by side, if there are two or more."""
    teachers = [model.name for model in models if model.kind == "teacher"]
    return {CONCATENATION: concatenated([table[name] for name in teachers])} if len(teachers) > 1 else {}


def _search(
    table: Mapping[str, Floats], data: Dataset, rows: Ids, asking: Ids, answering: Ids, *, device: str
) -> dict[str, Retrieval]:
    """Returns what each model finds. Args: asking and answering are places in `rows`."""
    return {
        name: retrieve(
            table[name],
            domain=data.domain[rows],
            label=data.label[rows],
            queries=asking,
            index=answering,
            device=device,
        )
        for name in progress(table, "search")
    }


def _note_bad(
    data: Dataset,
    rows: Ids,
    bad: Mapping[int, str],
    parts: Sequence[Ids],
    out: Path | None,
    max_bad_fraction: float,
) -> None:
    # A name of its own: `out` may be a run, which keeps a list of its training images.
    path = out / QUARANTINE if out is not None and is_main() else None
    quarantine = Quarantine(path, total=len(data), max_bad_fraction=max_bad_fraction, anew=True)
    for place, reason in sorted(bad.items()):
        quarantine.add(data.file_names[rows[place]], reason)
    by_row = {int(rows[place]): reason for place, reason in bad.items()}
    check_parts(data.file_names, by_row, parts, max_bad_fraction=max_bad_fraction)
    if bad and is_main():
        where = "" if path is None else f"; they are in {printable(path)}"
        console.print(f"{number_of(len(bad), 'image')} could not be read and left out{where}")


def _places(rows: Ids, chosen: Ids, readable: Ids) -> Ids:
    """Returns where the readable ones of the chosen rows are in `rows`."""
    places: Ids = np.intersect1d(np.searchsorted(rows, chosen), readable)
    return places


def _counts(found: Retrieval, answering: Ids, domains: Mapping[int, str]) -> tuple[DomainCount, ...]:
    """Args: answering is the domain of each image of the index."""
    return tuple(
        DomainCount(
            name,
            num_queries=int((found.domain == d).sum()),
            num_index=int((answering == d).sum()),
            num_without_relevant=int(((found.domain == d) & (found.relevant == 0)).sum()),
        )
        for d, name in domains.items()
    )


def _versions() -> dict[str, str]:
    packages = ("alumnus", "torch", "numpy", "faiss-cpu", "timm", "pillow")
    return {"python": platform.python_version()} | {p: importlib.metadata.version(p) for p in packages}


def _device_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else (platform.machine() or "CPU")
