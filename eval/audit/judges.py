"""What the judges see in every picture of a cohort."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from scipy.special import expit

from eval import asking, truth
from eval.cases import AGE, Cases
from prism_jax.classifier import Classifier, Prediction
from prism_jax.data.phantom_dataset import PhantomConfig

KINDS = ("original", "reconstruction", "edited")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judge:
    """A classifier that had no part in making the edits."""

    name: str
    folder: str
    """What `python -m train.classifier` wrote, RUN/model."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scores:
    """What the judges say of n cases, float64 [j, n, c]: calibrated logits, and years in the column "age".

    `truth` is what they say of the true counterfactual, and None where none is known.
    """

    judges: tuple[str, ...]
    columns: tuple[str, ...]
    original: np.ndarray
    reconstruction: np.ndarray
    edited: np.ndarray
    truth: np.ndarray | None = None

    def on(self, scale: str, kind: str) -> np.ndarray:
        """The scores of a kind of picture on the scale "logit" or "probability"; ages are years on either."""
        values = getattr(self, kind)
        return values if scale == "logit" else probabilities(values, self.columns)


def probabilities(scores: np.ndarray, columns: Sequence[str]) -> np.ndarray:
    """Logits [..., c] as probabilities in [0, 1]; the column "age" stays in years."""
    is_age = np.array([column == AGE for column in columns])
    return np.where(is_age, scores, expit(scores))


def load(judges: Sequence[Judge], attributes: Sequence[str]) -> tuple[dict[str, Classifier], tuple[str, ...]]:
    """The classifiers by name, and the attributes that all of them know, or those asked for.

    Raises:
      ValueError: fewer than two judges, two of one name, or an attribute that a judge does not know.
    """
    names = [judge.name for judge in judges]
    if len(set(names)) < 2 or len(set(names)) < len(names):
        raise ValueError(f"judges {names}: give two or more, each with a name of its own, trained independently")
    loaded = {judge.name: Classifier.from_pretrained(judge.folder) for judge in judges}
    known = {name: (*one.targets, *((AGE,) if one.predicts_age else ())) for name, one in loaded.items()}
    for name, targets in known.items():
        if unknown := sorted(set(attributes) - set(targets)):
            raise ValueError(f"judge {name} does not know {', '.join(unknown)}; it knows {', '.join(targets)}")
    first, *others = known.values()
    shared = tuple(column for column in first if all(column in targets for targets in others))
    if not shared:
        raise ValueError(f"the judges {', '.join(names)} have no attribute in common; train them on the same findings")
    return loaded, tuple(attributes) or shared


def score(
    judges: dict[str, Classifier],
    columns: Sequence[str],
    cases: Cases,
    *,
    batch_size: int,
    phantom: PhantomConfig | None,
) -> Scores:
    """Shows every picture to every judge. Originals and reconstructions are shown once an image."""
    everything, firsts = np.arange(len(cases)), cases.firsts
    owner = np.unique(cases.images, return_inverse=True)[1]  # [n] into `firsts`
    found: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
    truths = None if phantom is None else [*true_pictures(cases, phantom)]
    true_scores = []
    for name, judge in judges.items():
        ask = lambda pictures, what, judge=judge, name=name: _scores(
            judge, columns, asking.ask(judge, pictures, batch_size=batch_size, what=f"{name}: {what}")
        )
        for kind in ("original", "reconstruction"):
            found[kind].append(ask(cases.pictures(kind, firsts), kind)[owner])
        found["edited"].append(ask(cases.pictures("edited", everything), "edited"))
        if truths is not None:
            true_scores.append(ask(truths, "true counterfactual"))
    return Scores(
        judges=tuple(judges),
        columns=tuple(columns),
        truth=np.stack(true_scores) if true_scores else None,
        **{kind: np.stack(parts) for kind, parts in found.items()},
    )


def true_pictures(cases: Cases, phantom: PhantomConfig) -> Iterable[np.ndarray]:
    """The true counterfactual of every case, uint8 [h, w], in order; that of a placebo is the original."""
    for change in cases.changes:
        rows = [cases.cases[i].row for i in cases.of(change)]
        yield from truth.true_counterfactuals(rows, change, phantom, cases.config.wording)[0]


def _scores(judge: Classifier, columns: Sequence[str], found: Prediction) -> np.ndarray:
    """The columns of a prediction, float64 [n, c]: logits, and years of age."""
    each = [found.age if column == AGE else found.logits[:, judge.column(column)] for column in columns]
    return np.stack(each, axis=1).astype(np.float64)
