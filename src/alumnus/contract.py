"""What a run relies on of a method, tried in seconds without images: for the tests of a method of your own, and of ours.

    def test_it_keeps_the_contract() -> None:
        check_method({"name": "mypackage.mymethod", "factor": 2.0})

It takes steps on made-up batches with a small network from random weights, as a run would: with all teachers trusted, with some, with none;
in bfloat16; in two processes as in one; stopped and resumed. It does not know what the method is to compute: that is for a test with a
naive reference, see docs/methods/add-a-method.md.

Axes: B images of a batch, n of them on which a teacher is trusted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import isfinite
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from alumnus.errors import AlumnusError, ConfigError
from alumnus.models.student import Architecture, Student, StudentOutput, over_tensors
from alumnus.moments import Moments
from alumnus.objective import (
    MethodSettings,
    Objective,
    Setup,
    TeacherWidth,
    check_objective,
    check_parts,
    check_terms,
    parts_of,
    unchanged,
)
from alumnus.training.checkpoint import TrainState
from alumnus.training.method import method_module, method_settings
from alumnus.training.optim import OptimSettings, make_optimizer
from alumnus.training.whole import check_share
from alumnus.types import Batch, Features, Target, Targets, Terms

COUNT, EMBED, SIZE = 8, 6, 32  # B, width of the embedding, px
TEACHERS = {"wide": TeacherWidth(12, 1.0), "narrow": TeacherWidth(5, 1.0)}
CLASSES = {"first": 2, "second": 3}  # domain -> classes
CLOSE = 1e-4  # relative difference of two losses that are the same but for the order of sums
CLOSE_GRADIENT = 1e-3  # of two gradients, by the norm of their difference
PROCESSES = 2
Trusted = Mapping[str, Sequence[int]]  # teacher -> places in the batch


def check_method(
    method: str | Mapping[str, Any],
    *,
    teachers: Mapping[str, TeacherWidth] = TEACHERS,
    num_classes: Mapping[str, int] = CLASSES,
    student: Architecture | None = None,
) -> None:
    """Tries a method, and says all that is wrong with it at once.

    Args:
        method: as in a recipe: its name, or the name with settings.
        teachers: what they say, such as `{"a": TeacherWidth(10, 1.0, output="logits")}`; with a `grid` they have patches. None for a
            method that takes no teachers: {}.
        num_classes: of each domain; batches are of the first one, with labels, and one is of the first two.
        student: by default a small convolutional network.

    Raises:
        ConfigError: the method cannot be built for that setup, or breaks the contract; a line for each thing that is wrong.
    """
    settings = method_settings(method)
    assert isinstance(settings, MethodSettings)
    trial = _Trial(settings, teachers, num_classes, student or Architecture("test_resnet", SIZE, EMBED))
    trial.begin()  # what is wrong with the setup is told as in a run
    wrong = dict[str, list[str]]()  # what is wrong -> what was tried
    for what, attempt in trial.attempts.items():
        if found := _failed(attempt):
            wrong.setdefault(found, []).append(what)
    if wrong:
        lines = [f"{first}: {found}{_so_too(rest)}" for found, (first, *rest) in wrong.items()]
        raise ConfigError(f"method={settings.name} breaks the contract:\n" + "\n".join(lines))


def _so_too(others: Sequence[str]) -> str:
    return f" (and so in {len(others)} other attempts)" if others else ""


def _failed(attempt: Callable[[], str | None]) -> str | None:
    try:
        return attempt()
    except AlumnusError as error:
        return str(error)
    except Exception as error:  # of somebody's own code: whatever it is, the other attempts are made too
        return f"{type(error).__name__}: {error}"


class _Trial:
    """A method with a setup, and what is tried with both."""

    def __init__(
        self,
        settings: MethodSettings,
        teachers: Mapping[str, TeacherWidth],
        num_classes: Mapping[str, int],
        architecture: Architecture,
    ) -> None:
        self.settings, self.num_classes, self.architecture = settings, num_classes, architecture
        self.teachers = {name: _with_moments(each) for name, each in teachers.items()}
        self.everywhere = {name: range(COUNT) for name in teachers}

    @property
    def attempts(self) -> dict[str, Callable[[], str | None]]:
        """What is tried -> what does it; it returns what is wrong, or None."""
        partly = {name: range(place % 3, COUNT, 2) for place, name in enumerate(self.teachers)}
        nowhere: Trusted = dict.fromkeys(self.teachers, ())
        once: Trusted = dict.fromkeys(self.teachers, (COUNT // 2,))
        first_once: Trusted = {**self.everywhere, **dict(list(once.items())[:1])}
        return {
            "with every teacher trusted on all images": lambda: self.step(self.everywhere),
            "with teachers trusted on some images": lambda: self.step(partly),
            "with no teacher trusted on any image (n = 0)": lambda: self.step(nowhere),
            "with every teacher trusted on one image (n = 1)": lambda: self.step(once),
            "with the first teacher trusted on one image, the others on all": lambda: self.step(first_once),
            **(
                {
                    "with images of two domains, some without a label": lambda: self.step(
                        self.everywhere, is_mixed=True
                    )
                }
                if self.is_of_two_domains
                else {}
            ),
            "near the end of a run (progress 0.9)": lambda: self.step(self.everywhere, progress=0.9),
            "without labels": lambda: self.step(self.everywhere, has_labels=False),
            "in bfloat16": lambda: self.step(self.everywhere, is_low=True),
            "as one of two processes, which has half of the images": self.shared,
            "with teachers in another order": self.reordered,
            "after a stop and a resume": self.resumed,
        }

    @property
    def is_of_two_domains(self) -> bool:
        """Whether the first two domains have classes."""
        counts = list(self.num_classes.values())[:2]
        return len(counts) == 2 and all(counts)

    def begin(self, *, reverse: bool = False) -> tuple[Objective, Student]:
        """Student and objective with their first weights, as a run makes them."""
        torch.manual_seed(0)
        student = Student(self._architecture).train()
        names = list(reversed(self.teachers)) if reverse else list(self.teachers)
        setup = Setup(
            student.num_features,
            student.embed_dim,
            {name: self.teachers[name] for name in names},
            dict(self.num_classes),
            student.taps(),
            has_assistant=student.assistant is not None,
            num_images=4 * COUNT,
            batch_size=COUNT,
            steps=4,
        )
        torch.manual_seed(1)
        objective = method_module(self.settings.name).build(self.settings, setup)
        check_objective(objective, self.settings.name)
        student.classify(objective.classes)
        for name, adaptor in objective.hand_over().items():
            student.keep(name, adaptor)
        return objective.train(), student

    def step(
        self,
        trusted: Trusted,
        *,
        progress: float = 0.0,
        has_labels: bool = True,
        is_mixed: bool = False,
        is_low: bool = False,
    ) -> str | None:
        """One step, forward and backward."""
        if not has_labels and "labels" in (self.settings.learns_from or ()):
            return None
        objective, student = self.begin()
        batch = self.mixed() if is_mixed else self.batch(0, has_labels=has_labels)
        targets = self.targets(0, trusted)
        terms = self.terms(objective, student, batch, targets, progress=progress, is_low=is_low)
        if not torch.isfinite(terms.loss) or not terms.per_sample.isfinite().all():
            return f"the loss is {float(terms.loss.detach())}, of the images {terms.per_sample.tolist()}"
        terms.loss.backward()  # type: ignore[no-untyped-call]
        gradients = [parameter.grad for parameter in student.parameters() if parameter.grad is not None]
        if not gradients:
            return "the loss depends on no parameter of the student; it has to, if only by 0 * output.embedding.sum()"
        if trusted is self.everywhere and not any(gradient.any() for gradient in gradients):
            return "the gradient of every parameter of the student is 0: it would learn nothing"
        said = [each for target in targets.values() for each in target.features if each is not None]
        if any(each.grad is not None for each in said):
            return "a gradient reaches what a teacher said; detach it"
        return None

    def shared(self) -> str | None:
        """Each of two processes has the loss of one that has all images, and together they have its gradient.

        A process is told what the other's student said in the round before. What it says in its n-th call can depend on n - 1 gathered
        ones, so all of it is right after as many rounds as there are calls.
        """
        one = self.process(0, 1)
        both = [self.process(number, PROCESSES) for number in range(PROCESSES)]
        for _ in both[0].said:
            both = [
                self.process(number, PROCESSES, told=both[1 - number].said) for number in range(PROCESSES)
            ]
        losses = [each.loss for each in both]
        if not all(abs(loss - one.loss) <= CLOSE * abs(one.loss) for loss in losses):
            return (
                f"the losses of the two are {losses[0]:.6g} and {losses[1]:.6g}, and that of one is {one.loss:.6g}; batch.image is a "
                "process's share, all else is of the whole batch: give batch.image to the student and to nothing else, take the number "
                "of images from batch.row, and draw random numbers for all of them (those of batch.image are the rows [batch.own])"
            )
        apart = float((both[0].gradient + both[1].gradient - one.gradient).norm() / one.gradient.norm())
        if apart <= CLOSE_GRADIENT:
            return None
        return (
            f"the loss is that of one process, but the gradients of the student add up to another one (by {apart:.3g} of its norm): what "
            "does not come from student(...), such as a penalty on student.parameters(), counts once in each process; let it have this "
            "process's part of its gradient: torch.lerp(penalty.detach(), penalty, len(batch.image) / len(batch.row))"
        )

    def process(self, number: int, count: int, told: Sequence[StudentOutput] = ()) -> _Process:
        """One step in one of so many processes.

        The student is in eval mode: batch norms, whose statistics processes share, and dropout would be others of half the images.

        Args:
            told: what the student of the other process said, call by call.
        """
        objective, student = self.begin()
        student.eval()
        batch, gathering = self.batch(0), _Gathering(number, told)
        if count > 1:
            own = slice(number, None, count)
            batch = batch._replace(image=batch.image[own], own=own)
            student.register_forward_hook(gathering)
        terms = self.terms(objective, student, batch, self.targets(0, self.everywhere))
        terms.loss.backward()  # type: ignore[no-untyped-call]
        gradients = [
            torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            for parameter in student.parameters()
        ]
        return _Process(
            float(terms.loss.detach()), torch.cat([each.flatten() for each in gradients]), gathering.said
        )

    def reordered(self) -> str | None:
        """The loss of a step does not depend on the order in which a recipe lists its teachers."""
        losses = []
        both = [self.begin(reverse=reverse) for reverse in (False, True)]
        _same_weights(*(objective for objective, _ in both))
        _same_weights(*(student.spaces for _, student in both))
        for reverse, (objective, student) in zip((False, True), both, strict=True):
            # A classifier is of all classes side by side, so that a row's place goes by the order.
            if student.classifier is not None:
                nn.init.constant_(student.classifier.weight, 0.1)
                nn.init.zeros_(student.classifier.bias)
            targets = self.targets(0, self.everywhere)
            order = reversed(targets) if reverse else iter(targets)
            terms = self.terms(objective, student, self.batch(0), {name: targets[name] for name in order})
            losses.append(float(terms.loss.detach()))
        one, other = losses
        if not isfinite(one) or not isfinite(other):
            return f"the loss is {one} in one order and {other} in the other, with small random numbers for weights; it has to be finite"
        return None if abs(one - other) <= CLOSE * abs(one) else f"the loss is {one:.6g}, and was {other:.6g}"

    def resumed(self) -> str | None:
        """The third and fourth loss of a run do not depend on whether it was stopped after the second step."""
        state = self._state()
        self._learn(state, 0, 2)
        saved = {name: tensor.clone() for name, tensor in state.tensors().items()}
        wanted = self._learn(state, 2, 4)
        again = self._state()
        again.restore(saved)
        found = self._learn(again, 2, 4)
        if found == wanted:
            return None
        return (
            f"the losses are {found}, and were {wanted} without the stop; what a method remembers has to be buffers or modules, and what "
            "it draws at random from torch's generator"
        )

    def batch(self, step: int, *, has_labels: bool = True) -> Batch:
        """B images of the first domain, with labels: others in the second step, and in the third those of the first again."""
        generator = torch.Generator().manual_seed(7 + step % 2)
        size = self.architecture.size
        image = torch.randint(0, 256, (COUNT, 3, size, size), dtype=torch.uint8, generator=generator)
        row = torch.arange(COUNT) + (step % 2) * COUNT
        most = next(iter(self.num_classes.values()), 0)
        is_labelled = has_labels and most > 0
        label = torch.arange(COUNT) % most if is_labelled else torch.full((COUNT,), -1)
        zero = torch.zeros(COUNT, dtype=torch.int64)
        return Batch(image, {}, row, row, zero, zero, label)

    def mixed(self) -> Batch:
        """Images of the first and the second domain in turn, each fourth without a label."""
        number = torch.arange(COUNT)
        domain = number % 2
        most = torch.tensor(list(self.num_classes.values())[:2])
        # The last class of each is among them.
        label = torch.where(number % 4 == 3, -1, (most[domain] - 1 - number // 2 % most[domain]))
        return self.batch(0)._replace(domain=domain, label=label)

    def targets(self, step: int, trusted: Trusted) -> dict[str, Target]:
        """Random features, as leaves that would keep a gradient."""
        found = {}
        for place, (name, teacher) in enumerate(self.teachers.items()):
            generator = torch.Generator().manual_seed(100 * step + place)
            summary = torch.randn(COUNT, teacher.num_features, generator=generator)
            patches = None if teacher.grid is None else torch.randn(COUNT, *teacher.grid, generator=generator)
            where = torch.tensor(list(trusted[name]), dtype=torch.int64)
            features = Features(
                summary[where].requires_grad_(), None if patches is None else patches[where].requires_grad_()
            )
            found[name] = Target(features, where)
        return found

    def terms(
        self,
        objective: Objective,
        student: Student,
        batch: Batch,
        targets: Targets,
        *,
        progress: float = 0.0,
        is_low: bool = False,
    ) -> Terms:
        """What the objective returns, checked as in a run."""
        torch.manual_seed(2)
        parts = parts_of(objective)
        with (
            unchanged(batch, targets, self.settings.name),
            torch.autocast("cpu", torch.bfloat16, enabled=is_low),
        ):
            terms: Terms = objective(student, batch, targets, progress)
        check_terms(terms, self.settings.name, num_images=COUNT)
        check_parts(objective, parts, self.settings.name)
        return terms

    @property
    def _architecture(self) -> Architecture:
        return replace(
            self.architecture,
            normalise_summary=self.settings.normalises_summary,
            embed_hidden=self.settings.embed_hidden,
        )

    def _state(self) -> TrainState:
        objective, student = self.begin()
        rates = objective.learning_rates()
        return TrainState(
            student,
            objective,
            make_optimizer(student, objective, OptimSettings(), lr=1e-3, rates=rates),
            None,
        )

    def _learn(self, state: TrainState, start: int, steps: int) -> list[float]:
        losses = []
        for step in range(start, steps):
            targets = self.targets(step, self.everywhere)
            terms = self.terms(state.objective, state.student, self.batch(step), targets, progress=step / 4)  # type: ignore[arg-type]
            state.optimizer.zero_grad(set_to_none=True)
            terms.loss.backward()  # type: ignore[no-untyped-call]
            state.optimizer.step()
            losses.append(float(terms.loss.detach()))
        return losses


class _Process(NamedTuple):
    """What came of a step in one process."""

    loss: float
    gradient: Tensor  # of all parameters of the student, side by side
    said: list[StudentOutput]  # of its own images, in each call; of one process alone nothing


class _Gathering:
    """Puts what the student of one of two processes says beside what the other one said, which has no gradient here."""

    def __init__(self, number: int, told: Sequence[StudentOutput]) -> None:
        self._number, self._told = number, told
        self.said: list[StudentOutput] = []

    def __call__(self, student: nn.Module, images: tuple[Any, ...], output: StudentOutput) -> StudentOutput:
        """Returns the outputs of all images."""
        check_share(output, COUNT // PROCESSES)
        call = len(self.said)
        self.said.append(over_tensors(Tensor.detach, output))
        theirs = self._told[call] if call < len(self._told) else self.said[-1]
        return over_tensors(self._whole, output, theirs)

    def _whole(self, own: Tensor, theirs: Tensor) -> Tensor:
        rows = [own, theirs] if self._number == 0 else [theirs, own]
        return torch.stack(rows, dim=1).flatten(0, 1)


def _same_weights(one: nn.Module, other: nn.Module) -> None:
    """Gives each parameter that two modules do not have alike numbers that go by its name, so that it does not matter which was made first.

    What begins as ones, say, they have alike, and keep: a loss may take its logarithm.
    """
    pairs = {name: [parameter] for name, parameter in one.named_parameters()}
    for name, parameter in other.named_parameters():
        pairs.setdefault(name, []).append(parameter)
    for name, parameters in pairs.items():
        if len(parameters) == 2 and torch.equal(*parameters):
            continue
        for parameter in parameters:
            generator = torch.Generator().manual_seed(sum(map(ord, name)))
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1


def _with_moments(teacher: TeacherWidth) -> TeacherWidth:
    moments = Moments(teacher.num_features)
    moments.update(torch.randn(64, teacher.num_features, generator=torch.Generator().manual_seed(3)))
    return TeacherWidth(teacher.num_features, teacher.weight, moments, teacher.output, teacher.grid)
