"""Outcome of a single edit: success and side effects, measured by classifiers that are not used to make it."""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import numpy as np

from prism_jax.classifier import Classifier
from prism_jax.data.captions import synonyms
from prism_jax.data.captions.phrases import spoken
from prism_jax.data.schema import Attributes
from prism_jax.data.targets import AGE, state_asked

AGE_TOLERANCE = 5.0  # years
THRESHOLD = 0.5  # of the probability of a finding
SIDE_EFFECT = 0.1  # change of a probability that is reported

_predict = jax.jit(Classifier.predict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Effect:
    """One attribute before (in the reconstruction) and after the edit: a probability, or an age in years."""

    before: float
    after: float
    requested: bool
    succeeded: bool | None = None  # of a requested one; None where it was as requested before


def predict(judges: Sequence[Classifier], images: np.ndarray) -> list[dict[str, float]]:
    """By image, the mean over the judges of each attribute: probabilities, and the age in years.

    `images` are float32 [b, h, w, 3] in [-1, 1].
    """
    columns: dict[str, list[np.ndarray]] = {}
    for judge in judges:
        prediction = jax.device_get(_predict(judge, images))
        for name, column in zip(judge.targets, prediction.probabilities.T, strict=True):
            columns.setdefault(name, []).append(column)
        if prediction.age is not None:
            columns.setdefault(AGE, []).append(prediction.age)
    means = {name: np.mean(each, axis=0, dtype=np.float64) for name, each in columns.items()}
    return [{name: float(column[i]) for name, column in means.items()} for i in range(len(images))]


def succeeded(effects: Mapping[str, Effect]) -> bool | None:
    """True if all requested changes succeeded; None if no judge predicts these attributes."""
    verdicts = [effect.succeeded for effect in effects.values() if effect.succeeded is not None]
    return all(verdicts) if verdicts else None


def contradictions(stated: Attributes, predicted: Mapping[str, float]) -> list[str]:
    """Findings on which the caption and the judges disagree."""
    notes = []
    for name, state in stated.findings.items():
        column = next((each for each in predicted if spoken(each) == spoken(name)), None)
        if state is not None and column is not None and (predicted[column] >= THRESHOLD) != state:
            said = "present" if state else "absent"
            notes.append(f"{name} (stated {said}, seen with probability {predicted[column]:.2f})")
    return notes


def effects(
    change: Mapping[str, bool | float | str | None], before: Mapping[str, float], after: Mapping[str, float]
) -> dict[str, Effect]:
    """Effects of an edit by attribute, from the predictions `before` and `after`; see `predict`.

    Left out is an attribute set to a value that the judges do not know, such as the lateral view.
    """
    columns = {synonyms.find(name, before): value for name, value in change.items() if value is not None}
    asked = {name: value if name == AGE else state_asked(name, value) for name, value in columns.items() if name}
    return {
        name: Effect(
            before=before[name],
            after=after[name],
            requested=name in asked,
            succeeded=_succeeded(name, asked[name], before[name], after[name]) if name in asked else None,
        )
        for name in before
        if asked.get(name, True) is not None
    }


def _succeeded(name: str, value: bool | float, before: float, after: float) -> bool | None:
    if name == AGE:  # closer to the new age than to the old one
        return abs(after - float(value)) <= abs(after - before) or abs(after - float(value)) <= AGE_TOLERANCE
    return None if (before >= THRESHOLD) == value else (after >= THRESHOLD) == value


def report(effects: Mapping[str, Effect]) -> list[str]:
    """Sentences on the requested changes and on side effects; empty without judges."""
    if not effects:
        return []
    verdict = {True: "changed as asked", False: "DID NOT CHANGE as asked", None: "as asked before the edit already"}
    lines = ["what the model's judges see, as probabilities, before and after:"]
    requested = [f"{_text(name, e)}, {verdict[e.succeeded]}" for name, e in effects.items() if e.requested]
    lines += requested or ["no judge knows whether the edit did as asked"]
    others = {name: effect for name, effect in effects.items() if not effect.requested and name != AGE}
    is_kept = {name: abs(effect.after - effect.before) < SIDE_EFFECT for name, effect in others.items()}
    for heading, state in (("CHANGED UNASKED", False), ("unchanged", True)):
        if names := [name for name in others if is_kept[name] is state]:
            lines.append(f"{heading}: {', '.join(_text(name, others[name]) for name in names)}")
    return lines


def _text(name: str, effect: Effect) -> str:
    if name == AGE:
        return f"age {effect.before:.0f} -> {effect.after:.0f} years"
    said = {"sex": "male", "view": "AP view"}.get(name, name.replace("_", " "))
    return f"{said} {effect.before:.2f} -> {effect.after:.2f}"
