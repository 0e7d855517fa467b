"""A figure to SVG or PNG. Nothing here touches pyplot or leaves a setting behind; the same gives the same bytes."""

from __future__ import annotations

import io
import math
import re
import statistics
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from matplotlib import font_manager, style
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.figure import Figure as Canvas
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.markers import TICKDOWN, TICKLEFT
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from memaudit.errors import EvidenceError
from memaudit.reports.labels import Box, placed
from memaudit.reports.text import ends, number, one_line, percent, points, spelled
from memaudit.types import Curve, Figure, FigureKind, Scatter, Table

_WIDTH, _HEIGHT = 4.7, 4.3  # inches: at phone width the 11 pt letters are still as many pixels high
_ABOVE = 0.36  # its row: where the mark of a limit is
_TOP = 1.5  # of a logarithmic axis: a marker at 100% must not be cut
_BASE = 1.1  # inches: of a picture with rows, without them
_FEW_NAMES = 6  # of a legend in letters of the usual size
_LONGEST = {False: 24, True: 26}  # characters of a name in a legend of two columns; letters of many names are smaller
_ROW = {False: 0.23, True: 0.19}  # inches: of a row of a legend, one and a half times its letters
_FEW_ROWS = 2  # a legend of more must not take its height from the axes
_DPI = 72  # of an SVG, in which everything is measured
_PAD = 0.05  # inches around the picture, and between what is in it
_WIDE, _NARROW = 44, 24  # characters in a line of an axis' label, and of one beside the names of rows
_FONT = "DejaVu Sans"  # comes with matplotlib, so that a figure looks the same everywhere
_DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)))
_MARKERS = "os^Dv"
_IN_ROWS = {FigureKind.FOREST: "Attack", FigureKind.CORRELATIONS: "Score", FigureKind.ROWS: "Row"}  # what a row is
_LINE = {FigureKind.FOREST: 0.27, FigureKind.CORRELATIONS: 0.31, FigureKind.ROWS: 0.31}  # inches: of a row
_LETTER, _LETTERS_HIGH = 5.3, 11.0  # pixels: of the name of a point
_BARE = (FigureKind.HISTOGRAM, FigureKind.BITS, FigureKind.CORRELATIONS)  # whose numbers are no shares


@dataclass(frozen=True, slots=True)
class Ink:
    """The colours of a theme; the curves' are Okabe and Ito's, which the colour-blind can tell apart."""

    paper: str
    text: str
    grid: str
    guessing: str
    curves: tuple[str, ...]

    def colors(self) -> tuple[str, ...]:
        """Return all of them, in the same order for every theme."""
        return (self.paper, self.text, self.grid, self.guessing, *self.curves)


class Theme(Enum):
    """What a figure is looked at on."""

    LIGHT = Ink("#ffffff", "#1f2328", "#d5d9de", "#6b727a", ("#0072b2", "#d55e00", "#007a5a", "#a3467c"))
    DARK = Ink("#171b21", "#e6e9ed", "#39414b", "#9aa4af", ("#56b4e9", "#e69f00", "#33c79d", "#e8a6cf"))


_COLOR = re.compile(rb'(?<=[ "])#[0-9a-f]{6}\b')  # of a style or an attribute; the name of a part is no such number
_DARK_FOR = {
    light.encode(): dark.encode()
    for light, dark in zip(Theme.LIGHT.value.colors(), Theme.DARK.value.colors(), strict=True)
}


def render(figure: Figure, theme: Theme) -> bytes:
    """Return the figure as SVG, without its title, which belongs to the page around it.

    Raises:
        EvidenceError: A curve's coordinates do not belong together.
    """
    return _saved(figure, theme, format="svg", metadata={"Date": None, "Creator": None})


def darkened(svg: bytes) -> bytes:
    """Return a figure that was drawn in the light theme in the colours of the dark one, as a second drawing would."""
    return _COLOR.sub(lambda found: _DARK_FOR.get(found[0], found[0]), svg)


def png(figure: Figure, theme: Theme) -> bytes:
    """Return the figure as PNG, for places that show no SVG; without its title, as `render`.

    Raises:
        EvidenceError: A curve's coordinates do not belong together.
    """
    return _saved(figure, theme, format="png", dpi=150, metadata={"Software": None})


