"""Scores of the judges for every image of a cohort."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from prism_jax.classifier import Classifier
from prism_jax.data.sources.phantom import PhantomConfig
from prism_jax.evaluation import judges as evaluation_judges
from prism_jax.evaluation.edited_cohort import Cases

KINDS = ("original", "reconstruction", "edited")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of n cases, float64 [j, n, c]: calibrated logits, and years in the column "age".

    `truth` holds those of the true counterfactuals, None where they are unknown.
    """

    judges: tuple[str, ...]
    columns: tuple[str, ...]
    original: np.ndarray
    reconstruction: np.ndarray
    edited: np.ndarray
    truth: np.ndarray | None = None

    def on(self, scale: str, kind: str) -> np.ndarray:
        """The scores of one kind of image on the scale "logit" or "probability"; ages are in years on either."""
        values = getattr(self, kind)
        return values if scale == "logit" else evaluation_judges.probabilities(values, self.columns)


def score(
    judges: dict[str, Classifier],
    columns: Sequence[str],
    cases: Cases,
    *,
    batch_size: int,
    phantom: PhantomConfig | None,
) -> Scores:
    """Scores every image with every judge; originals and reconstructions once per image."""
    everything, firsts = np.arange(len(cases)), cases.firsts
    owner = np.unique(cases.images, return_inverse=True)[1]  # [n] into `firsts`
    scores: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
    truths = None if phantom is None else [*cases.true_images(phantom)]
    true_scores = []
    for name, judge in judges.items():
        scores_of = lambda images, what, judge=judge, name=name: evaluation_judges.scores(
            judge, columns, evaluation_judges.ask(judge, images, batch_size=batch_size, what=f"{name}: {what}")
        )
        for kind in ("original", "reconstruction"):
            scores[kind].append(scores_of(cases.pixels(kind, firsts), kind)[owner])
        scores["edited"].append(scores_of(cases.pixels("edited", everything), "edited"))
        if truths is not None:
            true_scores.append(scores_of(truths, "true counterfactual"))
    return Scores(
        judges=tuple(judges),
        columns=tuple(columns),
        truth=np.stack(true_scores) if true_scores else None,
        **{kind: np.stack(parts) for kind, parts in scores.items()},
    )
