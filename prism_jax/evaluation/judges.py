"""Classifiers as independent judges of edited images: loading, and predictions batch by batch."""

import dataclasses
from collections.abc import Iterable, Sequence

import jax
import numpy as np
from scipy.special import expit

from prism_jax.classifier import Classifier, Prediction
from prism_jax.data.targets import AGE
from prism_jax.pixels import rgb_from_uint8
from prism_jax.training.predict import predict_dataset

_predict = jax.jit(Classifier.predict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judge:
    """A classifier that is not used to make the edits."""

    name: str
    folder: str
    """Folder of the classifier, RUN/model of `prism train classifier`."""


def load(judges: Sequence[Judge], attributes: Sequence[str]) -> tuple[dict[str, Classifier], tuple[str, ...]]:
    """The classifiers by name, and the requested attributes, or all those that every classifier predicts.

    Raises:
      ValueError: fewer than two judges, two of one name, or an attribute that a judge does not predict.
    """
    names = [judge.name for judge in judges]
    if len(set(names)) < 2 or len(set(names)) < len(names):
        raise ValueError(f"judges {names}: give two or more, each with a name of its own, trained independently")
    loaded = {judge.name: Classifier.from_pretrained(judge.folder) for judge in judges}
    attributes_of = {
        name: (*classifier.targets, *((AGE,) if classifier.predicts_age else ())) for name, classifier in loaded.items()
    }
    for name, targets in attributes_of.items():
        if unknown := sorted(set(attributes) - set(targets)):
            raise ValueError(f"judge {name} does not know {', '.join(unknown)}; it knows {', '.join(targets)}")
    first, *others = attributes_of.values()
    shared = tuple(column for column in first if all(column in targets for targets in others))
    if not shared:
        raise ValueError(f"the judges {', '.join(names)} have no attribute in common; train them on the same findings")
    return loaded, tuple(attributes) or shared


def ask(judge: Classifier, images: Iterable[np.ndarray], *, batch_size: int, what: str) -> Prediction:
    """The judge's prediction for images uint8 [h, w], on the host; `what` is the text of the progress bar."""
    predict = lambda pixels: _predict(judge, rgb_from_uint8(pixels))
    return predict_dataset(predict, iter(images), batch_size, desc=what)


def scores(judge: Classifier, columns: Sequence[str], prediction: Prediction) -> np.ndarray:
    """The columns of a prediction, float64 [n, c]: logits, and years of age."""
    each = [prediction.age if column == AGE else prediction.logits[:, judge.column(column)] for column in columns]
    return np.stack(each, axis=1).astype(np.float64)


def probabilities(scores: np.ndarray, columns: Sequence[str]) -> np.ndarray:
    """Logits [..., c] as probabilities in [0, 1]; the column "age" stays in years."""
    is_age = np.array([column == AGE for column in columns])
    return np.where(is_age, scores, expit(scores))
