"""Charts as plotly figures in JSON, drawn in the page by the plotly.js embedded there."""

import itertools

import numpy as np
import plotly.graph_objects as go

from prism_jax.report.document import Bars, Curve, Matrix

PALETTE = ("#3b82c4", "#d9822b", "#3f9c6b", "#b0578d", "#8a7a5c")
INK = "#7b8490"  # mid grey: readable on a light and on a dark page
GRID = "rgba(123, 132, 144, 0.22)"
MOST_POINTS = 4000
SIGNED = ((0.0, "#3b82c4"), (0.5, "rgba(123, 132, 144, 0.12)"), (1.0, "#d9642b"))
LEAST_LIMIT = 0.3  # the colour scale ends at the largest value, but not below this
COUNTS = ((0.0, "rgba(123, 132, 144, 0.12)"), (1.0, "#3f9c6b"))


def chart_json(chart: Curve | Bars | Matrix) -> str:
    """The figure of a chart, as JSON for `Plotly.newPlot`; its "<" are \\u003c, so none ends a script element."""
    draw = {Curve: _curve, Bars: _bars, Matrix: _matrix}[type(chart)]
    return draw(chart).to_json()


def _curve(curve: Curve) -> go.Figure:
    """A line of each run: as logged, faint, and smoothed over a 25th of its points where that is several."""
    figure = go.Figure()
    for (name, (x, values)), colour in zip(curve.lines.items(), itertools.cycle(PALETTE), strict=False):
        window = max(len(x) // 25, 1)
        steps, y = thin(x, values)
        if window == 1:
            figure.add_scatter(x=steps, y=y, name=name, line={"color": colour, "width": 2}, opacity=1, mode="lines")
            continue
        figure.add_scatter(x=steps, y=y, name=name, line={"color": colour, "width": 1}, opacity=0.35, mode="lines")
        _, y = thin(x, smooth(values, window))
        smoothed = {"color": colour, "width": 2.5}
        figure.add_scatter(x=steps, y=y, name=f"{name}, smoothed", line=smoothed, mode="lines")
    is_alone = len(curve.lines) == 1
    return _laid_out(figure, "step", curve.y_label).update_layout(
        hovermode="x unified" if is_alone else "x", showlegend=None if is_alone else True
    )


def _bars(bars: Bars) -> go.Figure:
    figure = go.Figure()
    for (name, values), colour in zip(bars.y.items(), itertools.cycle(PALETTE), strict=False):
        figure.add_bar(x=bars.categories, y=values, name=name, marker={"color": colour})
    _laid_out(figure, "", bars.y_label).update_layout(barmode="stack", hovermode="x unified", showlegend=True)
    return figure.update_xaxes(type="category")  # otherwise plotly might parse "0 to 9" as another type


def _matrix(matrix: Matrix) -> go.Figure:
    values = np.asarray(matrix.values, np.float64)
    text = [["" if np.isnan(v) else (f"{v:,.0f}" if matrix.is_count else f"{v:.2f}") for v in row] for row in values]
    if matrix.is_count:  # a few are very common: colour by order of magnitude
        shown, scale = np.log10(1 + values), {"colorscale": COUNTS, "zmin": 0}
    else:
        limit = max(LEAST_LIMIT, np.nanmax(np.abs(values), initial=0))
        shown, scale = values, {"colorscale": SIGNED, "zmin": -limit, "zmax": limit}
    nothing = np.isnan(values)
    figure = go.Figure()
    figure.add_heatmap(
        x=matrix.names,
        y=matrix.names,
        z=[[None if blank else z for z, blank in zip(*pair, strict=True)] for pair in zip(shown, nothing, strict=True)],
        text=text,
        texttemplate="%{text}",
        hovertemplate="%{y} × %{x}: %{text}<extra></extra>",
        hoverongaps=False,
        showscale=False,
        xgap=2,
        ygap=2,
        **scale,
    )
    _laid_out(figure, "", "").update_layout(height=max(360, 90 + 34 * len(matrix.names)), margin={"t": 40})
    figure.update_xaxes(type="category", tickangle=-40, showgrid=False)
    return figure.update_yaxes(type="category", autorange="reversed", showgrid=False)


def _laid_out(figure: go.Figure, x_label: str, y_label: str) -> go.Figure:
    axis = {"gridcolor": GRID, "linecolor": GRID, "zeroline": False, "automargin": True}
    return figure.update_layout(
        template="none",
        height=360,
        margin={"l": 16, "r": 16, "t": 12, "b": 16},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13, "color": INK},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": GRID, "activecolor": INK},
        hoverlabel={"bgcolor": "#1b2027", "font": {"color": "#f2f4f6"}},
        xaxis=axis | {"title": {"text": x_label}},
        yaxis=axis | {"title": {"text": y_label}},
    )


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
