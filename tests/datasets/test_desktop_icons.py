"""Desktop icons: the best file of a name, links followed within the theme, one name for one drawing."""

from __future__ import annotations

from pathlib import Path

from alumnus.datasets.desktop_icons import THEMES, entries, find_icons


def _touch(theme: Path, *names: str) -> Path:
    for name in names:
        (theme / name).parent.mkdir(parents=True, exist_ok=True)
        (theme / name).touch()
    return theme


def test_both_layouts_of_themes_are_read(tmp_path: Path) -> None:
    """`48x48/apps/a.png` and `apps/48/a.svg`."""
    theme = _touch(tmp_path, "48x48/apps/a.png", "mimes/48/b.svg", "48x48/cursors/c.png")
    assert set(find_icons(theme)) == {"apps/a", "mimetypes/b"}


def test_the_best_file_is_taken(tmp_path: Path) -> None:
    """Vector before raster, large before small; too small is nothing."""
    theme = _touch(
        tmp_path, "48x48/apps/a.png", "32@2x/apps/a.png", "16/apps/b.png", "apps/64/c.svg", "apps/22/c.svg"
    )
    found = find_icons(theme)
    assert found == {"apps/a": theme / "32@2x/apps/a.png", "apps/c": theme / "apps/64/c.svg"}


def test_symbolic_icons_are_left_out(tmp_path: Path) -> None:
    """They have one colour, whatever the theme."""
    assert find_icons(_touch(tmp_path, "apps/48/a-symbolic.svg", "symbolic/apps/b.svg")) == {}


def test_links_do_not_leave_the_theme(tmp_path: Path) -> None:
    """Inside they are other names of a drawing."""
    theme = _touch(tmp_path / "theme", "apps/48/a.svg")
    secret = _touch(tmp_path, "secret.svg") / "secret.svg"
    (theme / "apps/48/inside.svg").symlink_to("a.svg")
    (theme / "apps/48/outside.svg").symlink_to(secret)
    (theme / "apps/48/circle.svg").symlink_to("circle.svg")
    assert set(find_icons(theme)) == {"apps/a", "apps/inside"}


def test_a_drawing_counts_once_under_its_common_name(tmp_path: Path) -> None:
    """Three themes draw `shared`; in one of them that is a link to `mine`."""
    folders = {package: tmp_path / package for package in THEMES}
    for place, (package, theme) in enumerate(THEMES.items()):
        root = _touch(folders[package] / "usr/share/icons" / theme, "index.theme")
        if place == 0:
            _touch(root, "apps/48/mine.svg")
            (root / "apps/48/shared.svg").symlink_to("mine.svg")
        elif place < 3:
            _touch(root, "apps/48/shared.svg")
    found = list(entries(folders, seed=0))
    assert [entry.label for entry in found] == ["apps/shared"] * 3
    assert [entry.style for entry in found] == list(THEMES.values())[:3]
