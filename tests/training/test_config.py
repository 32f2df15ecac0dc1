"""One configuration, whether it comes from a recipe, words or keyword arguments; and messages that help."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError
from torch import nn

from alumnus.data.dynamic import DynamicSettings
from alumnus.errors import ConfigError
from alumnus.methods.plain import Settings
from alumnus.training.config import Config, dump, schema
from alumnus.training.method import DEFAULT_METHOD
from alumnus.training.recipe import load_config
from alumnus.weighting import WeightingSettings

RECIPE = {
    "out": "runs/x",
    "data": "images/",
    "student": "timm/resnet18",
    "teachers": ["timm/resnet50", {"model": "onnx:faces.onnx", "size": 112, "domains": ["faces"]}],
    "method": {"name": "plain", "projector": "mlp"},
    "lr": "2e-3",
}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe file."""
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(RECIPE))
    return path


def test_recipe_words_and_keywords_give_the_same_object(recipe: Path) -> None:
    """Three ways, one configuration."""
    from_file = load_config(recipe, ["steps=7", "teachers.0.weight=2"])
    teachers = [{"model": "timm/resnet50", "weight": 2}, RECIPE["teachers"][1]]  # type: ignore[index]
    from_keywords = load_config(**{**RECIPE, "steps": 7, "teachers": teachers})
    words = ["out=runs/x", "data=images/", "student=timm/resnet18", "lr=2e-3", "steps=7"]
    words += ["teachers=[timm/resnet50, {model: 'onnx:faces.onnx', size: 112, domains: [faces]}]"]
    words += ["teachers.0.weight=2", "method=plain", "method.projector=mlp"]
    assert from_file == from_keywords == load_config(None, words)
    assert from_file.lr == 2e-3
    assert isinstance(from_file.method, Settings)


def test_one_teacher_needs_no_list(recipe: Path) -> None:
    """As text, with words that set more of it, as a mapping, or as the thing itself; `data` is as it was."""
    for words in (
        ["teachers=python:mine:build"],
        ["teachers=python:mine:build", "teachers.0.size=64"],
        ["teachers=python:mine:build", "teachers.size=64"],
        ["teachers={model: 'python:mine:build', size: 64}"],
    ):
        (teacher,) = load_config(recipe, words).teachers
        assert teacher.model == "python:mine:build"
        assert teacher.size == (64 if "size" in words[-1] else None)
    assert load_config(recipe, teachers=len).teachers[0].model is len
    assert load_config(recipe, ["data=a", "data.0.role=generic"]).data[0].role == "generic"  # type: ignore[union-attr]


@pytest.mark.parametrize("key", ["student", "students"])
def test_a_network_is_no_student(key: str) -> None:
    """It is said in words what is."""
    network = nn.Linear(2, 2)
    given = {"out": "runs/x", "data": "images/", key: [network] if key == "students" else network}
    with pytest.raises(
        ConfigError, match=r"student: an object of type Linear is not supported .*; give timm/NAME"
    ):
        load_config(**given)


def test_settings_of_a_method_without_its_name_are_the_defaults(tmp_path: Path) -> None:
    """`method.adaptor=linear` alone; and what it has not is told by its name."""
    given = {"out": tmp_path, "data": "images/", "student": "timm/resnet18"}
    config = load_config(None, ["method.adaptor=linear"], **given)
    assert config.method.model_dump()["name"] == DEFAULT_METHOD
    assert config.method.model_dump()["adaptor"] == "linear"
    with pytest.raises(ConfigError, match=r"adaptr: unknown setting; did you mean .adaptor."):
        load_config(None, ["method.adaptr=linear"], **given)
    with pytest.raises(ConfigError, match=r"method\.name=3 is none"):
        load_config(None, ["method.name=3"], **given)


def test_what_is_dumped_can_be_loaded_again(recipe: Path, tmp_path: Path) -> None:
    """config.yaml is a recipe."""
    config = load_config(recipe)
    again = tmp_path / "again.yaml"
    again.write_text(dump(config))
    assert load_config(again) == config


@pytest.mark.parametrize(
    ("word", "parts"),
    [
        ("stpes=5", ["stpes: unknown setting", "did you mean 'steps'"]),
        ("optim.wieght_decay=1", ["optim.wieght_decay", "did you mean 'weight_decay'"]),
        ("teachers.0.wight=1", ["teachers.0.wight", "did you mean 'weight'"]),
        ("method.projectr=mlp", ["method", "projectr", "did you mean 'projector'"]),
        ("method=mine.seed", ["the module mine.seed of method=mine.seed is not found", "PYTHONPATH"]),
        ("method=plian", ["method", "unknown method 'plian'", "did you mean 'plain'", "supervised"]),
        ("steps=many", ["steps", "integer", "'many'"]),
        ("steps=0", ["steps", "greater than or equal to 1"]),
        ("sampler=best", ["sampler", "'balanced'", "'best'"]),
        ("views.scale=[0.9, 0.1]", ["views", "scale (0.9, 0.1)"]),
        ("teachers.7.weight=1", ["teachers", "'7'", "list of 2"]),
        ("steps", ["'steps' is not of the form name=value"]),
        ("lr.x=1", ["lr", "nothing inside"]),
        ("data=[a", ["data", "not YAML"]),
    ],
)
def test_a_wrong_word_is_answered_with_path_and_remedy(recipe: Path, word: str, parts: list[str]) -> None:
    """Every message names the field's path, what is allowed, and the nearest name."""
    with pytest.raises(ConfigError) as caught:
        load_config(recipe, [word])
    for part in parts:
        assert part in str(caught.value)


