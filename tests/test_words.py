"""Words of a command line become a function's own keyword arguments, or one readable message."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from alumnus.errors import ConfigError
from alumnus.words import bind, plain, split, with_sources


def _verb(
    model: Path,
    images: str,
    *,
    out: Path,
    size: int = 96,
    domains: Sequence[str] | None = None,
    fast: bool = False,
) -> None:
    """Stands for any public function."""


def test_paths_and_settings_are_told_apart() -> None:
    """A key holds letters, digits, dots and underscores, so a path with = in it can be written ./a=b."""
    assert split(["r.yaml", "teachers.0.weight=2", "./a=b"]) == (["r.yaml", "./a=b"], ["teachers.0.weight=2"])


def test_a_setting_that_comes_twice_is_refused() -> None:
    """Which of the two is meant, nobody knows."""
    with pytest.raises(ConfigError, match=r"out is given twice, out=a and out=b; give it once"):
        split(["r.yaml", "out=a", "steps=3", "out=b"])
    assert split(["teachers.0.weight=2", "teachers.1.weight=2"])[1] == [
        "teachers.0.weight=2",
        "teachers.1.weight=2",
    ]


def test_an_option_is_answered_with_the_word_to_write() -> None:
    """People come from tools with --flags."""
    with pytest.raises(ConfigError, match=r"batch_size=8"):
        split(["--batch-size=8"])


def test_a_missing_plain_word_is_named() -> None:
    """The message names what is wanted, in order."""
    with pytest.raises(ConfigError, match=r"IMAGES is missing; wanted: MODEL IMAGES"):
        plain(["student/"], "MODEL", "IMAGES")


def test_a_word_too_many_is_named() -> None:
    """A forgotten = is the usual reason."""
    with pytest.raises(ConfigError, match=r"unexpected word 'steps'"):
        plain(["student/", "steps"], "MODEL")


def test_values_take_the_annotated_types() -> None:
    """Numbers, lists, booleans, null and paths that look like numbers."""
    found = bind(_verb, ["out=10", "size=64", "domains=[a, b]", "fast=true"], skip=2)
    assert found == {"out": Path("10"), "size": 64, "domains": ["a", "b"], "fast": True}
    assert bind(_verb, ["out=x", "domains=null"], skip=2)["domains"] is None


def test_a_value_may_hold_an_equals_sign() -> None:
    """Only the first = divides."""
    assert bind(_verb, ["out=a=b"], skip=2) == {"out": Path("a=b")}


def test_an_unknown_key_names_the_nearest() -> None:
    """And what is allowed; what the verb gives itself is not."""
    with pytest.raises(
        ConfigError, match=r"siez: unknown setting; did you mean 'size'\?; allowed: out, size, domains"
    ):
        bind(_verb, ["siez=3"], skip=2)
    with pytest.raises(ConfigError, match="images: unknown setting"):
        bind(_verb, ["images=x"], skip=2)


def test_a_wrong_type_says_what_came() -> None:
    """Key, reason, value."""
    with pytest.raises(ConfigError, match=r"size: .*integer.*got 'large'"):
        bind(_verb, ["out=x", "size=large"], skip=2)


def test_a_needed_setting_is_named() -> None:
    """With the way to give it."""
    with pytest.raises(ConfigError, match=r"out: needed, and not given; add out=VALUE"):
        bind(_verb, [], skip=2)


@pytest.mark.parametrize("images", [["a", "b c"], ["[a,b c]"], ["[a]", "b c"]])
def test_several_sources_are_words_or_a_list(images: list[str]) -> None:
    """As in `data=[a,b]`; one is itself, and so is a folder with brackets in its name."""
    assert with_sources(["m", *images, "out=x"], "MODEL", "IMAGES") == (["m"], ["a", "b c"], ["out=x"])
    assert with_sources(["m", "a", "out=x"], "MODEL", "IMAGES") == (["m"], "a", ["out=x"])


def test_a_folder_with_brackets_in_its_name_is_no_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it is there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "[a,b]").mkdir()
    assert with_sources(["m", "[a,b]"], "MODEL", "IMAGES")[1] == "[a,b]"


@pytest.mark.parametrize(
    ("words", "said"), [(["m"], "IMAGES is missing"), (["m", "[1,2]"], "no list"), (["m", "[]"], "no list")]
)
def test_sources_that_are_none_are_told(words: list[str], said: str) -> None:
    """With what to write."""
    with pytest.raises(ConfigError, match=said):
        with_sources(words, "MODEL", "IMAGES")
