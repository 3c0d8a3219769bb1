"""Line charts as plotly figures in JSON, drawn in the page by the plotly.js embedded there."""

import numpy as np
import plotly.graph_objects as go

from prism_jax.report.document import Curve

PALETTE = ("#3b82c4", "#d9822b", "#3f9c6b", "#b0578d", "#8a7a5c")
INK = "#7b8490"  # mid grey: readable on a light and on a dark page
GRID = "rgba(123, 132, 144, 0.22)"
MOST_POINTS = 4000


def chart_json(curve: Curve) -> str:
    """The figure of a curve, as logged (thin) and smoothed (thick), as JSON for `Plotly.newPlot`."""
    figure = go.Figure()
    for (name, values), colour in zip(curve.y.items(), _colours(len(curve.y)), strict=True):
        values = np.asarray(values, np.float64)
        x, y = thin(curve.x, values)
        is_smooth = curve.smooth > 1
        raw = {"color": colour, "width": 1 if is_smooth else 2}
        figure.add_scatter(x=x, y=y, name=name, line=raw, opacity=0.35 if is_smooth else 1)
        if is_smooth:
            smoothed = {"color": colour, "width": 2.5}
            _, y = thin(curve.x, smooth(values, curve.smooth))
            figure.add_scatter(x=x, y=y, name=f"{name}, smoothed", line=smoothed)
    axis = {"gridcolor": GRID, "linecolor": GRID, "zeroline": False, "automargin": True}
    figure.update_traces(mode="lines")
    figure.update_layout(
        template="none",
        height=360,
        margin={"l": 16, "r": 16, "t": 12, "b": 16},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13, "color": INK},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": GRID, "activecolor": INK},
        hovermode="x unified",
        hoverlabel={"bgcolor": "#1b2027", "font": {"color": "#f2f4f6"}},
        xaxis=axis | {"title": {"text": curve.x_label}},
        yaxis=axis | {"title": {"text": curve.y_label}},
    )
    return figure.to_json()  # in it "<" is \u003c, so that no label can end the script element it lies in


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Centred moving mean over `window` points, over fewer at the ends; it does not lag behind the data."""
    half = window // 2
    sums = np.concatenate([[0.0], np.cumsum(values)])
    first = np.maximum(np.arange(len(values)) - half, 0)
    last = np.minimum(np.arange(len(values)) + half + 1, len(values))
    return (sums[last] - sums[first]) / (last - first)


def thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of blocks of neighbours, so few that at most MOST_POINTS are left."""
    block = -(-len(x) // MOST_POINTS)
    if block <= 1:
        return x, y
    starts = np.arange(0, len(x), block)
    sizes = np.diff([*starts, len(x)])
    return np.add.reduceat(x, starts) / sizes, np.add.reduceat(y, starts) / sizes


def _colours(count: int) -> list[str]:
    return [PALETTE[index % len(PALETTE)] for index in range(count)]
