"""An audit in plain sentences: what was found, what was ruled out, what cannot be concluded."""

from collections.abc import Sequence

import numpy as np

from prism_jax.data.captions.phrases import spoken
from prism_jax.data_report.relations import AMPLIFIED, HIDDEN, KNOWN
from prism_jax.evaluation.audit.effect_matrix import Matrix
from prism_jax.evaluation.audit.judge_errors import Errors
from prism_jax.evaluation.audit.relations import Direction, Side
from prism_jax.evaluation.edited_cohort import AGE, BINARY, Cases
from prism_jax.report.tables import number
from prism_jax.stats import consensus, effects
from prism_jax.stats.intervals import Estimate

DOING = {"remove": "Removing", "add": "Adding", "set": "Setting", "drop": "Not mentioning", "say": "Saying"}
READABLE = 0.8  # AUROC on labelled images below which a judge's word is doubted
LARGE = 0.25  # change of a probability from which an attribute is said to appear or to vanish
IN_DATA = {
    KNOWN: "The data link the two as strongly: known.",
    AMPLIFIED: "The data link the two, but less: amplified.",
    HIDDEN: "The data's labels do not: hidden.",
}


def doing(edit: str) -> str:
    """ "remove pacemaker, add effusion" as "Removing pacemaker and adding effusion"."""
    parts = []
    for part in edit.split(", "):
        verb, _, rest = part.partition(" ")
        parts.append(f"{DOING.get(verb, verb.capitalize())} {rest}")
    first, *others = parts
    return " and ".join([first, *(part[:1].lower() + part[1:] for part in others)])


def named(column: str) -> str:
    """An attribute as sentences say it."""
    return f"{column} {BINARY[column]}" if column in BINARY else spoken(column)


def amount(value: float, column: str) -> str:
    """The size of a change without its sign: "37 points", "4.1 years"."""
    size = abs(value)
    if column == AGE:
        return f"{number(size)} years"
    return f"{size * 100:.0f} points" if size >= 0.1 else f"{size * 100:.1f} points"


def interval(estimate: Estimate, column: str) -> str:
    """In points, or years; no probability changes by more than all of it, whatever t makes of few patients."""
    low, high = (estimate.low, estimate.high) if column == AGE else np.clip((estimate.low, estimate.high), -1, 1)
    return f"{signed(low, column)} to {signed(high, column)}"


def signed(value: float, column: str) -> str:
    """A change in points, or years, with its sign; "" where it is not known."""
    if np.isnan(value):
        return ""
    text = f"{value * (1 if column == AGE else 100):+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def found(matrix: Matrix, sides: Sequence[Side], directions: Sequence[Direction]) -> tuple[str, ...]:
    """Effects beside the target, the largest first, then which edits do what they should, then the slight ones."""
    called = [one for one in matrix.agreement.values() if one.family == effects.OFF and matrix.is_called(*_at(one))]
    called.sort(key=lambda one: -abs(np.mean(one.values)))
    links = {(side.edit, side.column): side for side in sides}
    said = [_side_effect(matrix, one.edit, one.column, links.get(_at(one))) for one in called]
    targets = [one for one in matrix.agreement.values() if one.family == effects.ON and _is_effect(one)]
    said += [_on_target(matrix, one.edit, one.column) for one in targets if matrix.is_called(*_at(one))]
    said += [_hardly(matrix, one.edit, one.column) for one in targets if matrix.is_slight(*_at(one))]
    said += filter(None, (_direction(matrix, one) for one in directions))
    placebos = [one for one in matrix.agreement.values() if one.family == effects.NEGATIVE_CONTROL]
    called = [one for one in placebos if one.verdict == effects.EFFECT]
    said += [f"Even a placebo has an effect. {_side_effect(matrix, *_at(one), None)}" for one in called]
    return (*said, *_slight(matrix))


