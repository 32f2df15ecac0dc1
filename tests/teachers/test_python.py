"""Teachers that are any callable, and students."""

from __future__ import annotations

import random
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from alumnus.errors import DataError, NonFiniteError, TeacherError
from alumnus.models.artifact import save_student
from alumnus.models.student import Architecture, Student
from alumnus.teachers import load_teacher
from alumnus.teachers.spec import TeacherSpec
from alumnus.teachers.teacher import Teacher
from alumnus.types import Features

IMAGE = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def _load(model: object, **settings: object) -> Teacher:
    spec = TeacherSpec.model_validate({"model": model, "size": 8, **settings})
    return load_teacher(spec, device=torch.device("cpu"))


def _mean(image: Tensor) -> Tensor:
    return image.mean((2, 3))


def make_mean() -> object:
    """What `python:…:make_mean` finds."""
    return _mean


@pytest.mark.parametrize(
    "function",
    [
        _mean,
        lambda image: image,
        lambda image: (_mean(image), image),
        lambda image: (_mean(image), image.flatten(2).mT),
        lambda image: Features(_mean(image), image.flatten(2).mT),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    ],
)
def test_what_a_callable_may_return(function: object) -> None:
    """The summary is the mean colour in every form; patches where there are some."""
    features = _load(function)(IMAGE)
    torch.testing.assert_close(features.summary, _mean(IMAGE))
    if features.patches is not None:
        torch.testing.assert_close(features.patches, IMAGE.flatten(2).mT)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (
            lambda image: {"x": image, "y": image, "n": 3},
            r"^teacher python object .* gave dict; say which .* by output=x: there are x, y$",
        ),
        (lambda image: {"n": 3}, r"gave dict; allowed are .* a mapping with output=KEY$"),
        (lambda image: image[0, 0, 0], r"^teacher python object .* gave Tensor of shape \(8,\)"),
        (lambda image: _mean(image)[:1], r"2 images gave a summary of shape \(1, 3\)"),
        (lambda image: image @ torch.zeros(3, 3), "does not run on images of 8x8 px: RuntimeError"),
    ],
)
def test_what_it_may_not_return(function: object, says: str) -> None:
    """Found when it is loaded."""
    with pytest.raises(TeacherError, match=says):
        _load(function)


class _Named(nn.Module):
    """A network that gives several things by name; `kind` makes the mapping."""

    def __init__(self, kind: Callable[..., object]) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, image: Tensor) -> object:
        """The mean colour, twice it as scores, and the pixels."""
        return self.kind(feats=_mean(image), logits=2 * _mean(image), pixels=image)


class _Output(OrderedDict[str, Tensor]):
    """As that of transformers: a mapping with attributes."""


@pytest.mark.parametrize("kind", [dict, _Output])
def test_a_key_picks_one_of_several_outputs(kind: Callable[..., object]) -> None:
    """Of a module, and read as a graph's output is: a grid has patches."""
    features, logits, pixels = (
        _load(_Named(kind), output=key)(IMAGE) for key in ("feats", "logits", "pixels")
    )
    torch.testing.assert_close(features.summary, _mean(IMAGE))
    torch.testing.assert_close(logits.summary, 2 * _mean(IMAGE))
    torch.testing.assert_close(pixels.summary, _mean(IMAGE))
    assert pixels.patches is not None
    assert pixels.patches.shape == (2, 64, 3)
    second = _load(lambda image: (image, _mean(image)), output="1")
    torch.testing.assert_close(second(IMAGE).summary, _mean(IMAGE))


def test_a_key_that_is_not_there_is_told() -> None:
    """With the nearest, and all that there are."""
    with pytest.raises(TeacherError, match=r"did you mean 'feats'\?; it has feats, logits, pixels"):
        _load(_Named(dict), output="feat")
    with pytest.raises(TeacherError, match=r"did you mean 'summary'\?; it has summary, patches, logits"):
        _load(_mean, output="sumary")


def test_patches_have_to_be_there_when_asked_for() -> None:
    """The way out is named."""
    with pytest.raises(TeacherError, match="use output=summary"):
        _load(_mean, output="patches")


def test_a_size_is_needed() -> None:
    """A callable does not say it."""
    with pytest.raises(TeacherError, match="give size"):
        _load(_mean, size=None)