def _saved(figure: Figure, theme: Theme, **options: Any) -> bytes:
    _refuse_misfits(figure)
    beside = figure.kind in _IN_ROWS  # the names of its rows leave the axis less room
    height = _HEIGHT if not beside else _BASE + _LINE[figure.kind] * max(4, len(figure.ticks))
    with style.context(["default", _settings(theme.value)], after_reset=True):
        canvas = Canvas(figsize=(_WIDTH, height), dpi=_DPI)
        panels = list(canvas.subplots(2, height_ratios=(3, 2), sharex=True)) if figure.below else [canvas.add_subplot()]
        notes = _DRAW[figure.kind](panels[0], figure, theme.value)
        if figure.below:
            _bars(panels[1], figure, theme.value)
            panels[0].tick_params(axis="x", labelbottom=False)
        below = [line for text in (figure.x_label, *notes) for line in _wrapped(text, _NARROW if beside else _WIDE)]
        panels[-1].set_xlabel("\n".join(below))
        panels[0].set_ylabel("" if beside else "\n".join(_wrapped(figure.y_label)))
        named = [axes.get_legend_handles_labels() for axes in panels]
        handles, labels = ([item for part in parts for item in part] for parts in zip(*named, strict=True))
        legend = None
        if handles:
            many = len(labels) > _FEW_NAMES
            columns = 2 if max(map(len, labels)) <= _LONGEST[many] else 1
            canvas.set_figheight(height + _ROW[many] * max(0, math.ceil(len(labels) / columns) - _FEW_ROWS))
            legend = canvas.legend(
                handles,
                labels,
                loc="upper left",
                bbox_to_anchor=(0, 1),
                borderaxespad=0.3,
                ncols=columns,
                fontsize="small" if many else "medium",
            )
        _fit(canvas, panels, legend)
        file = io.BytesIO()
        canvas.savefig(file, **options)
    return file.getvalue()


def _fit(canvas: Canvas, panels: Sequence[Axes], legend: Legend | None) -> None:
    """Give the axes all the room that their labels and the legend leave, as a constrained layout does.

    Everything is measured once: names that get a little more or less room by it keep their size.
    """
    renderer = RendererSVG(*canvas.bbox.size, io.StringIO())  # type: ignore[no-untyped-call]
    pad, width, height = _PAD * canvas.dpi, *canvas.bbox.size
    boxes = [(axes.get_window_extent(), axes.get_tightbbox(renderer, for_layout_only=True)) for axes in panels]
    around = [(own, whole) for own, whole in boxes if whole is not None]
    left, right = (max(values) for values in zip(*((a.x0 - b.x0, b.x1 - a.x1) for a, b in around), strict=True))
    above, below = [b.y1 - a.y1 for a, b in around], [a.y0 - b.y0 for a, b in around]
    top = above[0] + pad + (0 if legend is None else height - legend.get_window_extent(renderer).y0)
    bottom = below[-1] + pad
    between = (below[0] + above[-1] + 2 * pad) * (len(panels) - 1)
    canvas.subplots_adjust(
        left=(left + pad) / width,
        right=1 - (right + pad) / width,
        bottom=bottom / height,
        top=1 - top / height,
        hspace=between * len(panels) / (height - top - bottom - between),
    )


def data(figure: Figure) -> tuple[Table, ...]:
    """Return what the figure shows as tables, for those who cannot see it: one where all curves share their x.

    Raises:
        EvidenceError: A curve's coordinates do not belong together.
    """
    _refuse_misfits(figure)
    if figure.kind in _IN_ROWS:
        return (_rows(figure),)
    if figure.kind is FigureKind.FRONT:
        return (_named_points(figure),)
    by_x: dict[tuple[float, ...], list[Curve]] = {}
    for curve in (*figure.curves, *figure.below):
        by_x.setdefault(curve.x, []).append(curve)
    return tuple(_data(figure, x, curves) for x, curves in by_x.items())


