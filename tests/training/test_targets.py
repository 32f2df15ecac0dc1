"""Runs whose teachers speak out of a store: the same as live ones, and chosen where that is less work."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from torch import Tensor, nn

from alumnus.data.loader import NO_OUTPUT
from alumnus.errors import ConfigError
from alumnus.log import read_metrics
from alumnus.models.student import Architecture, Student
from alumnus.moments import Moments
from alumnus.store.folder import Folder
from alumnus.store.make import Store
from alumnus.store.measure import give_back, in_use
from alumnus.training.config import Config
from alumnus.training.limit import over_limit, step_need
from alumnus.training.loop import train
from alumnus.training.plan import Need, arrange, fastest_precision, read_plan
from alumnus.training.recipe import load_config
from alumnus.training.run import Run
from tests.store.made import Counting

RANDOM = {"model": "timm/resnet10t", "weights": "random", "size": 32}


def _config(out: Path, data: Path, **settings: object) -> Config:
    values: dict[str, object] = {
        "out": out,
        "data": [data / name for name in ("discs", "squares", "crosses")],
        "student": "timm/mobilenetv3_small_050",
        "teachers": [
            RANDOM,
            {"model": "timm/vit_tiny_patch16_224", "weights": "random", "size": 32, "domains": ["discs"]},
        ],
        "method": "plain",
        "size": 32,
        "embed_dim": 8,
        "steps": 8,
        "batch_size": 12,
        "workers": 0,
        "log_every": 1,
        "views": {"per_image": 2},
    }
    return load_config(**{**values, **settings})


def _losses(run: Run) -> list[dict[str, float]]:
    lines = read_metrics(run.folder / "metrics.jsonl")
    return [{key: value for key, value in line.items() if key != "images/s"} for line in lines]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, tiny_images: Path) -> Run:
    """A run of live teachers."""
    return train(_config(tmp_path_factory.mktemp("live") / "run", tiny_images))


def test_float32_out_of_a_store_gives_the_losses_of_live_teachers_bit_for_bit(
    live: Run, tmp_path: Path, tiny_images: Path
) -> None:
    """And the same student, from a store that the run itself fills."""
    store = {"path": tmp_path / "store", "precision": "float32"}
    stored = train(_config(tmp_path / "stored", tiny_images, store=store, targets="stored"))
    assert _losses(stored) == _losses(live)
    weights = "model.safetensors"
    assert (stored.student / weights).read_bytes() == (live.student / weights).read_bytes()
    assert read_plan(stored.folder) is not None
    assert json.loads((stored.folder / "plan.json").read_text())["modes"] == {
        "resnet10t": "stored",
        "vit_tiny_patch16_224": "stored",
    }


def test_an_image_that_comes_back_during_a_run_does_not_end_it(
    tmp_path: Path, tiny_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was away when the outputs were computed, so another takes its place, and it is listed."""
    images = tmp_path / "images"
    shutil.copytree(tiny_images, images)
    path = next((images / "discs").rglob("*.png"))
    path.rename(tmp_path / "aside.png")
    path.symlink_to(tmp_path / "nowhere.png")
    fill = Store.fill

    def then_back(self: Store, *given: Any, **settings: Any) -> list[Folder]:
        made = fill(self, *given, **settings)
        path.unlink()
        (tmp_path / "aside.png").rename(path)
        return made

    monkeypatch.setattr(Store, "fill", then_back)
    settings = {"teachers": [RANDOM], "store": tmp_path / "store", "targets": "stored", "steps": 16}
    run = train(_config(tmp_path / "run", images, **settings))
    (line,) = (run.folder / "quarantine.jsonl").read_text().splitlines()
    assert json.loads(line)["reason"] == NO_OUTPUT


def test_float16_out_of_a_store_is_within_a_thousandth(live: Run, tmp_path: Path, tiny_images: Path) -> None:
    """At every step of the run."""
    stored = train(_config(tmp_path / "stored", tiny_images, store=tmp_path / "store", targets="stored"))
    for mine, theirs in zip(_losses(stored), _losses(live), strict=True):
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-3)


def test_what_would_cost_more_to_store_speaks_live(tmp_path: Path, tiny_images: Path) -> None:
    """A run that asks for fewer outputs than are missing; the reason is in the plan, and a longer run stores."""
    short = train(_config(tmp_path / "short", tiny_images, store=tmp_path / "store", steps=2))
    plan = read_plan(short.folder)
    assert plan is not None
    assert set(plan.modes.values()) == {"live"}
    assert plan.why["resnet10t"] == "180 of 180 outputs are missing, the run asks for about 24"
    long = read_plan(
        train(_config(tmp_path / "long", tiny_images, store=tmp_path / "store", steps=16)).folder
    )
    assert long is not None
    assert set(long.modes.values()) == {"stored"}


