"""The panel of judges and image measures that every method is evaluated with."""

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from prism_jax.classifier import Classifier
from prism_jax.evaluation import judges as evaluation_judges
from prism_jax.metrics import image, ms_ssim
from prism_jax.pixels import rgb_from_uint8
from prism_jax.training.predict import predict_dataset

LEVELS = (0.0, 255.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predictions:
    """Predictions of the judges for n images."""

    scores: np.ndarray  # float64 [j, n, c]: probabilities, and years in the column "age"
    features: np.ndarray  # float32 [n, d], of the first judge

    @property
    def mean(self) -> np.ndarray:
        """Mean over judges, [n, c]."""
        return self.scores.mean(0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class JudgePanel:
    """Judges and perceptual distance, for 8-bit images of one size."""

    judges: Mapping[str, Classifier]
    columns: tuple[str, ...]
    distance: Callable[[jax.Array, jax.Array], jax.Array]  # of two batches in [-1, 1]
    batch_size: int

    def predict(self, images: np.ndarray) -> Predictions:
        """Every judge's predictions for images uint8 [n, h, w]."""
        scores, features = [], []
        for judge in self.judges.values():
            predictions = evaluation_judges.ask(judge, images, batch_size=self.batch_size, what="judging")
            scores.append(
                evaluation_judges.probabilities(
                    evaluation_judges.scores(judge, self.columns, predictions), self.columns
                )
            )
            features.append(predictions.features)
        return Predictions(scores=np.stack(scores), features=features[0])

    def compare(self, images: np.ndarray, references: np.ndarray) -> dict[str, np.ndarray]:
        """`psnr` (dB), `ms_ssim` and `perceptual` of images uint8 [n, h, w] against references, float64 [n] each."""
        arrays = predict_dataset(lambda batch: self._compared(*batch), (images, references), self.batch_size)
        return {name: values.astype(np.float64) for name, values in arrays.items()}

    def _compared(self, images: np.ndarray, references: np.ndarray) -> dict[str, jax.Array]:
        measured = _similarity(jnp.asarray(images), jnp.asarray(references))
        return measured | {"perceptual": self.distance(_colour(images), _colour(references))}


def scales(size: int) -> int:
    """Number of MS-SSIM scales at this size; ValueError where there is none."""
    count = ms_ssim.scales_within((1, size, size, 1))
    if not count:
        raise ValueError(f"size {size} is below MS-SSIM's window; use {image.WINDOW} pixels or more")
    return count


def mean_error(images: np.ndarray, references: np.ndarray, where: np.ndarray | None = None) -> np.ndarray:
    """Mean absolute difference of uint8 [n, h, w] over `where` bool [n, h, w], grey levels [n]; NaN where empty."""
    apart = np.abs(images.astype(np.int16) - references).astype(np.float64)
    where = np.ones(apart.shape, bool) if where is None else where
    total, count = np.sum(apart, axis=(1, 2), where=where), where.sum((1, 2))
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)


def _colour(images: np.ndarray) -> jax.Array:
    return rgb_from_uint8(jnp.asarray(images))


@jax.jit
def _similarity(images: jax.Array, references: jax.Array) -> dict[str, jax.Array]:
    a, b = (x[..., None].astype(jnp.float32) for x in (images, references))
    count = ms_ssim.scales_within(a.shape)
    return {
        "psnr": image.psnr(a, b, value_range=LEVELS),
        "ms_ssim": ms_ssim.ms_ssim(a, b, value_range=LEVELS, scales=count),
    }
