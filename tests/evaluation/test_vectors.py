"""What a model costs is timed as it is asked to be."""

from __future__ import annotations

from torch import Tensor

from alumnus.evaluation.encode import CallableEncode
from alumnus.evaluation.vectors import ms_per_image


def test_images_are_timed_alone_or_in_batches() -> None:
    """Alone by default, else in batches of the size asked for."""
    sizes = set[int]()

    def model(image: Tensor) -> Tensor:
        sizes.add(len(image))
        return image.flatten(1)[:, :4].float()

    encode = CallableEncode(model, name="m", size=4)
    assert ms_per_image([encode])["m"] > 0
    assert sizes == {1}
    assert ms_per_image([encode], batch_size=8)["m"] > 0
    assert sizes == {1, 8}
