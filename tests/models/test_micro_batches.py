"""Micro-batches: the outputs and gradients of one pass, one piece's activations at a time, no draw and no statistic twice."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from alumnus.errors import ConfigError
from alumnus.models.micro_batches import in_micro_batches
from alumnus.models.student import Architecture, Student

VIT = Architecture(
    "vit_tiny_patch16_224", 32, 8, {"depth": 1, "embed_dim": 48, "num_heads": 2, "patch_size": 8}
)


def _gradients(student: Student, image: Tensor, *, count: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Of a loss that no sum over images is: of the relations between all of them, and of the patches."""
    student.micro_batches = count
    student.zero_grad()
    output = student(image, patches=True)
    relations = output.embedding @ output.embedding.T  # (B, B)
    patches = output.features.patches
    assert patches is not None
    loss = relations.exp().sum().log() + patches.std()
    loss.backward()
    return loss.detach(), {
        name: p.grad.clone() for name, p in student.named_parameters() if p.grad is not None
    }


@pytest.mark.parametrize("count", [2, 3, 7, 50])
def test_outputs_and_gradients_are_those_of_one_pass(count: int) -> None:
    """Of a loss that sees the whole batch, for pieces that are even, uneven, and more than there are images."""
    student = Student(VIT).train()
    image = torch.randint(0, 256, (7, 3, 32, 32), dtype=torch.uint8)
    loss, wanted = _gradients(student, image, count=1)
    again, found = _gradients(student, image, count=count)
    torch.testing.assert_close(again, loss)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_half_precision_goes_through_pieces_too() -> None:
    """In the backward pass the types are those of the forward pass."""
    student = Student(VIT).train()
    image = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    with torch.autocast("cpu", torch.bfloat16):
        _, wanted = _gradients(student, image, count=1)
        _, found = _gradients(student, image, count=2)
    assert float((found["embed.weight"] - wanted["embed.weight"]).norm()) < 0.02 * float(
        wanted["embed.weight"].norm()
    )


def test_one_piece_is_held_at_a_time() -> None:
    """Backward comes to the pieces one after another: each goes forward again and back before the next does."""
    layer, order = nn.Linear(4, 4), list[str]()
    layer.register_forward_hook(lambda *_: order.append("forward"))
    layer.register_full_backward_hook(lambda *_: order.append("back"))
    pieces = in_micro_batches(
        lambda x: layer(x).relu(), torch.randn(6, 4, requires_grad=True), count=3, module=layer
    )
    assert order == ["forward"] * 3
    torch.cat(pieces).std().backward()  # type: ignore[no-untyped-call]
    assert order[3:] == ["forward", "back"] * 3


def test_the_second_pass_draws_what_the_first_drew() -> None:
    """What dropout left out has no gradient, what it kept has that of its factor; and who draws later is not disturbed."""
    weight = torch.ones(8, 16, requires_grad=True)
    torch.manual_seed(3)
    pieces = in_micro_batches(
        lambda x: nn.functional.dropout(x * weight[: len(x)], 0.5),
        torch.ones(8, 16),
        count=2,
        module=nn.Identity(),
    )
    kept = torch.cat(pieces)  # 0 or 2
    state = torch.get_rng_state()
    kept.sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    assert torch.equal(weight.grad[:4], kept[:4].detach() + kept[4:].detach())
    assert not torch.equal(kept[:4], kept[4:])
    assert torch.equal(torch.get_rng_state(), state)


def test_running_statistics_move_once_for_each_piece() -> None:
    """As if the pieces were batches; the second pass leaves them."""
    student = Student(Architecture("mobilenetv3_small_050", 32, 8)).train()
    plain = Student(student.architecture).train()
    plain.load_state_dict(student.state_dict())
    image = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8)
    student.micro_batches = 3
    student(image).embedding.std().backward()
    with torch.no_grad():
        for piece in image.tensor_split(3):
            plain(piece)
    wanted = dict(plain.named_buffers())
    for name, buffer in student.named_buffers():
        torch.testing.assert_close(buffer, wanted[name], msg=name)
    assert int(wanted["backbone.bn1.num_batches_tracked"]) == 3


def test_weights_that_are_there_for_one_call_are_refused() -> None:
    """The second pass would see the student's own; without gradient there is none."""
    student, image = Student(VIT).train(), torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    student.micro_batches = 2
    others = {name: parameter.detach() + 1 for name, parameter in student.named_parameters()}
    with pytest.raises(ConfigError, match=r"functional_call\).*accumulate=1.*no_grad"):
        functional_call(student, others, (image,))
    with torch.no_grad():
        functional_call(student, others, (image,))


def test_a_mode_that_changes_before_the_second_pass_is_refused() -> None:
    """Dropout and batch norms would do something else; a mode that stays may be any."""
    student, image = Student(VIT).eval(), torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    student.micro_batches = 2
    student(image).embedding.std().backward()
    loss = student(image).embedding.std()
    student.train()
    with pytest.raises(ConfigError, match=r"training mode has changed.*accumulate=1"):
        loss.backward()


def test_without_gradient_images_go_through_at_once() -> None:
    """Whoever evaluates a student sees no pieces."""
    student, calls = Student(VIT).eval(), list[int]()
    student.micro_batches = 2
    student.backbone.patch_embed.register_forward_hook(lambda _, args, __: calls.append(len(args[0])))  # type: ignore[union-attr]
    with torch.no_grad():
        student(torch.zeros(4, 3, 32, 32))
    assert calls == [4]
