"""Views of Freedoom's levels as the game engine draws them, with what stands in them: the frames that two data sets are made of.

Source: Debian `freedoom` (BSD-3-Clause), 32 levels, drawn by PyPI `vizdoom` (MIT, with ZDoom's own licences; software renderer, no
display). A view is taken by moving the player near a randomly chosen thing of a level and turning roughly towards it: a player who
walks at random mostly sees walls. A place counts only if it is inside the level, with room to stand, and if the thing is then in sight.
Levels, places and what monsters do follow from the seed alone.

Splits by level: nothing of a test level is seen in training, but all levels share one set of textures and sprites.
"""

from __future__ import annotations

import math
import random
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alumnus.datasets.freedoom_sectors import Sector, SectorGrid
from alumnus.datasets.known import Folders
from alumnus.errors import MissingExtra
from alumnus.packages import Package

PACKAGE = Package(
    "debian",
    "freedoom",
    "0.12.1-2",
    "c5b7cf1aa6dde8c980271981ce75b9b4a9e7b634b9db93d471f54bab7a8e1290",
    "BSD-3-Clause",
)
NEEDS = {"vizdoom": "scenes"}
WAD = "usr/share/games/doom/freedoom2.wad"
VIEWS = 40  # of each level
SPLITS = {
    **{
        f"MAP{number:02d}": "train"
        for number in (1, 3, 4, 5, 7, 8, 9, 11, 13, 14, 16, 17, 19, 21, 22, 24, 25, 27, 29)
    },
    **{f"MAP{number:02d}": "val" for number in (6, 12, 20, 26)},
    **{f"MAP{number:02d}": "test" for number in (2, 10, 15, 18, 23, 28)},
}
DISTANCES = (70.0, 450.0)  # map units from the thing
SWING = 30.0  # degrees by which the view may miss it
MIN_ROOM = 64.0  # map units from floor to ceiling; a player has 56
MIN_PX = 30  # of the thing, in a view of 320 x 240
MIN_LIGHT = 24.0  # mean of a view, of 255; darker rooms show nothing
TRIES = 30  # for each view
SURFACES = 2  # values of the label buffer below which there is no thing
GAMES_OWN = frozenset({"DoomPlayer"})


@dataclass(frozen=True)
class Thing:
    """One thing in sight."""

    value: int  # of its pixels in `labels`
    name: str  # of its class in the game, such as "Zombieman"
    distance: float  # along the view's axis, in map units


@dataclass(frozen=True, eq=False)
class View:
    """One view, W x H px, 90 degrees wide, level."""

    pixels: NDArray[np.uint8]  # (H, W, 3)
    labels: NDArray[np.uint8]  # (H, W); 0 walls and sky, 1 floors and ceilings, else a thing's value
    depth: NDArray[np.uint8]  # (H, W), the engine's buffer
    things: Sequence[Thing]
    grid: SectorGrid
    sectors: Sequence[Sector]
    x: float
    y: float
    z: float  # of the eye
    angle: float  # degrees, anticlockwise from east


def views(folders: Folders, level: str, *, count: int, seed: int, size: int) -> Iterator[View]:
    """Yields up to `count` views of a level, `size` px wide; fewer if good places are rare.

    Raises:
        MissingExtra: vizdoom is not installed.
    """
    wad = (folders[PACKAGE.name] / WAD).resolve()
    number = zlib.crc32(f"{seed}/{level}".encode())
    with _running(wad, level, seed=number, size=size) as game:
        yield from _views(game, random.Random(number), count)


def levels(limit: int) -> Iterator[tuple[str, str, int]]:
    """Yields each level with its split and the number of views to take, at most `limit` (0: no limit) of each split in all."""
    for level, split in SPLITS.items():
        same = [name for name, other in SPLITS.items() if other == split]
        share, rest = divmod(limit, len(same))
        yield level, split, min(VIEWS, share + (same.index(level) < rest)) if limit else VIEWS


@contextmanager
def _running(wad: Path, level: str, *, seed: int, size: int) -> Iterator[Any]:
    """Gives a game that has begun; its process writes into the folder that it is started in, so that is one of its own."""
    game = _set_up(wad, level, seed=seed, size=size)
    with tempfile.TemporaryDirectory(prefix="freedoom-") as scratch:
        with chdir(scratch):
            game.init()
        try:
            for cheat in ("god", "notarget"):
                game.send_game_command(cheat)
            game.make_action([0.0], 4)  # the first few turns are not obeyed
            yield game
        finally:
            game.close()


