"""A one-stage detector over the grids of a network: torchvision's FCOS (Tian et al. 2019, arXiv 1904.01355) without its backbone.

What is torchvision's: the heads, the assignment of boxes to cells, the losses (focal, GIoU, centredness) and non-maximum suppression.
What is here: the neck from any network's grids, and the cells' middles. torchvision puts cell i at i times the stride; FCOS and this
file put it half a cell further, where bilinear resizing and a transformer's patches have it.

Axes: B images, S side in px, D width of a level, h and w cells, k boxes, A cells of all levels, C classes.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models.detection.fcos import FCOS, FCOSHead
from torchvision.ops import FeaturePyramidNetwork

from alumnus.types import Grid

WIDTH = 128  # half of FCOS's: the networks here are small, and so are their images
NUM_CONVS = 2  # of FCOS's 4, for the same reason
SCORE, OVERLAP, MOST = (
    0.01,
    0.6,
    100,
)  # lowest score and largest IoU that are kept, and how many; 100 is COCO's

BACKGROUND = -math.log(
    99
)  # the class logit that torchvision's head begins with everywhere: a probability of 0.01


class Boxes(NamedTuple):
    """The objects of one image."""

    corners: Tensor  # (k, 4) float32: left, top, right, bottom in px of the model's image
    labels: Tensor  # (k,) int64, in [0, C)


class Detected(NamedTuple):
    """What was found in one image, the surest first."""

    corners: Tensor  # (k, 4) float32, as above, within the image
    labels: Tensor  # (k,) int64
    scores: Tensor  # (k,) float32 in [0, 1]


class Raw(NamedTuple):
    """What the heads say of every cell, before anything is selected."""

    logits: Tensor  # (B, A, C); a sigmoid each
    sides: Tensor  # (B, A, 4) >= 0: from the cell's middle to left, top, right, bottom, in sides of the cell
    centredness: Tensor  # (B, A); a logit
    cells: Tensor  # (A, 4): left, top, right, bottom in px, level by level, fine to coarse


class Detector(nn.Module):
    """Neck and heads; the network is not part of it."""

    def __init__(self, grids: Sequence[Grid], *, size: int, num_classes: int) -> None:
        """Builds it for levels of these shapes over images of `size` px."""
        super().__init__()
        self.size = size
        neck = _Pyramid(grids) if len(grids) > 1 else _SimplePyramid(grids[0])
        head = FCOSHead(WIDTH, 1, num_classes, NUM_CONVS)
        self.fcos = FCOS(
            neck,
            num_classes,
            head=head,
            score_thresh=SCORE,
            nms_thresh=OVERLAP,
            detections_per_img=MOST,
        )

    def loss(self, levels: Sequence[Tensor], boxes: Sequence[Boxes]) -> Tensor:
        """Returns the scalar loss of levels (B, D, h, w), fine to coarse, with the boxes of each image; k may be 0."""
        outputs, cells, counts = self._run(levels)
        targets = [{"boxes": each.corners, "labels": each.labels} for each in boxes]
        terms = self.fcos.compute_loss(targets, outputs, [cells] * len(targets), counts)
        return torch.stack(list(terms.values())).sum()

    def forward(self, levels: Sequence[Tensor]) -> list[Detected]:
        """Returns what is found in each image; at most 100 objects."""
        outputs, cells, counts = self._run(levels)
        count = len(levels[0])
        by_level = {name: list(torch.split(output, counts, dim=1)) for name, output in outputs.items()}
        found = self.fcos.postprocess_detections(
            by_level, [list(torch.split(cells, counts))] * count, [(self.size, self.size)] * count
        )
        return [Detected(each["boxes"], each["labels"], each["scores"]) for each in found]

    def raw(self, levels: Sequence[Tensor]) -> Raw:
        """Returns what the heads say of every cell of levels (B, D, h, w), with gradients."""
        outputs, cells, _ = self._run(levels)
        return Raw(outputs["cls_logits"], outputs["bbox_regression"], outputs["bbox_ctrness"][..., 0], cells)

    @torch.no_grad()
    def begin_with(self, other: Detector) -> None:
        """Takes the weights of a detector over the same grids with no more classes, which become this one's first."""
        own = self.state_dict()  # shares its memory with the module
        for name, tensor in other.state_dict().items():
            place = own[name] if own[name].shape == tensor.shape else own[name][: len(tensor)]
            place.copy_(tensor)

    def _run(self, levels: Sequence[Tensor]) -> tuple[dict[str, Tensor], Tensor, list[int]]:
        """FCOS's outputs (B, A, .), the cells (A, 4) as left, top, right, bottom in px, and their number in each level."""
        features = self.fcos.backbone(levels)
        cells = [_cells(level, self.size) for level in features]
        return self.fcos.head(features), torch.cat(cells), [len(each) for each in cells]


class _Pyramid(nn.Module):
    """A feature pyramid network (Lin et al. 2017, arXiv 1612.03144) over normalised levels."""

    def __init__(self, grids: Sequence[Grid]) -> None:
        super().__init__()
        self.out_channels = WIDTH  # FCOS asks for it
        self.norms = nn.ModuleList(nn.BatchNorm2d(grid.dim) for grid in grids)
        self.join = FeaturePyramidNetwork([grid.dim for grid in grids], WIDTH)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        normed = OrderedDict(
            (str(place), norm(level))
            for place, (norm, level) in enumerate(zip(self.norms, levels, strict=True))
        )
        return list(self.join(normed).values())


class _SimplePyramid(nn.Module):
    """Three levels from the one of a plain transformer, as in ViTDet (Li et al. 2022, arXiv 2203.16527): twice, once and half the grid."""

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.out_channels = WIDTH
        self.norm = nn.BatchNorm2d(grid.dim)
        self.up = nn.Sequential(nn.ConvTranspose2d(grid.dim, WIDTH, 2, stride=2), *_settled(WIDTH))
        self.same = nn.Sequential(nn.Conv2d(grid.dim, WIDTH, 1), *_settled(WIDTH))
        self.down = nn.Sequential(
            nn.MaxPool2d(2, ceil_mode=True), nn.Conv2d(grid.dim, WIDTH, 1), *_settled(WIDTH)
        )

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        level = self.norm(levels[0])
        return [self.up(level), self.same(level), self.down(level)]


def _settled(width: int) -> tuple[nn.Module, ...]:
    return nn.GroupNorm(32, width), nn.GELU(), nn.Conv2d(width, width, 3, padding=1)


def _cells(level: Tensor, size: int) -> Tensor:
    """The cells (h w, 4) of a level as left, top, right, bottom in px, row by row."""
    height, width = level.shape[2:]
    down = torch.arange(height, device=level.device) * (size / height)
    across = torch.arange(width, device=level.device) * (size / width)
    top, left = (edge.flatten() for edge in torch.meshgrid(down, across, indexing="ij"))
    return torch.stack([left, top, left + size / width, top + size / height], dim=1)