def _rows(figure: Figure) -> Table:
    """Return the rows of a forest plot, without its headings."""
    cells = [dict(zip(curve.x, _points(figure.kind, curve), strict=True)) for curve in figure.curves]
    places = sorted({x for curve in figure.curves for x in curve.x})
    names = _full_names(figure, places) if figure.kind is FigureKind.ROWS else figure.ticks
    return Table(
        title=figure.title,
        columns=(figure.y_label or _IN_ROWS[figure.kind], *(curve.label for curve in figure.curves)),
        rows=tuple((names[int(x)], *(column.get(x) for column in cells)) for x in places),
    )


def _named_points(figure: Figure) -> Table:
    """Return the points of a front by name."""
    rows = []
    for curve in (curve for curve in figure.curves[:-1] if isinstance(curve, Scatter)):
        across = zip(curve.x, curve.left, curve.right, strict=True)
        x = (f"{points(x)} ({ends(points(left), points(right))})" for x, left, right in across)
        rows += [(*cells, curve.label) for cells in zip(curve.names, x, _points(figure.kind, curve), strict=True)]
    return Table(title=figure.title, columns=("Name", figure.x_label, figure.y_label, "Group"), rows=tuple(rows))


def _full_names(figure: Figure, places: Sequence[float]) -> list[str]:
    """Return the names of rows behind those of their headings: "no" may be a row under each."""
    names, heading = list(figure.ticks), ""
    for place, tick in enumerate(figure.ticks):
        if place not in places:
            heading = f"{tick} = "
        else:
            names[place] = heading + tick
    return names


def _data(figure: Figure, x: tuple[float, ...], curves: list[Curve]) -> Table:
    """Return the points of the curves over one x."""
    columns: list[Sequence[float | str]]
    if figure.kind is FigureKind.HISTOGRAM:
        names, columns = ["from", "to"], [x[:-1], x[1:]]
    elif len(figure.ticks) == len(x):
        names, columns = [figure.x_label], [figure.ticks]
    else:
        names, columns = [figure.x_label], [[percent(value) for value in x] if figure.kind is FigureKind.ROC else x]
    columns += [list(_points(figure.kind, curve)) for curve in curves]
    names += [curve.label for curve in curves]
    whole = len(figure.curves) + len(figure.below)
    whose = "" if len(curves) == whole else f": {', '.join(curve.label for curve in curves)}"
    return Table(title=figure.y_label + whose, columns=tuple(names), rows=tuple(zip(*columns, strict=True)))


def _points(kind: FigureKind, curve: Curve) -> Iterator[float | str]:
    """Yield the heights of a curve, each with its interval if it has one."""
    shown = number if kind in _BARE else percent
    for index, y in enumerate(curve.y):
        interval = f" ({ends(shown(curve.low[index]), shown(curve.high[index]))})" if curve.low else ""
        yield y if kind is FigureKind.HISTOGRAM else shown(y) + interval


def _settings(ink: Ink) -> dict[str, object]:
    settings: dict[str, object] = {
        "font.family": _FONT,
        "font.size": 11,
        "text.parse_math": False,  # a label may hold a $
        "svg.hashsalt": "memaudit",
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "lines.linewidth": 2,
        "lines.markersize": 6,
        "hatch.linewidth": 0.6,
        "grid.color": ink.grid,
        "figure.facecolor": ink.paper,
        "axes.facecolor": ink.paper,
        "axes.edgecolor": ink.guessing,
    }
    return settings | dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), ink.text)


def _refuse_misfits(figure: Figure) -> None:
    if figure.kind is FigureKind.FRONT and not (figure.curves and all(isinstance(c, Scatter) for c in figure.curves)):
        raise EvidenceError(
            f"figure {figure.title!r}: a front is drawn from scattered points, the last of them its steps"
        )
    extra = 1 if figure.kind is FigureKind.HISTOGRAM else 0
    for curve in (*figure.curves, *figure.below):
        points = len(curve.y)
        across = (curve.names, curve.left, curve.right, curve.low) if isinstance(curve, Scatter) else ()
        if (
            len(curve.x) != points + extra
            or {len(curve.low), len(curve.high)} not in ({0}, {points})
            or any(len(values) != points for values in across)
        ):
            raise EvidenceError(
                f"figure {figure.title!r}, curve {curve.label!r}: a {figure.kind} cannot be drawn from "
                f"{len(curve.x)} x, {points} y, {len(curve.low)} low and {len(curve.high)} high values"
            )