def test_images_are_normalised_only_if_asked_for() -> None:
    """The callable sees [0, 1] otherwise."""
    teacher = _load(_mean, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    torch.testing.assert_close(teacher(IMAGE).summary, _mean(IMAGE) * 2 - 1)


@pytest.mark.parametrize(("given", "missing"), [({"mean": (0.5,) * 3}, "std"), ({"std": (0.5,) * 3}, "mean")])
def test_half_of_the_normalisation_is_refused(given: dict[str, object], missing: str) -> None:
    """A callable has no other half."""
    with pytest.raises(TeacherError, match=rf"is given without {missing}, .*; give both"):
        _load(_mean, **given)


def test_a_function_named_by_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is called to make the teacher, which is called after it."""
    module = ModuleType("their_package")
    module.__dict__["make_mean"] = make_mean
    monkeypatch.setitem(__import__("sys").modules, "their_package", module)
    teacher = _load("python:their_package:make_mean")
    assert teacher.name == "make_mean"
    torch.testing.assert_close(teacher(IMAGE).summary, _mean(IMAGE))


def make_scaled(factor: float = 1.0) -> object:
    """What takes an argument."""
    return lambda image: _mean(image) * factor


def test_a_network_in_place_of_its_maker_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who names the function that takes images is told to name one that returns it; a misspelt argument is another matter."""
    module = ModuleType("their_package")
    module.__dict__.update(mean=_mean, make=make_mean)
    monkeypatch.setitem(sys.modules, "their_package", module)
    with pytest.raises(TeacherError, match=r"missing .* 'image'.* makes the network, not the network itself"):
        _load("python:their_package:mean")
    with pytest.raises(
        TeacherError, match=r"unexpected keyword argument 'width'; it takes \(\) -> .?object.?$"
    ):
        _load("python:their_package:make", arguments={"width": 2})


@pytest.mark.parametrize("path", [":f", ".x:f", "a..b:f", "a.:f", "a", "a:"])
def test_a_path_that_names_no_module_is_told(path: str) -> None:
    """With the form that is needed."""
    with pytest.raises(TeacherError, match=r"is not of the form python:package\.module:function"):
        _load(f"python:{path}")


def test_code_that_fails_is_told_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the module when it is imported, and of its function; what an error of Alumnus says is left as it is."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "alumnus_torn.py").write_text("def f(:\n")
    with pytest.raises(TeacherError, match=r"alumnus_torn fails when it is imported: SyntaxError: .*line 1"):
        _load("python:alumnus_torn:f")
    module = ModuleType("their_package")
    module.__dict__.update(build=_raise, told=_tell)
    monkeypatch.setitem(sys.modules, "their_package", module)
    with pytest.raises(
        TeacherError, match=r"their_package:build cannot be made: RuntimeError: no file of weights$"
    ):
        _load("python:their_package:build")
    with pytest.raises(DataError, match=r"^no data$"):
        _load("python:their_package:told")


def _raise() -> object:
    raise RuntimeError("no file\nof weights")


def _tell() -> object:
    raise DataError("no data")


def test_arguments_reach_the_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the fingerprint; those that it does not take are refused with those that it does."""
    module = ModuleType("their_package")
    module.__dict__["make_scaled"] = make_scaled
    monkeypatch.setitem(__import__("sys").modules, "their_package", module)
    plain = _load("python:their_package:make_scaled")
    scaled = _load("python:their_package:make_scaled", arguments={"factor": 3})
    torch.testing.assert_close(scaled(IMAGE).summary, plain(IMAGE).summary * 3)
    assert scaled.fingerprint != plain.fingerprint
    with pytest.raises(TeacherError, match=r"unexpected keyword argument 'fctor'; it takes \(factor"):
        _load("python:their_package:make_scaled", arguments={"fctor": 3})


class _Drawing(nn.Module):
    """A network whose weights are drawn by all three generators; its last layer is never read."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = random.random() + float(np.random.rand())
        self.head = nn.Linear(3, 2)

    def forward(self, image: Tensor) -> Tensor:
        return _mean(image) * self.scale


def test_what_a_function_draws_is_the_same_in_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was drawn before it; what is drawn after it is as if it had not been called."""
    module = ModuleType("their_package")
    module.__dict__["build"] = _Drawing
    monkeypatch.setitem(sys.modules, "their_package", module)

    def load(seed: int) -> tuple[str, list[float]]:
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        fingerprint = _load("python:their_package:build").fingerprint
        return fingerprint, [random.random(), float(np.random.rand()), float(torch.rand(1))]

    (first, drawn), (second, others) = load(1), load(2)
    assert first == second
    assert all(one != other for one, other in zip(drawn, others, strict=True))


class _Wrapper:
    """Somebody's object with a network inside."""

    def __init__(self) -> None:
        self.net = nn.Sequential(nn.Conv2d(3, 4, 8), nn.BatchNorm2d(4), nn.Flatten())

    def __call__(self, image: Tensor) -> Tensor:
        """Its features."""
        result: Tensor = self.net(image)
        return result

    def encode(self, image: Tensor) -> Tensor:
        """The same, by a method."""
        return self(image)


@pytest.mark.parametrize("way", ["module", "object", "method", "lambda"])
def test_networks_behind_a_callable_are_frozen_and_fingerprinted(way: str) -> None:
    """In eval mode even after their owner trained them; statistics untouched; other weights, other fingerprint."""

    def load(wrapper: _Wrapper) -> Teacher:
        net = wrapper.net
        ways = {
            "module": wrapper.net,
            "object": wrapper,
            "method": wrapper.encode,
            "lambda": lambda image: net(image) + 0,
        }
        return _load(ways[way])

    wrapper = _Wrapper()
    teacher = load(wrapper)
    before = {name: value.clone() for name, value in wrapper.net.state_dict().items()}
    wrapper.net.train()
    assert not teacher(IMAGE).summary.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in wrapper.net.state_dict().items())
    assert load(_Wrapper()).fingerprint != teacher.fingerprint
    assert load(wrapper).fingerprint == teacher.fingerprint


def test_nan_names_the_teacher() -> None:
    """Whenever it comes up."""
    poison = 1.0

    def fragile(image: Tensor) -> Tensor:
        return _mean(image) * poison

    teacher = _load(fragile, name="fragile")
    poison = float("nan")
    with pytest.raises(NonFiniteError, match="teacher fragile"):
        teacher(IMAGE)


def _student() -> Student:
    return Student(Architecture(model="test_resnet", size=32, embed_dim=6)).eval()


@pytest.mark.parametrize(("output", "folder"), [("summary", "expert/student"), ("embedding", "expert")])
def test_a_student_can_teach(output: str, folder: str, tmp_path: Path) -> None:
    """Its summary or its embedding, as the student itself gives them; called after its run."""
    student, image = _student(), torch.rand(2, 3, 32, 32)
    (tmp_path / "expert").mkdir()
    save_student(student, tmp_path / folder)
    teacher = _load(f"alumnus:{tmp_path / folder}", output=output, size=None)
    with torch.no_grad():
        said = student(image)
    expected = said.features.summary if output == "summary" else said.embedding
    assert (teacher.name, teacher.size) == ("expert", 32)
    torch.testing.assert_close(teacher(image).summary, expected, rtol=1e-4, atol=1e-5)


def test_a_student_with_a_classifier_teaches_logits(tmp_path: Path) -> None:
    """Those of all its classes; one without a classifier says how students get one."""
    student, image = _student(), torch.rand(2, 3, 32, 32)
    save_student(student, tmp_path / "bare")
    with pytest.raises(TeacherError, match="no classifier; those of method=cfl or dmc have one"):
        _load(f"alumnus:{tmp_path / 'bare'}", output="logits", size=None)
    student.classify({"a": 3, "b": 2})
    save_student(student, tmp_path / "both")
    teacher = _load(f"alumnus:{tmp_path / 'both'}", output="logits", size=None)
    with torch.no_grad():
        torch.testing.assert_close(teacher(image).summary, student(image).logits, rtol=1e-4, atol=1e-5)
    assert teacher.num_features == 5


@pytest.mark.parametrize(
    ("setting", "says"),
    [({"size": 64}, "size=64, and the student was made for 32"), ({"mean": (0, 0, 0)}, "its own input")],
)
def test_settings_that_contradict_a_student_are_refused(
    setting: dict[str, object], says: str, tmp_path: Path
) -> None:
    """With what it says itself."""
    save_student(_student(), tmp_path / "student")
    with pytest.raises(TeacherError, match=says):
        _load(f"alumnus:{tmp_path / 'student'}", **{"size": None, **setting})
