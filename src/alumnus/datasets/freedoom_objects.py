"""Freedoom's things: monsters, weapons, barrels, trees in a game's levels. Rendered pictures; the class is the kind of thing.

Source: see `freedoom` (Debian `freedoom`, BSD-3-Clause, drawn by PyPI `vizdoom`). Labels: tight boxes around what is to be seen of each
thing, from the engine's own buffer; the class is one of 18 kinds, into which the game's classes are merged (`CLASSES`). Classes that are
rare or hardly visible (spectres, columns, floating skulls) have no box, nor have pieces below 8 px a side or 40 px in all (of a picture of
320 px), nor what is too dark to be seen. Splits by level: 19 levels train, 4 val, 6 test. Aspect 4:3.

Pitfalls: sprites are flat and few, the same ones in all levels, so this asks for finding known things in unknown rooms, not for
generalising to unknown ones. Of a thing behind another one only the visible part is boxed. Rooms are dark, and many things are small.
"remains", "hanging body" and "power-up" are mixed kinds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alumnus.datasets.dense import resized_mask, tight_box
from alumnus.datasets.freedoom import NEEDS, PACKAGE, Thing, levels, views
from alumnus.datasets.known import Box, DatasetInfo, Folders, Scene

CLASSES: Mapping[str, str] = {
    "imp": "DoomImp",
    "zombie": "Zombieman ShotgunGuy ChaingunGuy WolfensteinSS",
    "demon": "Demon",
    "flying monster": "Cacodemon LostSoul PainElemental",
    "large monster": "HellKnight BaronOfHell Revenant Arachnotron Fatso Archvile SpiderMastermind Cyberdemon",
    "remains": "DeadMarine DeadZombieMan DeadShotgunGuy DeadDoomImp DeadDemon DeadCacodemon DeadLostSoul GibbedMarine "
    "GibbedMarineExtra Gibs ColonGibs SmallBloodPool BrainStem",
    "hanging body": "DeadStick LiveStick HeadOnAStick HeadsOnAStick Meat2 Meat3 Meat4 Meat5 NonsolidMeat2 NonsolidMeat3 "
    "NonsolidMeat4 NonsolidMeat5 NonsolidTwitch BloodyTwitch HangNoGuts HangBNoBrain HangTSkull HangTNoBrain HangTLookingUp "
    "HangTLookingDown",
    "barrel": "ExplosiveBarrel BurningBarrel",
    "tree": "BigTree TorchTree",
    "bush": "Stalagtite",  # so called in Doom, where it is one
    "lamp": "Column TechLamp TechLamp2",
    "torch": "RedTorch GreenTorch BlueTorch ShortRedTorch ShortGreenTorch ShortBlueTorch Candlestick Candelabra HeadCandles",
    "bonus": "HealthBonus ArmorBonus",
    "medical kit": "Stimpack Medikit",
    "ammunition": "Clip ClipBox Shell ShellBox RocketAmmo RocketBox Cell CellPack Backpack",
    "weapon": "Shotgun SuperShotgun Chaingun RocketLauncher PlasmaRifle BFG9000 Chainsaw",
    "key": "BlueCard RedCard YellowCard BlueSkull RedSkull YellowSkull",
    "power-up": "GreenArmor BlueArmor Soulsphere Megasphere BlurSphere InvulnerabilitySphere Berserk RadSuit Allmap Infrared",
}
KINDS = {name: kind for kind, names in CLASSES.items() for name in names.split()}
MIN_SIDE, MIN_PX = 8, 40  # of what is visible, in a picture of 320 px
MIN_LIGHT = 48  # of 255, the brightest channel of a thing's brighter pixels
BRIGHTER = 90  # percentile

INFO = DatasetInfo(
    name="freedoom_objects",
    title="Freedoom's things: boxes of monsters, items and scenery in levels of a game",
    kind="rendered",
    task="detection",
    packages=(PACKAGE,),
    classes=len(CLASSES),
    images=1_160,
    notes="Rendered by a game engine of 1993; flat sprites, the same in all levels. Levels are held out, sprites are not.",
    needs=NEEDS,
    size=320,
    object_classes=tuple(CLASSES),
)


def scenes(folders: Folders, *, seed: int, size: int, limit: int) -> Iterator[Scene]:
    """Yields views of each level; which ones follows from the seed."""
    for level, split, count in levels(limit):
        for number, view in enumerate(views(folders, level, count=count, seed=seed, size=size)):
            height = round(size * view.labels.shape[0] / view.labels.shape[1])
            image = Image.fromarray(view.pixels).resize((size, height), Image.Resampling.BOX)
            boxes = visible_things(view.things, resized_mask(view.labels, (size, height)), np.asarray(image))
            yield Scene(f"{level}/{number:02d}", level, split, image, objects=boxes)


def visible_things(
    things: Sequence[Thing], labels: NDArray[np.uint8], pixels: NDArray[np.uint8]
) -> list[Box]:
    """Returns the boxes of the things that have a kind and can be seen, tight around their pixels.

    Args:
        labels: (H, W), a thing's value in each of its pixels.
        pixels: (H, W, 3), the picture.
    """
    scale = labels.shape[1] / 320
    found = []
    for thing in things:
        shape = labels == thing.value
        if thing.name not in KINDS or shape.sum() < MIN_PX * scale**2:
            continue
        box = tight_box(shape, KINDS[thing.name])
        is_lit = np.percentile(pixels[shape].max(axis=1), BRIGHTER) >= MIN_LIGHT
        if is_lit and box is not None and min(box.width, box.height) >= MIN_SIDE * scale:
            found.append(box)
    return found
