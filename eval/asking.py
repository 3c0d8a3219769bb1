"""What a classifier finds in pictures, batch by batch."""

import itertools
from collections.abc import Iterable

import jax
import numpy as np
from tqdm import tqdm

from prism_jax.classifier import Classifier, Prediction


def ask(judge: Classifier, pictures: Iterable[np.ndarray], *, batch_size: int, what: str) -> Prediction:
    """Its prediction for pictures uint8 [h, w], as arrays on the host; `what` names the progress.

    The last batch is filled up, so that one program serves all.
    """
    parts, pictures = [], iter(tqdm(pictures, desc=what, unit="picture", mininterval=5))
    while batch := list(itertools.islice(pictures, batch_size)):
        filled = np.stack([*batch, *[batch[0]] * (batch_size - len(batch))]).astype(np.float32) / 127.5 - 1
        found = jax.device_get(_predict(judge, np.repeat(filled[..., None], 3, axis=-1)))
        parts.append([found, len(batch)])
    shown = [jax.tree.map(lambda values, n=n: values[:n], found) for found, n in parts]
    return jax.tree.map(lambda *values: np.concatenate(values), *shown)


@jax.jit
def _predict(judge: Classifier, images: jax.Array) -> Prediction:
    return judge.predict(images)