def test_missing_settings_are_named_all_at_once() -> None:
    """Nothing given: out, data and student are asked for in one message."""
    with pytest.raises(ConfigError) as caught:
        load_config()
    for name in ("out", "data", "student"):
        assert f"{name}: needed, and not given" in str(caught.value)


def test_a_recipe_that_is_no_mapping_or_no_yaml_is_refused(tmp_path: Path) -> None:
    """A list, a broken file and a missing file each give one message; tags that run code are not followed."""
    path = tmp_path / "recipe.yaml"
    for content in ("- a\n- b\n", "a: [\n", "out: !!python/object/apply:os.system ['true']\n"):
        path.write_text(content)
        with pytest.raises(ConfigError, match="recipe"):
            load_config(path)


def test_a_recipe_that_is_not_there_is_named_with_the_nearest(tmp_path: Path) -> None:
    """Not as an errno; a folder that is not there either is what is wrong."""
    with pytest.raises(
        ConfigError, match=r"there is no recipe .*absent.yaml; give a YAML file, or recipe:NAME"
    ):
        load_config(tmp_path / "absent.yaml")
    (tmp_path / "recipe.yaml").write_text("steps: 3\n")
    with pytest.raises(ConfigError, match=r"there is no recipe .*recpie.yaml; did you mean 'recipe.yaml'\?"):
        load_config(tmp_path / "recpie.yaml")
    with pytest.raises(ConfigError, match=r"there is no folder .*nowhere"):
        load_config(tmp_path / "nowhere" / "recipe.yaml")


def test_the_configuration_is_frozen(recipe: Path) -> None:
    """Nothing can be changed on the way."""
    config = load_config(recipe)
    with pytest.raises(ValidationError):
        config.steps = 3  # type: ignore[misc]


def test_a_method_of_somebody_else_is_found_by_its_module_path(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dotted name is imported; a module that is no method says what it lacks."""
    package = tmp_path / "theirs"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "idea.py").write_text(
        "from alumnus.objective import MethodSettings\n"
        "class Settings(MethodSettings):\n    depth: int = 2\n"
        "def build(settings, setup):\n    raise NotImplementedError\n"
    )
    (package / "empty.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    config = load_config(recipe, method={"name": "theirs.idea", "depth": 5})
    assert config.method.model_dump() == {"name": "theirs.idea", "depth": 5}
    with pytest.raises(ConfigError, match="lacks Settings and build"):
        load_config(recipe, method="theirs.empty")
    (tmp_path / "alone.py").write_text((package / "idea.py").read_text())
    assert load_config(recipe, method="alone").method.name == "alone"


def test_a_method_whose_settings_are_of_another_name_is_told_what_to_write(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line, and its file."""
    (tmp_path / "renamed.py").write_text(
        "from typing import Literal\nfrom alumnus.objective import MethodSettings\n"
        'class Settings(MethodSettings):\n    name: Literal["crd"] = "crd"\n'
        "def build(settings, setup):\n    raise NotImplementedError\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r'renamed\.py write\n *name: Literal\["renamed"\] = "renamed"'):
        load_config(recipe, method="renamed")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            "import no_such_thing\n",
            r"ModuleNotFoundError: No module named 'no_such_thing' \(.*broken\.py, line 1\)",
        ),
        (
            "\nfrom alumnus import no_such_thing\n",
            r"ImportError: cannot import name .*\(.*broken\.py, line 2\)",
        ),
        ("def build(:\n", r"SyntaxError: .*\(broken\.py, line 1\)"),
        ("1 / 0\n", r"ZeroDivisionError: division by zero \(.*broken\.py, line 1\)"),
    ],
)
@pytest.mark.parametrize("inside", ["broken", "parts"])
def test_a_method_that_cannot_be_imported_says_why(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, words: str, inside: str
) -> None:
    """Not that it is missing: also where its package, or what it imports, is what fails."""
    package = tmp_path / f"theirs_{inside}"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "broken.py").write_text(source)
    (package / "parts.py").write_text("from . import broken\n")
    monkeypatch.syspath_prepend(tmp_path)
    name = f"theirs_{inside}.{inside}"
    try:
        with pytest.raises(ConfigError, match=f"method={name} is there, but cannot be imported: {words}"):
            load_config(recipe, method=name)
    finally:
        for loaded in [module for module in sys.modules if module.startswith("theirs_")]:
            del sys.modules[loaded]