def _label(text: str, limit: int = 40) -> str:
    """Return the text as it can be drawn: in one line, and what the font lacks spelled out."""
    font = font_manager.get_font(font_manager.findfont(_FONT))
    drawable = (c if font.get_char_index(ord(c)) else spelled(c) for c in one_line(text, limit))
    return one_line("".join(drawable), limit)


def _wrapped(text: str, width: int = _WIDE) -> list[str]:
    return textwrap.wrap(_label(text, 120), width)


def _ink(ink: Ink, index: int) -> str:
    return ink.curves[index % len(ink.curves)]


def _floor(values: Sequence[float]) -> float:
    """Return where a logarithmic axis begins: the power of ten below the smallest value that is not 0."""
    smallest = min((value for value in values if value > 0), default=0.01)
    return float(10.0 ** math.floor(math.log10(max(min(smallest, 0.9), 1e-6)) - 0.02))


def _clipped(values: Sequence[float], floor: float) -> list[float]:
    return [max(value, floor) for value in values]


def _logarithmic(axes: Axes, floor: float, *, both: bool) -> None:
    axes.set_yscale("log")
    axes.set_ylim(floor, _TOP)
    if both:
        axes.set_xscale("log")
        axes.set_xlim(floor, _TOP)
    for axis in (axes.xaxis, axes.yaxis) if both else (axes.yaxis,):
        _decades(axis, floor, 6)


def _decades(axis: Axis, floor: float, most: int) -> None:
    """Name at most so many powers of ten, and mark what is between them: by one line, as ticks are slow to draw."""
    axis.set_major_locator(LogLocator(numticks=most))
    axis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))
    axis.set_minor_locator(NullLocator())
    between = [k * 10.0**e for e in range(math.floor(math.log10(floor)), 1) for k in range(2, 10)]
    between = [value for value in between if floor <= value <= _TOP]
    axes, edge, ink = axis.axes, [0] * len(between), axis.label.get_color()
    look: dict[str, Any] = {"linestyle": "", "markersize": 2, "markeredgewidth": 0.6, "color": ink, "clip_on": False}
    if axis is axes.xaxis:
        axes.plot(between, edge, marker=TICKDOWN, transform=axes.get_xaxis_transform(), **look)
    else:
        axes.plot(edge, between, marker=TICKLEFT, transform=axes.get_yaxis_transform(), **look)


def _clipping_note(values: Sequence[float], floor: float) -> list[str]:
    return [f"(values below {percent(floor)} are drawn at the edge)"] if min(values, default=1.0) < floor else []


def _line(axes: Axes, x: Sequence[float], y: Sequence[float], curve: Curve, color: str, index: int) -> Line2D:
    """Return a curve that can be told from the others by its dashes and its markers as well as by its colour."""
    turn = index + index // len(_DASHES)  # the fifth has the colour of the first, and must not have its dashes too
    dashes, marker = _DASHES[turn % len(_DASHES)], _MARKERS[index % len(_MARKERS)]
    return axes.plot(x, y, color=color, linestyle=dashes, marker=marker, label=_label(curve.label))[0]


