"""Check that an image resembles a model's training images, by the detail that the model's autoencoder loses.

An autoencoder keeps the fine detail of images like its training data and blurs that of others. Lost detail is the
squared error of encoding and decoding over the variance within cells of one latent: 0 for a perfect copy, about 1 for
the mean of each cell. It does not depend on contrast, as PSNR does. The model card states it for held-out images.
"""

import jax.numpy as jnp
import numpy as np

from prism_jax.model_card import AutoencoderError
from prism_jax.pixels import rgb_from_uint8, to_uint8
from prism_jax.stable_diffusion import StableDiffusion

LIMIT = 1.75  # times the 99th percentile of held-out images,
LIMIT_OF_MEAN = 3.5  # or this times their mean, if more: of few images the percentile is too small
LEAST_VARIANCE = 1.0  # squared grey levels; a nearly uniform image has no detail to lose


def lost_detail(originals: np.ndarray, autoencoded: np.ndarray, factor: int) -> np.ndarray:
    """Lost detail of each image, float64 [b], of uint8 images [b, h, w]; the autoencoder shrinks sides by `factor`."""
    originals, autoencoded = np.asarray(originals, np.float64), np.asarray(autoencoded, np.float64)
    b, height, width = originals.shape
    cells = originals.reshape(b, height // factor, factor, width // factor, factor)
    variance = cells.var((2, 4)).mean((1, 2))
    error = np.mean((originals - autoencoded) ** 2, axis=(1, 2))
    return error / np.maximum(variance, LEAST_VARIANCE)


def measure(sd: StableDiffusion, images: np.ndarray, data: str, *, batch_size: int = 8) -> AutoencoderError:
    """The card's entry for held-out images, uint8 [n, h, w]."""
    losses = []
    for start in range(0, len(images), batch_size):
        # The last batch is filled up with the last image: one shape, one compiled program.
        rows = np.minimum(np.arange(start, start + batch_size), len(images) - 1)
        losses.append(lost_detail(images[rows], autoencode(sd, images[rows]), sd.vae.config.factor))
    of_images = np.concatenate(losses)[: len(images)]
    mean, p99 = float(of_images.mean()), float(np.quantile(of_images, 0.99))
    return AutoencoderError(data=data, images=len(images), mean=round(mean, 5), p99=round(p99, 5))


def autoencode(sd: StableDiffusion, images: np.ndarray) -> np.ndarray:
    """Images encoded and decoded again, uint8 [b, h, w] to the same."""
    latents = sd.encode_image(jnp.asarray(rgb_from_uint8(images)))
    return to_uint8(np.asarray(sd.decode(latents)).mean(-1))


def limit(known: AutoencoderError) -> float:
    """Largest lost detail at which an image still counts as of the model's kind."""
    return max(LIMIT * known.p99, LIMIT_OF_MEAN * known.mean)


def why_another_kind(loss: float, known: AutoencoderError | None) -> str | None:
    """The reason why an image with this lost detail is not of the model's kind, or None; None without a card too."""
    if known is None or loss <= limit(known):
        return None
    return (
        f"the image is not of the kind this model was trained on ({known.data}): the error of its autoencoder is "
        f"{loss:.1%} of the image's fine detail, the limit {limit(known):.1%}"
    )
