"""The figures of the run report: numbers in, SVG text out.

Each is drawn about as wide as a phone, so that its text is readable there and two stand side by side on a desktop.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence

import matplotlib
from cycler import cycler

matplotlib.use("svg")
import matplotlib.pyplot as plt
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

COLOURS = ("#0b6e69", "#d1495b", "#2d5d9f", "#edae49", "#6a4c93", "#66a182", "#8d6346")
plt.rcParams.update(
    {
        "font.size": 10,
        "font.family": "sans-serif",
        "svg.fonttype": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": "#e6e6e6",
        "axes.axisbelow": True,
        "axes.prop_cycle": cycler(color=COLOURS),
        "legend.frameon": False,
    }
)

Points = tuple[Sequence[float], Sequence[float]]


def lines(
    series: Mapping[str, Points],
    *,
    x: str,
    y: str,
    breaks: Sequence[float] = (),
    unit_y: bool = False,
    log_y: bool = False,
    whole_x: bool = False,
) -> Markup:
    """Curves over one axis; `breaks` are vertical rules (ends of stages), `unit_y` fixes 0…1, `whole_x` its ticks."""
    figure, axes = _axes()
    for position in breaks:
        axes.axvline(position, color="#bbbbbb", linewidth=0.8, linestyle=":")
    for name, (xs, ys) in series.items():
        axes.plot(xs, ys, label=name, linewidth=1.4)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    if unit_y:
        axes.set_ylim(0, 1.03)
    if log_y:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
        axes.tick_params(axis="y", which="minor", labelsize=8)
    if whole_x:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(series) > 1:
        axes.legend(loc="best", fontsize=9)
    return _svg(figure)


def intervals(rows: Mapping[str, tuple[float, float, float]], *, x: str) -> Markup:
    """One horizontal bar per row: value, lower and upper end of its interval."""
    figure, axes = _axes(height=0.55 + 0.42 * len(rows))
    names = list(rows)[::-1]
    values = [rows[name][0] for name in names]
    below = [rows[name][0] - rows[name][1] for name in names]
    above = [rows[name][2] - rows[name][0] for name in names]
    axes.barh(names, values, xerr=[below, above], color=COLOURS[0], height=0.6, ecolor="#222222", capsize=3)
    axes.set_xlim(0, 1.03)
    axes.set_xlabel(x)
    axes.grid(visible=False, axis="y")
    return _svg(figure)


def groups(rows: Mapping[str, Mapping[str, float]], *, y: str) -> Markup:
    """Grouped bars: one group per row, one bar per key of its mapping; keys that a row lacks leave a gap."""
    figure, axes = _axes()
    keys = list(dict.fromkeys(key for values in rows.values() for key in values))
    width = 0.8 / len(keys)
    for number, key in enumerate(keys):
        places = [place + (number - (len(keys) - 1) / 2) * width for place in range(len(rows))]
        heights = [values.get(key, 0.0) for values in rows.values()]
        axes.bar(places, heights, width=width * 0.92, label=key, color=COLOURS[number % len(COLOURS)])
    axes.set_xticks(range(len(rows)), list(rows), fontsize=9)
    axes.set_ylim(0, 1.03)
    axes.set_ylabel(y)
    axes.grid(visible=False, axis="x")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.22), ncols=3, fontsize=9)
    return _svg(figure)


def shares(rows: Mapping[str, Mapping[str, float]], *, x: str) -> Markup:
    """One stacked bar per row: how its total divides."""
    figure, axes = _axes(height=1.0 + 0.42 * len(rows))
    keys = list(dict.fromkeys(key for values in rows.values() for key in values))
    names = list(rows)[::-1]
    left = [0.0] * len(names)
    for number, key in enumerate(keys):
        widths = [rows[name].get(key, 0.0) for name in names]
        axes.barh(names, widths, left=left, height=0.6, label=key, color=COLOURS[number % len(COLOURS)])
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set_xlim(0, 1)
    axes.set_xlabel(x)
    axes.grid(visible=False, axis="y")
    axes.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=4, fontsize=9)
    return _svg(figure)


def _axes(height: float = 2.9) -> tuple[Figure, Axes]:
    figure, axes = plt.subplots(figsize=(5.0, height))
    return figure, axes


def _svg(figure: Figure) -> Markup:
    """The figure as an `<svg>` element that scales with its column, the same text for the same numbers."""
    buffer = io.StringIO()
    # Element ids come from this salt and must differ between figures of one page.
    matplotlib.rcParams["svg.hashsalt"] = f"figure-{figure.number}"
    figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    svg = buffer.getvalue()
    width, height = re.findall(r' (?:width|height)="[^"]*"', svg)[:2]
    svg = svg[svg.index("<svg") :].replace(width, ' width="100%"', 1).replace(height, "", 1)
    return Markup(svg)  # drawn from our numbers and names; everything else on the page is escaped