def _roc(axes: Axes, figure: Figure, ink: Ink) -> list[str]:
    values = [value for curve in figure.curves for value in (*curve.x, *curve.y)]
    blind = figure.unresolved if figure.unresolved and 0 < figure.unresolved < 1 else None
    floor = blind / 4 if blind else _floor(values)  # the shaded part is an axis's narrow beginning
    _logarithmic(axes, floor, both=True)
    if blind:
        shade = axes.axvspan(floor, blind, facecolor=ink.grid, edgecolor=ink.guessing, hatch="//", alpha=0.5)
        shade.set_label("not resolvable")
    axes.plot([floor, 1], [floor, 1], color=ink.guessing, linestyle="--", linewidth=1.5, label="guessing")
    for index, curve in enumerate(figure.curves):
        color, x = _ink(ink, index), _clipped(curve.x, floor)
        if curve.low:
            axes.fill_between(x, _clipped(curve.low, floor), _clipped(curve.high, floor), color=color, alpha=0.2, lw=0)
        line = _line(axes, x, _clipped(curve.y, floor), curve, color, index)
        line.set_markevery(max(1, len(x) // 8))
        if index:  # the first curve is the one that the report is about
            line.set(linewidth=1.4, markersize=5)
    return _clipping_note(values, floor)


def _histogram(axes: Axes, figure: Figure, ink: Ink) -> list[str]:
    for index, curve in enumerate(figure.curves):
        color = _ink(ink, index)
        hatch = "" if index == 0 else "\\\\"
        axes.stairs(curve.y, curve.x, fill=True, facecolor=color, alpha=0.3, hatch=hatch, edgecolor=color, label=None)
        axes.stairs(curve.y, curve.x, color=color, linewidth=2, linestyle=_DASHES[index % 4], label=_label(curve.label))
    counts = [count for curve in figure.curves for count in curve.y if count > 0]
    steep = bool(counts) and max(counts) > 50 * statistics.median(counts)
    if steep:  # one tall bin would flatten the tail, and the tail is what the reader is after
        axes.set_yscale("log")
        axes.set_ylim(bottom=min(counts) / 2)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axes.xaxis.set_major_locator(MaxNLocator(6))
    return ["(y-axis: log scale)"] if steep else []


def _link(axes: Axes, figure: Figure, ink: Ink) -> list[str]:
    places = {x: place for place, x in enumerate(sorted({x for curve in figure.curves for x in curve.x}))}
    values = [value for curve in figure.curves for value in curve.y]
    floor = _floor(values)
    _logarithmic(axes, floor, both=False)
    for index, curve in enumerate(figure.curves):
        color, shift = _ink(ink, index), 0.16 * (index - (len(figure.curves) - 1) / 2)
        x = [places[value] + shift for value in curve.x]
        if curve.low:
            axes.vlines(x, _clipped(curve.low, floor), _clipped(curve.high, floor), color=color, linewidth=2)
        _line(axes, x, _clipped(curve.y, floor), curve, color, index).set_linewidth(1)
    _named(axes, figure, list(places))
    return _clipping_note(values, floor)


def _named(axes: Axes, figure: Figure, places: list[float]) -> None:
    """Write the names of the places below an axis, slanted where they would run into each other."""
    ticks = [_label(tick, 20) for tick in figure.ticks] or [f"{x:.3g}" for x in places]
    shown = min(len(ticks), len(places))
    crowded = sum(map(len, ticks)) > 36
    axes.set_xticks(range(shown), ticks[:shown], rotation=40 if crowded else 0, ha="right" if crowded else "center")
    axes.grid(axis="x", visible=False)


def _bars(axes: Axes, figure: Figure, ink: Ink) -> None:
    """Draw shares of a whole as bars in the panel below, over the same places."""
    places = {x: place for place, x in enumerate(sorted({x for curve in figure.curves for x in curve.x}))}
    width = 0.7 / len(figure.below)
    for index, curve in enumerate(figure.below):
        color, shift = _ink(ink, len(figure.curves) + index), width * (index - (len(figure.below) - 1) / 2)
        x = [places.get(value, value) + shift for value in curve.x]
        hatch = "" if index else "//"
        axes.bar(
            x, curve.y, width, color=color, alpha=0.75, hatch=hatch, edgecolor=ink.paper, label=_label(curve.label)
        )
        if curve.low:
            axes.vlines(x, curve.low, curve.high, color=ink.text, linewidth=1.5)
    axes.set_ylim(0, 1)
    axes.set_ylabel("Share of all")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))
    _named(axes, figure, list(places))


def _forest(axes: Axes, figure: Figure, ink: Ink) -> list[str]:
    """Draw one row per attack: its value with the interval, and marks for chance and limit."""
    values = [value for curve in figure.curves for value in curve.y]
    floor = _floor(values)
    axes.set_xscale("log")
    axes.set_xlim(floor, _TOP)
    axes.set_ylim(len(figure.ticks) - 0.4, -0.6)
    _decades(axes.xaxis, floor, 5)
    rows: set[float] = set()
    for index, curve in enumerate(figure.curves):
        color, y, x = _ink(ink, index), list(curve.x), _clipped(curve.y, floor)
        rows |= set(curve.x)
        if curve.low:
            axes.hlines(y, _clipped(curve.low, floor), _clipped(curve.high, floor), color=color, linewidth=2)
            for place, value in zip(y, curve.y, strict=True):
                axes.text(1.02, place, percent(value), transform=axes.get_yaxis_transform(), va="center", fontsize=10)
        color, marker, size = ((color, "o", 6), (ink.guessing, "|", 11), (color, "v", 5))[index % 3]
        y = [place - _ABOVE for place in y] if marker == "v" else y  # which points at the value and hides nothing
        axes.plot(
            x,
            y,
            color=color,
            linestyle="",
            marker=marker,
            markersize=size,
            markeredgewidth=2,
            label=_label(curve.label),
        )
    _row_names(axes, figure, rows)
    return _clipping_note([value for curve in figure.curves for value in (*curve.y, *curve.low)], floor)


