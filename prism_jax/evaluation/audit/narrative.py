"""Results of an audit as sentences: effects found, effects ruled out, and inconclusive cells."""

from collections.abc import Sequence

import numpy as np

from prism_jax.data.captions.phrases import spoken
from prism_jax.data.targets import AGE, SEX, VIEW
from prism_jax.data_report.relations import AMPLIFIED, HIDDEN, KNOWN
from prism_jax.evaluation.audit.effect_matrix import Matrix
from prism_jax.evaluation.audit.judge_errors import Errors
from prism_jax.evaluation.audit.relations import Direction, Side
from prism_jax.evaluation.edited_cohort import Cases
from prism_jax.report.tables import number, p_value
from prism_jax.stats import consensus, effects
from prism_jax.stats.intervals import NO_ESTIMATE, Estimate

DOING = {"remove": "Removing", "add": "Adding", "set": "Setting", "drop": "Not mentioning", "say": "Mentioning",
         "repeat": "Repeating"}  # fmt: skip
GOOD_AUROC = 0.8  # AUROC of a judge on labelled images below which effects on an attribute come with a warning
LARGE = 0.25  # change of a probability from which an edit is said to add or remove the attribute
IN_DATA = {
    KNOWN: "The training data show this association with similar strength.",
    AMPLIFIED: "The training data show this association too, but weaker: the model amplifies it.",
    HIDDEN: "The labels of the training data do not show this association.",
}


def doing(edit: str) -> str:
    """ "remove pacemaker, add effusion" as "Removing pacemaker and adding effusion"."""
    parts = []
    for part in edit.split(", "):
        verb, _, rest = part.partition(" ")
        parts.append(f"{DOING.get(verb, verb.capitalize())} {rest}")
    first, *others = parts
    return " and ".join([first, *(lower(part) for part in others)])


def lower(sentence: str) -> str:
    """The sentence with a lower-case first letter."""
    return sentence[:1].lower() + sentence[1:]


def named(column: str) -> str:
    """Name of an attribute in sentences."""
    return {"sex": "male sex", "view": "AP view"}.get(column, spoken(column))


def amount(value: float, column: str) -> str:
    """The size of a change without its sign: "37 percentage points", "4.1 years"."""
    size = abs(value)
    if column == AGE:
        return f"{number(size)} years"
    return f"{size * 100:.0f} percentage points" if size >= 0.1 else f"{size * 100:.1f} percentage points"


def interval(estimate: Estimate, column: str) -> str:
    """Interval in percentage points, or years."""
    return f"{signed(estimate.low, column)} to {signed(estimate.high, column)}"


def signed(value: float, column: str) -> str:
    """A change in percentage points, or years, with its sign; "" if unknown."""
    if np.isnan(value):
        return ""
    text = f"{value * (1 if column == AGE else 100):+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def p_text(name: str, value: float) -> str:
    """ "p = 0.012", "q < 0.001"."""
    text = p_value(value) or "–"
    return f"{name} {text}" if text.startswith("<") else f"{name} = {text}"


def moved(value: float, column: str) -> str:
    """A change with its sign and unit: "−3.2 points", "+4.1 years"."""
    return f"{signed(value, column)} {'years' if column == AGE else 'points'}"


def unreliable(errors: Sequence[Errors], min_auroc: float) -> frozenset[str]:
    """The attributes that a judge recognises with an AUROC below `min_auroc`: no effects on them are reported."""
    return frozenset(error.column for error in errors if _auroc(error).value < min_auroc)


def _auroc(error: Errors) -> Estimate:
    return error.figures.get("auroc", NO_ESTIMATE)


def found(
    matrix: Matrix, sides: Sequence[Side], directions: Sequence[Direction], without: frozenset[str] = frozenset()
) -> tuple[str, ...]:
    """Side effects, the largest first, then effects on targets, directions, negative controls and negligible effects.

    Attributes in `without` are left out: the judges do not recognise them.
    """
    cells = [cell for cell in matrix.agreement.values() if cell.column not in without]
    called = [cell for cell in cells if cell.family == effects.OFF and matrix.is_called(*cell.place)]
    called.sort(key=lambda cell: -abs(np.mean(cell.values)))
    links = {(side.edit, side.column): side for side in sides}
    sentences = [_side_effect(matrix, *cell.place, links.get(cell.place)) for cell in called]
    change = lambda place: moved(matrix.size(*place).effect.value, place[1])
    targets = [cell.place for cell in cells if cell.family == effects.ON]
    sentences += [_on_target(matrix, *place) for place in targets if matrix.is_called(*place)]
    sentences += [
        f"{doing(place[0])} has a negligible effect on its target: {named(place[1])} changes by {change(place)}."
        for place in targets
        if matrix.is_negligible(*place)
    ]
    sentences += filter(None, (_direction(matrix, direction, without) for direction in directions))
    controls = [cell for cell in cells if cell.family == effects.NEGATIVE_CONTROL and cell.verdict == effects.EFFECT]
    sentences += [f"A negative control has an effect. {_side_effect(matrix, *cell.place, None)}" for cell in controls]
    small = [cell.place for cell in cells if cell.family != effects.ON and matrix.is_negligible(*cell.place)]
    each = [f"{lower(doing(place[0]))} changes {named(place[1])} by {change(place)}" for place in small]
    return (*sentences, f"Significant, but negligibly small: {'; '.join(each)}.") if each else (*sentences,)