def test_a_run_goes_on_with_the_precision_that_it_began_with(tmp_path: Path, tiny_images: Path) -> None:
    """Also when the store has come to hold the teacher in a higher one; and its licence is the recipe's, as for a live teacher."""
    teacher = {"model": Counting(), "name": "counting", "size": 16, "licence": "CC-BY-NC-4.0"}
    common = {"teachers": [teacher], "targets": "stored", "steps": 2}
    config = _config(tmp_path / "run", tiny_images, store=tmp_path / "store", checkpoint_every=1, **common)
    run = train(config)
    plan = read_plan(run.folder)
    assert plan is not None
    assert plan.stored == {"counting": "float16"}
    assert json.loads((run.folder / "teachers.json").read_text())[0]["licence"] == "CC-BY-NC-4.0"
    precise = {"path": tmp_path / "store", "precision": "float32"}
    train(_config(tmp_path / "other", tiny_images, store=precise, **common))
    (run.student / "alumnus.json").unlink()
    assert train(config).is_done
    again = read_plan(run.folder)
    assert again is not None
    assert again.stored == plan.stored


def test_stored_targets_need_a_store(tmp_path: Path, tiny_images: Path) -> None:
    """The message says which word is missing."""
    with pytest.raises(ConfigError, match="targets=stored needs store=FOLDER"):
        train(_config(tmp_path / "run", tiny_images, targets="stored"))