def _row_names(axes: Axes, figure: Figure, rows: set[float]) -> None:
    """Write the names of the rows, and in bold those of headings, which have no point."""
    labels = ["\n".join(_wrapped(_label(tick, 2 * _NARROW - 8), _NARROW)) for tick in figure.ticks]
    crowded = any("\n" in label for label in labels)
    axes.set_yticks(range(len(labels)), labels)
    for place, tick in enumerate(axes.get_yticklabels()):
        if crowded:
            tick.set(fontsize=9, linespacing=0.95)
        if place not in rows:
            tick.set(fontweight="bold", fontsize=9.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)


def _places(axes: Axes, figure: Figure, ink: Ink) -> None:
    """Draw curves over named places, with their intervals, and the marked heights."""
    for index, curve in enumerate(figure.curves):
        color, shift = _ink(ink, index), 0.12 * (index - (len(figure.curves) - 1) / 2)
        x = [value + shift for value in curve.x]
        if curve.low:
            axes.vlines(x, curve.low, curve.high, color=color, linewidth=2)
        _line(axes, x, curve.y, curve, color, index).set_clip_on(False)  # a marker at 0 would lose its lower half
    ticks = [_label(tick, 20) for tick in figure.ticks]
    axes.set_xticks(range(len(ticks)), ticks)
    axes.set_ylim(bottom=min([0.0, *(value for curve in figure.curves for value in curve.y)]))
    axes.grid(axis="x", visible=False)
    _marks(axes, figure, ink)


def _marks(axes: Axes, figure: Figure, ink: Ink) -> None:
    """Draw the marked heights; the names of two that are close are at opposite ends of their lines."""
    near = 0.06 * (axes.get_ylim()[1] - axes.get_ylim()[0])
    last, at_right = -math.inf, True
    for mark in sorted(figure.marks, key=lambda mark: mark.y):
        at_right = not at_right if mark.y - last < near else True
        last = mark.y
        axes.axhline(mark.y, color=ink.guessing, linestyle="--", linewidth=1.2)
        axes.annotate(
            _label(mark.label, 30),
            (float(at_right), mark.y),
            xycoords=("axes fraction", "data"),
            xytext=(0, 2),
            textcoords="offset points",
            ha="right" if at_right else "left",
            fontsize=9,
            color=ink.text,
            bbox={"facecolor": ink.paper, "edgecolor": "none", "alpha": 0.8, "pad": 0.5},  # it may lie on a curve
        )


def _bits(axes: Axes, figure: Figure, ink: Ink) -> list[str]:
    _places(axes, figure, ink)
    return []


def _shares(axes: Axes, figure: Figure, ink: Ink) -> list[str]:
    _places(axes, figure, ink)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.6g}%"))  # 17.5% is no 18%
    return []


def _in_rows(axes: Axes, figure: Figure, ink: Ink) -> None:
    """Draw the points of each row with their intervals, those of several curves below each other."""
    axes.set_ylim(len(figure.ticks) - 0.4, -0.6)
    for index, curve in enumerate(figure.curves):
        color, y = _ink(ink, index), [place + 0.24 * (index - (len(figure.curves) - 1) / 2) for place in curve.x]
        if curve.low:
            axes.hlines(y, curve.low, curve.high, color=color, linewidth=2)
        marker = _MARKERS[index % len(_MARKERS)]
        axes.plot(curve.y, y, color=color, linestyle="", marker=marker, markersize=5, label=_label(curve.label))