def _slight(matrix: Matrix) -> tuple[str, ...]:
    """All effects beside targets that are too small to be of account, in one sentence."""
    small = [_at(one) for one in matrix.agreement.values() if one.family != effects.ON and matrix.is_slight(*_at(one))]
    each = [
        f"{doing(edit).lower()} changes {named(column)} by {_moved(matrix, edit, column)}" for edit, column in small
    ]
    return (f"Certain, but too small to be of account: {'; '.join(each)}.",) if each else ()


def _moved(matrix: Matrix, edit: str, column: str) -> str:
    value = matrix.size(edit, column).effect.value
    return f"{signed(value, column)} {'years' if column == AGE else 'points'}"


def ruled_out(matrix: Matrix) -> tuple[str, ...]:
    """What each edit is shown to leave alone."""
    said = []
    for change in matrix.changes:
        columns = [
            named(one.column)
            for one in matrix.agreement.values()
            if one.edit == change.name and one.verdict == effects.NO_EFFECT
        ]
        if columns:
            said.append(
                f"{doing(change.name)} leaves {_listed(columns)} alone: all judges find a change within the margin."
            )
    return tuple(said)


def unknown(matrix: Matrix, cases: Cases, config: effects.EffectConfig, *, has_survey: bool) -> tuple[str, ...]:
    """What the audit does not say, and why."""
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for change in matrix.changes:
        by_reason: dict[str, list[str]] = {}
        for one in matrix.agreement.values():
            if one.edit == change.name:
                by_reason.setdefault(_undecided(matrix, one, config), []).append(one.column)
        for reason, columns in by_reason.items():
            alike.setdefault((reason, tuple(columns)), []).append(change.name)
    said = []
    for (reason, columns), edits in alike.items():
        of = "every attribute" if columns == matrix.columns else _listed([*map(named, columns)])
        who = _listed([f"{doing(edit)} ({_patients(matrix, edit)} patients)" for edit in edits])
        said += [f"{who}: of {of} {reason}"] if reason else []
    for edit, counts in cases.attempts.items():
        lost = {status: n for status, n in counts.items() if status != "done"}
        if lost:
            listed = _listed([f"{n} {status}" for status, n in sorted(lost.items())])
            said.append(f"{doing(edit)}: of {sum(counts.values())} attempts {listed}; see the table of attempts.")
    if not matrix.beyond:
        said.append("No placebo edits were made: there is no noise floor that effects are held against.")
    if not has_survey:
        said.append("Whether effects are in the data: no data report was given to compare with.")
    return tuple(said)


def doubtful(errors: Sequence[Errors]) -> tuple[str, ...]:
    """The attributes that a judge hardly reads on these images: what it sees change there may be something else."""
    said = {}
    for one in errors:
        area = one.figures.get("auroc")
        if area is not None and area.value < READABLE:
            told = f"{one.judge} {area.value:.2f} ({area.low:.2f} to {area.high:.2f})"
            said.setdefault(one.column, []).append(told)
    return tuple(
        f"What judges say of {named(column)} is worth little: on these images' labels the AUROC is {_listed(told)}."
        for column, told in said.items()
    )


def _undecided(matrix: Matrix, one: consensus.Agreement, config: effects.EffectConfig) -> str:
    """Why a cell is neither an effect nor shown to be free of one; "" if it is."""
    if one.verdict == effects.INSUFFICIENT_DATA:
        return f"nothing can be concluded, fewer than {config.min_patients:g} patients."
    if one.verdict == consensus.DISAGREE:
        return "the judges disagree."
    if one.verdict == effects.INCONCLUSIVE:
        return "neither an effect nor its absence is shown."
    is_beyond = matrix.is_called(*_at(one)) or matrix.is_slight(*_at(one))
    if one.family != effects.NEGATIVE_CONTROL and _is_effect(one) and not is_beyond:
        return "no more is shown than placebo edits do."
    return ""


def _is_effect(one: consensus.Agreement) -> bool:
    return one.verdict in (effects.EFFECT, effects.NEGLIGIBLE)