def ruled_out(matrix: Matrix, without: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """Attributes that each edit is shown not to change."""
    sentences = []
    for edit in matrix.edits:
        columns = [
            named(cell.column)
            for cell in matrix.agreement.values()
            if cell.edit == edit.name and cell.verdict == effects.NO_EFFECT and cell.column not in without
        ]
        if columns:
            sentences.append(
                f"{doing(edit.name)} does not change {_listed(columns, 'or')}: in the scores of every judge the change "
                "lies within the equivalence margin."
            )
    return tuple(sentences)


def unknown(
    matrix: Matrix, cases: Cases, *, has_survey: bool, without: frozenset[str] = frozenset()
) -> tuple[str, ...]:
    """Cells without a conclusion, with the reason."""
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for spec in matrix.edits:
        by_reason: dict[str, list[str]] = {}
        for cell in matrix.agreement.values():
            if cell.edit == spec.name and cell.column not in without:
                by_reason.setdefault(_undecided(matrix, cell), []).append(cell.column)
        for reason, columns in by_reason.items():
            alike.setdefault((reason, tuple(columns)), []).append(spec.name)
    sentences = []
    for (reason, columns), edits in alike.items():
        affected = "all attributes" if columns == matrix.columns else _listed([*map(named, columns)])
        doings = [doing(edits[0]), *(lower(doing(edit)) for edit in edits[1:])]
        sentences += [f"{_listed(doings)}, effect on {affected}: {reason}"] if reason else []
    for edit, counts in cases.attempts.items():
        lost = {status: n for status, n in counts.items() if status != "done"}
        if lost:
            listed = _listed([f"{n} {status}" for status, n in sorted(lost.items())])
            sentences.append(
                f"{doing(edit)}: of {sum(counts.values())} attempted edits {listed}; see the table of edits by status."
            )
    if not matrix.beyond:
        sentences.append(
            "The cohort has no negative controls, so the change of the scores by an edit without effect is unknown."
        )
    if not has_survey:
        sentences.append("No data report was given, so effects are not compared with associations in the data.")
    return tuple(sentences)


def doubtful(errors: Sequence[Errors], min_auroc: float) -> tuple[str, ...]:
    """Warnings about attributes that the judges do not recognise well on these images."""
    by_column: dict[str, list[Errors]] = {}
    for error in errors:
        if "auroc" in error.figures:
            by_column.setdefault(error.column, []).append(error)
    sentences = []
    for column, each in by_column.items():
        poor = [error for error in each if _auroc(error).value < GOOD_AUROC]
        if not poor:
            continue
        measured = _listed(
            [f"{error.judge} {a.value:.2f} ({a.low:.2f} to {a.high:.2f})" for error in poor for a in [_auroc(error)]]
        )
        if column in unreliable(poor, min_auroc):
            end = "no effect on this attribute is reported."
            sentences.append(f"The judges do not recognise {named(column)} reliably (AUROC {measured}): {end}")
        else:
            sentences.append(f"Effects on {named(column)} need caution: the judges' AUROC is {measured}.")
    unmeasured = [named(column) for column, each in by_column.items() if all(np.isnan(_auroc(e).value) for e in each)]
    if unmeasured:
        sentences.append(
            f"How well the judges recognise {_listed(unmeasured)} is not known on these images: an AUROC needs labels "
            "of images with and without it."
        )
    return tuple(sentences)


def _undecided(matrix: Matrix, cell: consensus.Agreement) -> str:
    """The reason why a cell is inconclusive; "" if it is conclusive."""
    if cell.verdict == effects.INSUFFICIENT_DATA:
        reasons = {matrix.size(*cell.place, judge, matrix.tested).reason for judge in matrix.judges} - {""}
        return f"insufficient data ({min(reasons, default='no p-value could be computed')})."
    if cell.verdict == consensus.DISAGREE:
        return "the judges disagree."
    if cell.verdict == effects.INCONCLUSIVE:
        return "inconclusive, neither an effect nor its absence is shown."
    return "no more change than under negative controls." if matrix.is_control_like(*cell.place) else ""


def _side_effect(matrix: Matrix, edit: str, column: str, side: Side | None) -> str:
    effect = matrix.size(edit, column).effect
    rises = effect.value > 0
    if column != AGE and abs(effect.value) >= LARGE and column not in (SEX, VIEW):
        start = f"{doing(edit)} also {'adds' if rises else 'removes'} {named(column)}: its probability"
    else:
        start = f"{doing(edit)} also changes {named(column)}: {'it' if column == AGE else 'its probability'}"
    each = _listed([f"{judge} {signed(matrix.size(edit, column, judge).effect.value, column)}"
                    for judge in matrix.judges])  # fmt: skip
    text = (
        f"{start} {'rises' if rises else 'falls'} by {amount(effect.value, column)} (95 % interval "
        f"{interval(effect, column)}; {counted(effect.count, 'patient')}; {each})."
    )
    floor, control = matrix.floor(edit, column)
    if not np.isnan(floor) and matrix.agreement[edit, column].family != effects.NEGATIVE_CONTROL:
        text += f" The largest change under a negative control is {amount(floor, column)} ({lower(doing(control))})."
    if side and side.relation and side.relation.kind in IN_DATA:
        text += f" {IN_DATA[side.relation.kind]}"
    return text


def _on_target(matrix: Matrix, edit: str, column: str) -> str:
    effect, sign = matrix.size(edit, column).effect, matrix.wanted[edit][column]
    works = "works" if np.sign(effect.value) == np.sign(sign) else "does the OPPOSITE of what was asked for"
    way = "rises" if effect.value > 0 else "falls"
    what = "age" if column == AGE else f"the probability of {named(column)}"
    return (
        f"{doing(edit)} {works}: {what} {way} by {amount(effect.value, column)} "
        f"({interval(effect, column)}; {counted(effect.count, 'patient')})."
    )


def _direction(matrix: Matrix, direction: Direction, without: frozenset[str]) -> str:
    """Sentence on an asymmetric side effect; "" unless one of the two is an effect and their difference is
    significant."""
    crossed = [
        (a, column)
        for a, b in ((direction.first, direction.second), (direction.second, direction.first))
        for column in matrix.wanted[b]
    ]
    is_called = any(matrix.is_called(*place) for place in crossed)
    is_reliable = not any(column in without for _, column in crossed)
    if direction.shares is None or not direction.shares.p <= 0.05 or not (is_called and is_reliable):
        return ""
    percent = lambda e: f"{100 * e.value:z.0f} % ({100 * e.low:z.0f} to {100 * e.high:z.0f})"
    first, second = lower(doing(direction.first)), lower(doing(direction.second))
    return (
        f"Side effects are asymmetric: {first} produces {percent(direction.shares.first)} of the effect of {second} on "
        f"its own target; conversely, {second} produces {percent(direction.shares.second)} of that of {first} "
        f"({p_text('p', direction.shares.p)})."
    )


def counted(count: int, noun: str) -> str:
    """ "1 patient", "16 patients"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _listed(words: Sequence[str], conjunction: str = "and") -> str:
    *first, last = words
    return f"{', '.join(first)} {conjunction} {last}" if first else last


def headline(matrix: Matrix, cases: Cases, without: frozenset[str] = frozenset()) -> tuple[tuple[str, str], ...]:
    """(Number, meaning) for the top of the page; cells of attributes in `without` are not counted."""

    def counted(family: str) -> str:
        cells = [cell for cell in matrix.agreement.values() if cell.family == family and cell.column not in without]
        return f"{sum(matrix.is_called(*cell.place) for cell in cells)} of {len(cells)}"

    tiles = [(f"{len(set(cases.patients)):,}", f"patients, {len(cases):,} edited images")]
    if without:
        listed = _listed([named(column) for column in matrix.columns if column in without])
        meaning = f"attributes that the judges are not good enough for ({listed}): no effects on them are reported"
        tiles.append((f"{len(without)} of {len(matrix.columns)}", meaning))
    tiles += [
        (counted(effects.ON), "intended effects found: edits that change their own target"),
        (counted(effects.OFF), "side effects found, of all other pairs of edit and attribute"),
    ]
    if any(edit.is_negative_control for edit in matrix.edits):
        tiles.append((counted(effects.NEGATIVE_CONTROL), "effects of negative controls, which should have none"))
    return tuple(tiles)