def _row_shares(axes: Axes, figure: Figure, ink: Ink) -> list[str]:
    """Draw one row per name: its shares with their intervals."""
    _in_rows(axes, figure, ink)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.6g}%"))
    _row_names(axes, figure, {x for curve in figure.curves for x in curve.x})
    return []


def _correlations(axes: Axes, figure: Figure, ink: Ink) -> list[str]:
    """Draw one row per score: its correlations with their intervals, and a line at 0."""
    axes.axvline(0, color=ink.guessing, linestyle="--", linewidth=1.2)
    _in_rows(axes, figure, ink)
    names = ["\n".join(_wrapped(_label(tick, 2 * _NARROW), _NARROW + 4)) for tick in figure.ticks]
    axes.set_yticks(range(len(names)), names, fontsize=8, linespacing=0.95)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    return []


def _front(axes: Axes, figure: Figure, ink: Ink) -> list[str]:
    """Draw points with their names and their intervals in both directions, and the front as steps."""
    *groups, front = (curve for curve in figure.curves if isinstance(curve, Scatter))
    values = [value for curve in groups for value in (*curve.y, *curve.high)] + [mark.y for mark in figure.marks]
    positive = [value for value in values if value > 0] or [0.01, 1.0]
    floor, top = 0.6 * min(positive), 1.4 * max(positive)
    axes.set_yscale("log")
    axes.set_ylim(floor, top)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: percent(value)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: points(value)))
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.margins(x=0.12)
    for index, curve in enumerate(groups):
        color, y = _ink(ink, index), _clipped(curve.y, floor)
        if curve.y:
            axes.vlines(curve.x, _clipped(curve.low, floor), _clipped(curve.high, floor), color=color, linewidth=1.5)
            axes.hlines(y, curve.left, curve.right, color=color, linewidth=1.5)
            axes.plot(curve.x, y, color=color, linestyle="", marker=_MARKERS[index], label=_label(curve.label))
    steps: dict[str, Any] = {
        "drawstyle": "steps-pre",
        "linestyle": _DASHES[2],
        "linewidth": 1.5,
        "color": ink.guessing,
        "zorder": 1,
    }
    axes.plot(front.x, _clipped(front.y, floor), label=_label(front.label), **steps)
    _marks(axes, figure, ink)
    _point_names(axes, groups, floor)
    return _clipping_note([value for curve in groups for value in (*curve.y, *curve.low)], floor)


def _point_names(axes: Axes, groups: Sequence[Scatter], floor: float) -> None:
    """Write the name of each point beside it."""
    places = [point for curve in groups for point in zip(curve.x, _clipped(curve.y, floor), strict=True)]
    names = [_label(name, 24) for curve in groups for name in curve.names]
    at = [tuple(axes.transData.transform(place)) for place in places]
    taken: list[Box] = [(x - 4, y - 4, x + 4, y + 4) for x, y in at]
    for curve in groups:
        for x, y, low, high, left, right in zip(
            curve.x, curve.y, curve.low, curve.high, curve.left, curve.right, strict=True
        ):
            (x0, y0), (x1, y1) = axes.transData.transform([(left, max(low, floor)), (right, max(high, floor))])
            (x, y), *_ = axes.transData.transform([(x, max(y, floor))])
            taken += [(x0, y - 1, x1, y + 1), (x - 1, y0, x + 1, y1)]
    sizes = [(_LETTER * len(name), _LETTERS_HIGH) for name in names]
    room = axes.get_window_extent()
    corners = placed([(x, y) for x, y in at], sizes, taken, (room.x0, room.y0, room.x1, room.y1))
    for name, point, place, corner in zip(names, places, at, corners, strict=True):
        offset = (corner[0] - place[0], corner[1] - place[1])
        axes.annotate(name, point, xytext=offset, textcoords="offset points", va="bottom", fontsize=9)


_DRAW: dict[FigureKind, Callable[[Axes, Figure, Ink], list[str]]] = {
    FigureKind.ROC: _roc,
    FigureKind.HISTOGRAM: _histogram,
    FigureKind.LINK: _link,
    FigureKind.FOREST: _forest,
    FigureKind.CORRELATIONS: _correlations,
    FigureKind.ROWS: _row_shares,
    FigureKind.BITS: _bits,
    FigureKind.SHARES: _shares,
    FigureKind.FRONT: _front,
}
