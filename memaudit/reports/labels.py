"""Where the names of points go, so that they cover neither each other nor what is drawn."""

from __future__ import annotations

from collections.abc import Sequence

Box = tuple[float, float, float, float]  # left, bottom, right, top

_SIDES = ((1, 1), (1, -1), (-1, 1), (-1, -1), (1, 0), (-1, 0), (0, 1), (0, -1))
_GAPS = (4.0, 12.0)
_OUTSIDE = 100.0  # times as bad as covering something


def placed(
    points: Sequence[tuple[float, float]], sizes: Sequence[tuple[float, float]], taken: Sequence[Box], room: Box
) -> list[tuple[float, float]]:
    """Return the lower left corner of each name, beside its point, where it covers the least; names come in turn.

    Args:
        points: Their places.
        sizes: Widths and heights of the names, in the same unit.
        taken: What should not be covered.
        room: What names should stay inside of.
    """
    boxes, corners = list(taken), []
    for point, size in zip(points, sizes, strict=True):
        candidates = [_corner(point, size, side, gap) for gap in _GAPS for side in _SIDES]
        best = min(candidates, key=lambda corner: _cost(_box(corner, size), boxes, room))
        corners.append(best)
        boxes.append(_box(best, size))
    return corners


def _corner(
    point: tuple[float, float], size: tuple[float, float], side: tuple[int, int], gap: float
) -> tuple[float, float]:
    """Return where a name begins that is to one side of a point."""
    x, y = (at + gap * to - length * (1 - to) / 2 for at, length, to in zip(point, size, side, strict=True))
    return x, y


def _box(corner: tuple[float, float], size: tuple[float, float]) -> Box:
    return (*corner, corner[0] + size[0], corner[1] + size[1])


def _cost(box: Box, boxes: Sequence[Box], room: Box) -> float:
    area = (box[2] - box[0]) * (box[3] - box[1])
    return sum(_common(box, other) for other in boxes) + _OUTSIDE * (area - _common(box, room))


def _common(one: Box, other: Box) -> float:
    """Return the area that two boxes have in common."""
    width, height = (min(one[i + 2], other[i + 2]) - max(one[i], other[i]) for i in (0, 1))
    return max(0.0, width) * max(0.0, height)
