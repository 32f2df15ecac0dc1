"""Each model behind its small face."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from alumnus.evaluation.encode import CallableEncode, PixelEncode, Scored, StudentEncode, TeacherEncode
from alumnus.models.student import Architecture, Student
from alumnus.teachers import load_teacher
from alumnus.teachers.spec import TeacherSpec


def grey(image: Tensor) -> Tensor:
    """A network for a teacher: the mean of each channel, (n, 3)."""
    return image.mean((2, 3))


def test_student_gives_unit_embeddings_and_stays_as_it_was() -> None:
    """Eval mode for the call only, so that scoring during training changes nothing."""
    student = Student(Architecture("resnet10t", 32, 5)).train()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    encode: Scored = StudentEncode(student, name="mine")
    image = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    vectors = encode(image)
    assert vectors.shape == (3, 5)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(3), atol=1e-5)
    assert torch.allclose(encode(image[:1]), vectors[:1], atol=1e-5)  # no batch statistics
    assert student.training
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    assert encode.num_parameters == sum(p.numel() for p in student.parameters())
    assert (encode.name, encode.size, encode.kind, encode.domains) == ("mine", 32, "student", None)


def test_teacher_gives_its_summary_of_images_in_the_unit_range() -> None:
    """255 becomes 1; name, size and domains are the teacher's."""
    spec = TeacherSpec.model_validate({"model": grey, "name": "grey", "size": 8, "domains": ["discs"]})
    encode: Scored = TeacherEncode(load_teacher(spec, device=torch.device("cpu")))
    image = torch.full((2, 3, 8, 8), 255, dtype=torch.uint8)
    assert torch.allclose(encode(image), torch.ones(2, 3))
    assert (encode.name, encode.size, encode.kind, encode.domains) == ("grey", 8, "teacher", ("discs",))


def test_pixels_are_means_of_blocks_without_the_images_mean() -> None:
    """Against a resize by area; a blank image is exactly zero."""
    encode: Scored = PixelEncode()
    image = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    small = functional.interpolate(image.float(), (8, 8), mode="area").flatten(1)
    assert torch.allclose(encode(image), small - small.mean(1, keepdim=True), atol=1e-4)
    assert not encode(torch.full((1, 3, 32, 32), 77, dtype=torch.uint8)).any()


def test_a_function_is_a_model() -> None:
    """With the name, size and domains it is given."""
    encode: Scored = CallableEncode(lambda image: image.float().mean((2, 3)), name="f", size=4, domains=["a"])
    assert encode(torch.zeros(2, 3, 4, 4, dtype=torch.uint8)).shape == (2, 3)
    assert (encode.kind, encode.domains, encode.num_parameters) == ("other", ("a",), None)
