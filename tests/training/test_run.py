"""The run folder: what may be in one that is new, and what a kill at the very beginning leaves."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from alumnus.errors import ConfigError
from alumnus.lock import NAME
from alumnus.training.config import Config
from alumnus.training.lock import held
from alumnus.training.recipe import load_config
from alumnus.training.run import open_run


def _config(out: Path, **settings: object) -> Config:
    return load_config(out=out, data="images", student="timm/resnet10t", **settings)


def test_a_kill_before_the_first_file_is_whole_leaves_a_folder_that_can_be_used(tmp_path: Path) -> None:
    """There is the lock of the dead run, and a configuration that was not yet in its place."""
    (tmp_path / NAME).write_text("")
    (tmp_path / ".config.yaml.new").write_text("out: ru")
    assert not open_run(_config(tmp_path)).is_stale
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(ConfigError, match="holds no run"):
        open_run(_config(tmp_path))


def test_what_is_thrown_away_is_known_for_a_run_to_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while an older run was put aside, the same command does not take the rest for somebody else's."""
    config = _config(tmp_path / "run")
    move = os.replace

    def killed(name: str) -> Callable[[Path, Path], None]:
        def replace(source: Path, target: Path) -> None:
            if Path(source).name == name:
                raise KeyboardInterrupt
            move(source, target)

        return replace

    with held(config.out):
        open_run(config).begin(config, [])
        (config.out / "results.json").write_text("{}")
        for name in ("results.json", "config.yaml", ".config.yaml.new"):
            run = open_run(config)
            with monkeypatch.context() as patch:
                patch.setattr(os, "replace", killed(name))
                with pytest.raises(KeyboardInterrupt):
                    run.begin(config, [])
            assert open_run(config).is_stale == (config.out / "config.yaml").is_file()
        open_run(config).begin(config, [])
        assert (config.out / "config.yaml").is_file()


def test_a_restart_by_torchrun_does_not_begin_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """resume=never is of the call; processes that torchrun starts anew after a fault go on from the checkpoint."""
    config = _config(tmp_path / "run", resume="never")
    open_run(config).begin(config, [])
    (config.out / "checkpoints" / "step-2").mkdir(parents=True)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    assert open_run(config).is_stale
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert open_run(config).is_begun


def test_nothing_that_was_written_about_an_older_run_stays(tmp_path: Path) -> None:
    """Scores and gallery of a student that is trained anew would be taken for those of the new one."""
    config = _config(tmp_path / "run", resume="never")
    open_run(config).begin(config, [])
    for name in ("results.json", "gallery.json", "seeds.json", "report.html"):
        (config.out / name).write_text("{}")
    again = open_run(config)
    again.begin(config, [])
    again.forget_old()
    assert {path.name for path in config.out.iterdir()} == {"config.yaml", "teachers.json"}


def test_files_that_are_written_again_are_never_half_there(tmp_path: Path) -> None:
    """Where the new one cannot be written, the old one stays."""
    config = _config(tmp_path / "run")
    open_run(config).begin(config, [])
    (config.out / "checkpoints").mkdir()
    (config.out / ".config.yaml.new").mkdir()  # nothing can be written there
    before = (config.out / "config.yaml").read_text()
    with pytest.raises(OSError, match=r"config\.yaml"):
        open_run(config).begin(_config(tmp_path / "run", workers=3), [])
    assert (config.out / "config.yaml").read_text() == before


@pytest.mark.parametrize("content", ["", "- a\n", "a: [1\n", "\x00"])
def test_settings_that_are_damaged_are_named_and_nothing_is_thrown_away(tmp_path: Path, content: str) -> None:
    """An empty, cut or foreign config.yaml is no traceback, and does not let another run go on here."""
    config = _config(tmp_path / "run")
    open_run(config).begin(config, [])
    (config.out / "checkpoints").mkdir()
    (config.out / "config.yaml").write_text(content)
    with pytest.raises(ConfigError, match=r"config\.yaml is damaged .*resume=never"):
        open_run(config)
    assert open_run(_config(tmp_path / "run", resume="never")).is_stale