def _set_up(wad: Path, level: str, *, seed: int, size: int) -> Any:
    try:
        import vizdoom
    except ImportError as error:
        raise MissingExtra("vizdoom", extra="scenes") from error
    game = vizdoom.DoomGame()
    game.set_doom_game_path(str(wad))
    game.set_doom_map(level)
    game.set_seed(seed)
    game.set_mode(vizdoom.Mode.PLAYER)
    game.set_window_visible(False)
    game.set_sound_enabled(False)
    game.set_screen_format(vizdoom.ScreenFormat.RGB24)
    game.set_screen_resolution(_resolution(vizdoom, size))
    for switch in (
        "hud",
        "weapon",
        "crosshair",
        "decals",
        "particles",
        "effects_sprites",
        "messages",
        "screen_flashes",
    ):
        getattr(game, f"set_render_{switch}")(False)
    for switch in ("depth_buffer", "labels_buffer", "objects_info", "sectors_info"):
        getattr(game, f"set_{switch}_enabled")(True)
    game.set_available_buttons([vizdoom.Button.TURN_LEFT_RIGHT_DELTA])
    variable = vizdoom.GameVariable
    game.set_available_game_variables(
        [
            variable.CAMERA_POSITION_X,
            variable.CAMERA_POSITION_Y,
            variable.CAMERA_POSITION_Z,
            variable.CAMERA_ANGLE,
        ]
    )
    game.set_episode_timeout(0)
    game.add_game_args("+sv_cheats 1")
    return game


def _resolution(vizdoom: Any, size: int) -> Any:
    """The engine's smallest 4:3 picture that is at least `size` px wide, or its largest."""
    known = {
        320: "RES_320X240",
        640: "RES_640X480",
        800: "RES_800X600",
        1024: "RES_1024X768",
        1600: "RES_1600X1200",
    }
    width = min((width for width in known if width >= size), default=max(known))
    return getattr(vizdoom.ScreenResolution, known[width])


def _views(game: Any, draw: random.Random, count: int) -> Iterator[View]:
    state = game.get_state()
    grid = SectorGrid.of(_sectors(state))
    by_name: Mapping[str, list[tuple[float, float]]] = defaultdict(list)
    for each in state.objects:
        if each.name not in GAMES_OWN:
            by_name[each.name].append((each.position_x, each.position_y))
    names = sorted(by_name)
    for _ in range(count if names else 0):
        for _ in range(TRIES):
            name = draw.choice(names)  # so that what is rare is seen as often as what is everywhere
            view = _view_of(game, draw, grid, name, draw.choice(by_name[name]))
            if view is not None:
                yield view
                break


def _view_of(
    game: Any, draw: random.Random, grid: SectorGrid, name: str, target: tuple[float, float]
) -> View | None:
    """Moves near a target and looks; None if there is no room, or nothing of that name to be seen."""
    distance, bearing, swing = (
        draw.uniform(*DISTANCES),
        draw.uniform(0, 2 * math.pi),
        draw.uniform(-SWING, SWING),
    )
    x, y = target[0] - distance * math.cos(bearing), target[1] - distance * math.sin(bearing)
    sectors = _sectors(game.get_state())
    if not grid.has_room(x, y, sectors, height=MIN_ROOM):
        return None
    turn = _camera(game)[3] - math.degrees(bearing) - swing
    game.send_game_command(f"warp {x:.1f} {y:.1f}")
    game.make_action([(turn + 180) % 360 - 180], 1)
    game.make_action([0.0], 2)  # the eye settles
    view = _seen(game.get_state(), grid)
    if math.hypot(view.x - x, view.y - y) > 8:  # the engine refused, or something pushed
        return None
    if view.pixels.mean() < MIN_LIGHT:
        return None
    wanted = MIN_PX * view.labels.size / (320 * 240)
    shown = max(
        (int((view.labels == each.value).sum()) for each in view.things if each.name == name), default=0
    )
    return view if shown >= wanted else None


def _seen(state: Any, grid: SectorGrid) -> View:
    x, y, z, angle = (float(value) for value in state.game_variables)
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    things = [
        Thing(
            each.value,
            each.object_name,
            (each.object_position_x - x) * cosine + (each.object_position_y - y) * sine,
        )
        for each in state.labels
        if each.value >= SURFACES and each.object_name not in GAMES_OWN
    ]
    pixels, labels, depth = (
        np.array(plane) for plane in (state.screen_buffer, state.labels_buffer, state.depth_buffer)
    )
    return View(pixels, labels, depth, things, grid, _sectors(state), x, y, z, angle)


def _camera(game: Any) -> tuple[float, float, float, float]:
    x, y, z, angle = (float(value) for value in game.get_state().game_variables)
    return x, y, z, angle


def _sectors(state: Any) -> list[Sector]:
    return [
        Sector(
            each.floor_height,
            each.ceiling_height,
            tuple((line.x1, line.y1, line.x2, line.y2) for line in each.lines),
        )
        for each in state.sectors
    ]
