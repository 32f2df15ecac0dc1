"""The recipes that come with Alumnus: each is whole, says what it is for, and `experts` runs from end to end."""

from __future__ import annotations

from pathlib import Path

import pytest

from alumnus import recipes
from alumnus.cli import run
from alumnus.errors import ConfigError
from alumnus.models.artifact import load_student
from alumnus.training.stages import load_stages

TINY = "{model: timm/test_efficientnet, weights: random, name: generalist, size: 32}"


def test_each_is_a_recipe_with_a_line_about_it() -> None:
    """Loaded and checked as training would; the first line is a sentence."""
    assert {"first", "many", "experts"} <= set(recipes.names())
    for name in recipes.names():
        assert load_stages(f"recipe:{name}")
        assert recipes.title(name).endswith(".")


def test_experts_have_the_shape_of_the_demo() -> None:
    """An expert a domain from labels; then students that see no label and are taught by all of them and a generalist."""
    *experts, student, fine = (stage.config for stage in load_stages("recipe:experts"))
    assert [config.method.name for config in experts] == ["supervised"] * len(experts)
    assert len({config.domains for config in experts}) == len(experts) >= 2
    for config in (student, fine):
        assert config.method.name == "agglomerate"
        assert [spec.source for spec in config.teachers[1:]] == [
            f"alumnus:{expert.out}/student" for expert in experts
        ]
    assert fine.student.model == f"alumnus:{student.out}/student"
    assert fine.size > student.size
    assert fine.lr < student.lr


def test_a_proxy_goes_between_the_teachers_and_the_student(tiny_images: Path, tmp_path: Path) -> None:
    """Two teachers, one large student, of which a small one learns, which is finished at a larger size."""
    large, small, fine = (stage.config for stage in load_stages("recipe:proxy"))
    assert len(large.teachers) > 1
    assert [spec.source for spec in small.teachers] == [f"alumnus:{large.out}/student"]
    assert fine.student.model == f"alumnus:{small.out}/student"
    assert fine.size > small.size
    words = [f"out={tmp_path / 'run'}", f"data={tiny_images / 'discs'}"]
    words += ["size=32", "embed_dim=8", "batch_size=6", "workers=0", "precision=float32"]
    words += [f"stages.{name}.steps=1" for name in ("large", "small", "fine")]
    words += [f"stages.large.teachers=[{TINY}, {TINY.replace('generalist', 'other')}]"]
    words += ["stages.large.student=timm/test_vit", "stages.small.student=timm/test_efficientnet"]
    assert run(["train", "recipe:proxy", *words, "stages.fine.size=40"]) == 0
    assert load_student(tmp_path / "run" / "student").size == 40


def test_the_verb_lists_and_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """What it prints is the file, so that it can be kept and changed; a misspelt name is answered."""
    assert run(["recipes"]) == 0
    listed = capsys.readouterr().out
    for name in recipes.names():
        assert recipes.title(name) in listed
    assert run(["recipes", "first"]) == 0
    assert capsys.readouterr().out == (recipes.FOLDER / "first.yaml").read_text()
    assert run(["recipes", "frist"]) == 2
    assert "did you mean 'first'" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="no recipe 'frist'"):
        load_stages("recipe:frist")


def test_experts_run_from_end_to_end(
    tiny_images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`alumnus train recipe:experts` with words for tiny images and networks; then again from a stage."""
    out = tmp_path / "run"
    domains = ("discs", "squares", "crosses")
    data = ", ".join(str(tiny_images / domain) for domain in domains)
    words = [f"out={out}", f"data=[{data}]", "student=timm/test_efficientnet"]
    words += ["size=32", "embed_dim=8", "batch_size=6", "workers=0"]
    words += [f"stages.{name}.steps=1" for name in ("emoji", "logos", "flags", "student", "fine")]
    words += [f"stages.{stage}.teachers.0={TINY}" for stage in ("student", "fine")]
    words += ["stages.fine.size=40"]
    for expert, domain in enumerate(domains):
        words.append(f"stages.{expert}.domains=[{domain}]")
        words += [f"stages.{stage}.teachers.{expert + 1}.domains=[{domain}]" for stage in ("student", "fine")]
    assert run(["train", "recipe:experts", *words]) == 0, capsys.readouterr().err
    assert capsys.readouterr().out.strip() == str(out)
    assert load_student(out / "student").size == 40
    assert load_student(out / "stages" / "student" / "student").size == 32
    written = {path: path.stat().st_mtime_ns for path in out.rglob("model.safetensors")}
    assert len(written) == 5
    assert run(["train", "recipe:experts", *words, "--from", "fine"]) == 0
    changed = [path for path, when in written.items() if path.stat().st_mtime_ns > when]
    assert changed == [out / "student" / "model.safetensors"]
    assert run(["train", "recipe:experts", *words, "--from", "fin"]) == 2
    assert "did you mean 'fine'" in capsys.readouterr().err