def _at(one: consensus.Agreement) -> tuple[str, str]:
    return one.edit, one.column


def _patients(matrix: Matrix, edit: str) -> int:
    return max(matrix.size(edit, column).effect.count for column in matrix.columns)


def _side_effect(matrix: Matrix, edit: str, column: str, side: Side | None) -> str:
    effect = matrix.size(edit, column).effect
    rises = effect.value > 0
    if column != AGE and abs(effect.value) >= LARGE and column not in BINARY:
        start = f"{doing(edit)} also {'adds' if rises else 'removes'} {named(column)}: its probability"
    else:
        start = f"{doing(edit)} also changes {named(column)}: {'it' if column == AGE else 'its probability'}"
    each = _listed([f"{judge} {signed(matrix.size(edit, column, judge).effect.value, column)}"
                    for judge in matrix.judges])  # fmt: skip
    text = (
        f"{start} {'rises' if rises else 'falls'} by {amount(effect.value, column)} (95 % interval "
        f"{interval(effect, column)}; {effect.count} patients; {each})."
    )
    floor, placebo = matrix.floor(edit, column)
    if not np.isnan(floor) and matrix.agreement[edit, column].family != effects.NEGATIVE_CONTROL:
        text += f" In the same patients placebos move it by at most {amount(floor, column)} ({doing(placebo).lower()})."
    if side and side.relation and side.relation.kind in IN_DATA:
        text += f" {IN_DATA[side.relation.kind]}"
    return text


def _on_target(matrix: Matrix, edit: str, column: str) -> str:
    effect, sign = matrix.size(edit, column).effect, matrix.wanted[edit][column]
    does = "does what it says" if np.sign(effect.value) == np.sign(sign) else "does the OPPOSITE of what it says"
    way = "rises" if effect.value > 0 else "falls"
    return (
        f"{doing(edit)} {does}: {named(column)} {way} by {amount(effect.value, column)} "
        f"({interval(effect, column)}; {effect.count} patients)."
    )


def _hardly(matrix: Matrix, edit: str, column: str) -> str:
    return f"{doing(edit)} hardly does what it says: {named(column)} moves by {_moved(matrix, edit, column)} only."


def _direction(matrix: Matrix, one: Direction) -> str:
    """Only where one of the two has an effect, and they are shown to differ."""
    crossed = [
        (a, column) for a, b in ((one.first, one.second), (one.second, one.first)) for column in matrix.wanted[b]
    ]
    if one.shares is None or not one.shares.p <= 0.05 or not any(matrix.is_called(*place) for place in crossed):
        return ""
    whole = lambda share: f"{100 * share:.0f}".replace("-0", "0") if abs(share) < 0.005 else f"{100 * share:.0f}"
    percent = lambda estimate: f"{whole(estimate.value)} % ({whole(estimate.low)} to {whole(estimate.high)})"
    return (
        f"The two directions differ: {doing(one.first).lower()} does {percent(one.shares.first)} of what "
        f"{doing(one.second).lower()} does to its own target, the other way round it is "
        f"{percent(one.shares.second)} (p = {number(one.shares.p)})."
    )


def _listed(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def headline(matrix: Matrix, cases: Cases) -> tuple[tuple[str, str], ...]:
    """(Number, what it is) for the top of the page."""

    def counted(family: str) -> str:
        cells = [one for one in matrix.agreement.values() if one.family == family]
        return f"{sum(matrix.is_called(*_at(one)) for one in cells)} of {len(cells)}"

    shown = [
        (f"{len(set(cases.patients))}", f"patients, {len(cases)} edited pictures"),
        (counted(effects.ON), "targets moved by their own edits"),
        (counted(effects.OFF), "other cells with an effect"),
    ]
    if any(change.is_placebo for change in matrix.changes):
        shown.append((counted(effects.NEGATIVE_CONTROL), "placebo cells with an effect"))
    return tuple(shown)