def test_a_stored_run_needs_no_teacher_that_it_knows(tmp_path: Path, tiny_images: Path) -> None:
    """A second run loads no network: its weights may even be gone."""
    weights = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(timm.create_model("resnet10t").state_dict(), weights)
    teacher = {"model": "timm/resnet10t", "weights": str(weights), "size": 32}
    common = {"teachers": [teacher], "store": tmp_path / "store", "targets": "stored"}
    train(_config(tmp_path / "first", tiny_images, **common))
    state = weights.stat()
    weights.write_bytes(b"\0" * state.st_size)
    os.utime(weights, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert train(_config(tmp_path / "second", tiny_images, seed=0, **common)).is_done


def test_teachers_that_fit_stay_and_the_largest_visit_first() -> None:
    """Worked by hand: 3 + 2 + 1 of weights and 1 to work."""
    needs = [Need("a", 3, 1), Need("b", 2, 1), Need("c", 1, 1)]
    assert set(arrange(needs, free=7, can_rest=True).values()) == {"live"}
    assert arrange(needs, free=6, can_rest=True) == {"a": "offloaded", "b": "offloaded", "c": "live"}
    assert set(arrange(needs, free=4, can_rest=True).values()) == {"offloaded"}
    with pytest.raises(ConfigError, match=r"3 live teachers need 6 B of weights.*store=FOLDER"):
        arrange(needs, free=3, can_rest=True)
    with pytest.raises(ConfigError, match="store=FOLDER"):
        arrange(needs, free=6, can_rest=False)


def test_a_memory_limit_refuses_live_teachers_that_do_not_fit(tmp_path: Path, tiny_images: Path) -> None:
    """Before anything is written."""
    with pytest.raises(ConfigError, match=r"1 live teachers need .* store=FOLDER"):
        train(_config(tmp_path / "run", tiny_images, teachers=[RANDOM], memory_limit="100MB"))
    assert not (tmp_path / "run").exists()


def test_a_memory_limit_counts_the_student(tmp_path: Path, tiny_images: Path) -> None:
    """Also where all targets are stored: gradients, moments and activations of a step, before anything of the run is written."""
    cpu, store = torch.device("cpu"), {"path": tmp_path / "store", "fill": True}
    common: dict[str, object] = {
        "student": "timm/resnet18",
        "teachers": [{"model": Counting(), "name": "c", "size": 16}],
        "store": store,
        "targets": "stored",
        "size": 64,
    }
    give_back(cpu)  # or what earlier tests freed is given back meanwhile, and counts for this one
    limit = in_use(cpu) + (60 << 20)  # gradients and moments alone take 135 MB
    with pytest.raises(ConfigError, match=r"held before the first step.*larger accumulate.*larger limit"):
        train(_config(tmp_path / "run", tiny_images, memory_limit=limit, **common))
    assert not (tmp_path / "run" / "plan.json").exists()
    large = train(_config(tmp_path / "large", tiny_images, memory_limit="64GiB", **common))
    assert large.is_done


def test_a_students_step_is_measured_without_changing_it() -> None:
    """By hand: three numbers a parameter beside the weights; activations grow with the images."""
    student, objective = Student(Architecture("resnet10t", 32, 8)), nn.Linear(2, 2)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    state = torch.get_rng_state()
    need = step_need(student, objective, images=4, size=32, low=None)
    total = sum(each.numel() for each in [*student.parameters(), *objective.parameters()])
    assert need.kept == 3 * 4 * total
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    assert all(each.grad is None for each in student.parameters())
    assert step_need(student, objective, images=64, size=128, low=None).passing > 100 << 20


def test_a_step_over_the_limit_is_told() -> None:
    """What a method does beside one pass is known only then."""
    assert over_limit(None, torch.device("cpu")) is None
    assert over_limit(1 << 50, torch.device("cpu")) is None
    assert "memory_limit is 1.0 MiB" in str(over_limit(1 << 20, torch.device("cpu")))


def test_the_precision_trial_leaves_the_student_and_the_random_numbers_alone() -> None:
    """Running statistics too."""
    student = Student(Architecture("resnet10t", 32, 8))
    before = {name: value.clone() for name, value in student.state_dict().items()}
    state = torch.get_rng_state()
    chosen, why = fastest_precision(student, batch_size=4, device=torch.device("cpu"))
    assert chosen in ("float32", "bfloat16")
    assert "ms in float32" in why
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_a_hopeless_precision_is_not_tried_on_whole_batches() -> None:
    """On a processor without bfloat16 the trial would take minutes: here each such step waits, and few images are seen."""
    student, seen = Student(Architecture("resnet10t", 32, 8)), list[int]()

    def slow_in_bfloat16(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        if torch.is_autocast_enabled("cpu"):
            seen.append(len(given[0]))
            time.sleep(0.5)

    student.embed.register_forward_pre_hook(slow_in_bfloat16)
    chosen, why = fastest_precision(student, batch_size=16, device=torch.device("cpu"))
    assert chosen == "float32"
    assert seen == [4, 4]
    assert "a step of 4 images" in why


def test_an_automatic_precision_is_kept_when_a_run_is_resumed(tmp_path: Path, tiny_images: Path) -> None:
    """It is measured once, when the run begins."""
    config = _config(
        tmp_path / "run",
        tiny_images,
        teachers=[{"model": Counting(), "name": "c", "size": 16}],
        precision="auto",
        checkpoint_every=2,
    )
    run = train(config)
    plan = json.loads((run.folder / "plan.json").read_text())
    (run.student / "alumnus.json").unlink()
    plan["precision"] = "bfloat16" if plan["precision"] == "float32" else "float32"
    (run.folder / "plan.json").write_text(json.dumps(plan))
    assert train(config).is_done
    assert json.loads((run.folder / "plan.json").read_text())["precision"] == plan["precision"]


def test_of_logits_no_moments_are_gathered(tmp_path: Path, tiny_images: Path) -> None:
    """A classifier beside a teacher of features, whose normaliser alone is fitted."""
    classifier = {"model": Counting(), "name": "classes", "size": 16, "output": "logits"}
    teachers = [{"model": Counting(), "name": "features", "size": 16}, classifier]
    run = train(
        _config(
            tmp_path / "run", tiny_images, teachers=teachers, method={"name": "repcon", "normalise": "phi_s"}
        )
    )
    assert [path.stem for path in (run.folder / "moments").iterdir()] == ["features"]


def test_a_teacher_of_one_domain_has_as_many_rows_for_its_moments(
    tmp_path: Path, tiny_images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows count on which it is trusted; one that is trusted everywhere is not asked more often for that."""
    monkeypatch.setattr("alumnus.training.moments.LIVE_ROWS", 64)
    one = {"model": Counting(), "name": "one", "size": 16, "domains": ["discs"]}
    everywhere = {"model": Counting(), "name": "everywhere", "size": 16}
    method = {"name": "plain", "normalise": "phi_s"}
    run = train(_config(tmp_path / "run", tiny_images, teachers=[one, everywhere], method=method))
    counts = {
        name: Moments.load(run.folder / "moments" / f"{name}.safetensors").count
        for name in ("one", "everywhere")
    }
    assert all(64 <= count < 64 + 12 for count in counts.values()), counts  # a batch more at most


def test_fitted_normalisers_are_the_same_live_and_stored_and_after_a_stop(
    tmp_path: Path, tiny_images: Path
) -> None:
    """Their moments are kept with the run: of the store's outputs, or of what live teachers say before the first step."""
    method = {"name": "plain", "normalise": "phi_s"}
    store = {"path": tmp_path / "store", "precision": "float32"}
    common = {
        "teachers": [{"model": Counting(), "name": "counting", "size": 16}],
        "method": method,
        "checkpoint_every": 2,
    }
    stored = train(_config(tmp_path / "stored", tiny_images, store=store, targets="stored", **common))
    kept = Moments.load(stored.folder / "moments" / "counting.safetensors")
    assert kept.count == 180
    live = train(_config(tmp_path / "live", tiny_images, **common))
    said = Moments.load(live.folder / "moments" / "counting.safetensors")
    torch.testing.assert_close(said.mean, kept.mean, rtol=0.02, atol=0)
    (live.student / "alumnus.json").unlink()
    before = (live.student / "model.safetensors").read_bytes()
    assert (
        train(_config(tmp_path / "live", tiny_images, **common)).student / "model.safetensors"
    ).read_bytes() == before
