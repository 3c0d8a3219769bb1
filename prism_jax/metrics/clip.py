"""CLIP similarities of edits and their prompts.

The four numbers of InstructPix2Pix (Brooks et al. 2023, arXiv 2211.09800), which LANCE and PRISM filter by.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from prism_jax.metrics.resize import bicubic
from prism_jax.models.clip import CLIP
from prism_jax.stable_diffusion import check_prompts, load_tokenizer, tokenize
from prism_jax.weights import pretrained

# Of CLIP's training images, in [0, 1]; the same in every published model (openai/CLIP, clip/clip.py).
MEAN = np.float32([0.48145466, 0.4578275, 0.40821073])
STD = np.float32([0.26862954, 0.26130258, 0.27577711])
NO_CHANGE = 1e-5  # features nearer than this differ by rounding alone, so that their difference has no direction


@struct.dataclass
class ClipScores:
    """Cosines in [-1, 1] of `b` sources and their `e` edits; NaN only where an image is."""

    image: jax.Array  # [b, e] source image and edited image
    source_text: jax.Array  # [b] source image and source prompt, "sim_0"
    text: jax.Array  # [b, e] edited image and edited prompt, "sim_1"
    direction: jax.Array  # [b, e] change of the image and change of the prompt; 0 where one of them did not change


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipScorer:
    """CLIP and its tokenizer. Methods are jitted: each new shape compiles once."""

    clip: CLIP
    tokenizer: Any  # transformers.CLIPTokenizer

    @classmethod
    def from_pretrained(cls, folder: str | Path, dtype: jnp.dtype = jnp.float32) -> "ClipScorer":
        """Reads a transformers folder of a `CLIPModel` with its tokenizer. `dtype` is compute.

        Directions are those of small differences; bfloat16 leaves them two digits at best.

        Raises:
          ValueError: a file is missing or damaged, a weight is left over or missing, or the tokenizer is another's.
        """
        folder = Path(folder)
        clip, tokenizer = pretrained.load(CLIP, folder, dtype=dtype), load_tokenizer(folder)
        end, known_end = tokenizer.eos_token_id, clip.config.end
        if end != known_end:
            raise ValueError(
                f"the tokenizer in {folder} ends texts with {end}, the model with {known_end}; copy its own"
            )
        return cls(clip=clip, tokenizer=tokenizer)

    def score(
        self, images: jax.Array, source_prompts: Sequence[str], edit_prompts: Sequence[Sequence[str]]
    ) -> ClipScores:
        """Scores edits against their sources, in one program.

        Args:
          images: float `[b, 1 + e, h, w, 3]` in [-1, 1] of any size, stretched to CLIP's square; index 0 is what the
            edits are compared with (the reconstruction).
          source_prompts: `b` prompts.
          edit_prompts: `b` lists of `e` prompts.

        Raises:
          ValueError: shapes or counts that do not fit, integer images, a prompt of too many tokens.
        """
        if images.ndim != 5 or images.shape[-1] != 3:
            raise ValueError(f"images have the shape {images.shape}; give [b, 1 + e, h, w, 3]")
        if not jnp.issubdtype(images.dtype, jnp.floating):
            raise ValueError(f"images are {images.dtype}; give floats in [-1, 1]: prism_jax.pixels.from_uint8(images)")
        b, e = len(images), images.shape[1] - 1
        check_prompts(source_prompts)
        if not e or len(source_prompts) != b or [len(_not_text(prompts)) for prompts in edit_prompts] != [e] * b:
            counts = (
                f"{len(source_prompts)} source prompts and {[len(prompts) for prompts in edit_prompts]} edit prompts"
            )
            raise ValueError(f"images {images.shape} are {b} sources of {e} edits each; {counts} do not fit them")
        sources = self._tokenize(source_prompts)  # [b, 77]
        edits = self._tokenize([prompt for prompts in edit_prompts for prompt in prompts])
        return _score(self.clip, images, sources, edits.reshape(b, e, -1))

    def _tokenize(self, prompts: Sequence[str]) -> np.ndarray:
        return tokenize(self.tokenizer, prompts, length=self.clip.config.text.max_position_embeddings)


def cosine(a: jax.Array, b: jax.Array) -> jax.Array:
    """The cosine along the last axis; 0 where either vector is shorter than `NO_CHANGE`."""
    lengths = [jnp.linalg.norm(x, axis=-1) for x in (a, b)]
    is_short = (lengths[0] < NO_CHANGE) | (lengths[1] < NO_CHANGE)  # False for NaN, which thus stays NaN
    products = jnp.where(is_short, 1.0, lengths[0] * lengths[1])
    return jnp.where(is_short, 0.0, jnp.sum(a * b, axis=-1) / products)


@jax.jit
def _score(clip: CLIP, images: jax.Array, source_ids: jax.Array, edit_ids: jax.Array) -> ClipScores:
    b, count, h, w, _ = images.shape
    ids = jnp.concatenate([source_ids[:, None], edit_ids], axis=1)  # [b, 1 + e, 77]
    image = _image_features(clip, images.reshape(b * count, h, w, 3)).reshape(b, count, -1)
    text = _text_features(clip, ids.reshape(b * count, -1)).reshape(b, count, -1)
    matches = jnp.sum(image * text, axis=-1)  # [b, 1 + e]
    return ClipScores(
        image=jnp.sum(image[:, :1] * image[:, 1:], axis=-1),
        source_text=matches[:, 0],
        text=matches[:, 1:],
        direction=cosine(image[:, 1:] - image[:, :1], text[:, 1:] - text[:, :1]),
    )


@jax.jit
def _image_features(clip: CLIP, images: jax.Array) -> jax.Array:
    return _unit(encode(clip, images))


@jax.jit
def _text_features(clip: CLIP, ids: jax.Array) -> jax.Array:
    with jax.default_matmul_precision("float32"):
        return _unit(clip.encode_text(ids))


def encode(clip: CLIP, images: jax.Array) -> jax.Array:
    """CLIP's features, float32 `[b, d]`, of images `[b, h, w, 3]` in [-1, 1]."""
    # TF32, a GPU's default, would cost directions of small edits most of their digits.
    with jax.default_matmul_precision("float32"):
        return clip.encode_image(preprocess(images, clip.config.vision.image_size))


def preprocess(images: jax.Array, size: int) -> jax.Array:
    """CLIP's input `[b, size, size, 3]` of images `[b, h, w, 3]` in [-1, 1]."""
    return (bicubic((images + 1.0) / 2.0, size, size) - MEAN[None, None, None]) / STD[None, None, None]


def _unit(features: jax.Array) -> jax.Array:
    return features / jnp.linalg.norm(features, axis=-1, keepdims=True)


def _not_text(prompts: Sequence[str]) -> Sequence[str]:
    check_prompts(prompts)
    return prompts
