"""What a model costs is timed as it is asked to be, and what it raises reaches every process."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from torch import Tensor

from alumnus.data.quarantine import passes_limit
from alumnus.errors import NonFiniteError
from alumnus.evaluation.encode import CallableEncode
from alumnus.evaluation.vectors import encode_paths, ms_per_image, try_paths, words_of


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


def test_reading_ends_when_it_is_enough(tmp_path: Path) -> None:
    """After the batch in which too many could not be read; without a limit all others are encoded."""
    paths = [str(tmp_path / f"{number}.png") for number in range(8)]
    for path in (paths[0], *paths[4:]):
        Image.new("RGB", (8, 8)).save(path)
    seen = list[int]()

    def model(image: Tensor) -> Tensor:
        seen.append(len(image))
        return image.flatten(1)[:, :4].float()

    encode = CallableEncode(model, name="m", size=4)
    enough = passes_limit(paths, total=8, max_bad_fraction=0.25)
    found = encode_paths([encode], paths, batch_size=2, workers=0, enough=enough)
    assert (sum(seen), list(found.bad)) == (1, [1, 2, 3])
    assert list(encode_paths([encode], paths, batch_size=2, workers=0).bad) == [1, 2, 3]
    assert sum(seen) == 1 + 5


@pytest.mark.parametrize("together", [False, True])
def test_what_a_model_raises_is_given_back_before_it_is_raised(tmp_path: Path, together: bool) -> None:
    """Whatever it is: between the two, the other processes hear of it."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    raised = KeyError("oops")

    def model(image: Tensor) -> Tensor:
        raise raised

    encode, paths = CallableEncode(model, name="m", size=4), [str(tmp_path / "a.png")]
    assert try_paths([encode], paths, workers=0, together=together) is raised
    with pytest.raises(KeyError, match="oops"):
        encode_paths([encode], paths, workers=0, together=together)


def test_a_strangers_error_is_said_with_its_type() -> None:
    """`'oops'` alone says nothing."""
    assert words_of(KeyError("oops")) == "KeyError: 'oops'"
    assert words_of(NonFiniteError("m gives NaN")) == "m gives NaN"