@pytest.mark.parametrize("name", ["theirs.nothing", "nothing_at_all", "plain-ish.x", "", ".relative"])
def test_a_method_that_is_nowhere_says_where_methods_are_looked_for(recipe: Path, name: str) -> None:
    """With the methods that there are."""
    with pytest.raises(
        ConfigError, match=r"(unknown method|is not found).*agglomerate.*current folder or one on PYTHONPATH"
    ):
        load_config(recipe, method={"name": name})


def test_the_schema_describes_every_setting() -> None:
    """Editors get a JSON schema with the fields of the configuration, and stages, which have the same ones but for the folder."""
    found = schema()
    assert set(found["properties"]) == {*Config.model_fields, "stages"}
    stage = found["properties"]["stages"]["items"]
    assert set(stage["properties"]) == {*Config.model_fields, "name"} - {"out"}
    assert stage["required"] == ["name"]


def test_the_schema_knows_the_short_forms() -> None:
    """A text stands for a student, a teacher, a source, a method, a store or a pattern, as it does in recipes."""
    found = schema()
    for kind in ("StudentSpec", "TeacherSpec", "StoreSettings"):
        assert [each["type"] for each in found["$defs"][kind]["anyOf"]] == ["string", "object"], kind
    texts = {
        name: [each for each in found["properties"][name]["anyOf"] if each.get("type") == "string"]
        for name in ("data", "method", "freeze")
    }
    assert all(len(each) == 1 for each in texts.values()), texts
    named = found["$defs"]["_Named"]
    assert named["properties"]["name"]["default"] == DEFAULT_METHOD
    assert named["additionalProperties"]


def test_a_recipe_with_stages_says_where_theirs_are(recipe: Path) -> None:
    """Other verbs want one run."""
    stages = [{"name": "first"}, {"name": "second"}]
    with pytest.raises(ConfigError, match=r"stages \(first, second\).*stages/NAME/config.yaml.*store"):
        load_config(recipe, stages=stages)


def test_a_callable_teacher_is_written_as_its_module_path(recipe: Path, tmp_path: Path) -> None:
    """A Python object given as a teacher leaves a readable config.yaml."""
    function: Callable[..., object] = dump
    config = load_config(recipe, teachers=[{"model": function, "size": 32}])
    assert "alumnus.training.config.dump" in dump(config)


def test_a_sampler_is_a_name_or_the_settings_of_the_dynamic_one(recipe: Path) -> None:
    """Names stay names, as they were before there were settings; `dynamic` is its settings, and words reach into it."""
    assert load_config(recipe, ["sampler=round_robin"]).model_dump()["sampler"] == "round_robin"
    assert load_config(recipe, ["sampler={name: round_robin}"]).sampler == "round_robin"
    assert load_config(recipe, ["sampler=dynamic"]).sampler == DynamicSettings()
    floor = load_config(recipe, ["sampler=dynamic", "sampler.floor=0.2", "sampler.every=50"]).sampler
    assert floor == DynamicSettings(every=50, floor=0.2)
    for words, parts in (
        (["sampler=dynamc"], ["'dynamc'", "did you mean 'dynamic'"]),
        (["sampler={name: balanced, floor: 0.2}"], ["sampler=balanced has no settings"]),
        (["sampler=dynamic", "sampler.flor=0.2"], ["sampler", "flor", "did you mean 'floor'"]),
        (["sampler=7"], ["sampler", "7"]),
    ):
        with pytest.raises(ConfigError) as caught:
            load_config(recipe, words)
        for part in parts:
            assert part in str(caught.value)


def test_a_weighting_is_a_name_or_the_settings_of_the_dynamic_one(recipe: Path) -> None:
    """As of samplers; `agglomerate` is the method that is meant without a name."""
    weighting = load_config(recipe, ["method=agglomerate", "method.weighting=running"]).method
    assert weighting.model_dump()["weighting"] == "running"
    for words in (
        ["method.weighting=dynamic", "method.weighting.floor=0.2"],
        ["method.weighting={name: dynamic, floor: 0.2}"],
        ["method.weighting.floor=0.2"],
    ):
        settings = load_config(recipe, ["method=agglomerate", *words]).method
        assert settings.model_dump()["weighting"] == WeightingSettings(floor=0.2).model_dump()
    for words, parts in (
        (["method.weighting=dynamc"], ["'dynamc'", "did you mean 'dynamic'"]),
        (["method.weighting={name: running, floor: 0.2}"], ["running has no settings"]),
        (["method.weighting=dynamic", "method.weighting.flor=0.2"], ["flor", "did you mean 'floor'"]),
        (["method.weighting.floor=-1"], ["weighting.dynamic.floor", "greater than or equal to 0"]),
        (["method.weighting=7"], ["weighting", "7 is none"]),
    ):
        with pytest.raises(ConfigError) as caught:
            load_config(recipe, ["method=agglomerate", *words])
        for part in parts:
            assert part in str(caught.value)
