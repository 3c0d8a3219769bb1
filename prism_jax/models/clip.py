"""CLIP: text and image encoder that project into one space (transformers' `CLIPModel`).

Radford et al. 2021, arXiv 2103.00020.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from prism_jax.models.image_encoder import CLIPVisionModel, VisionConfig
from prism_jax.models.text_encoder import CLIPTextModel, TextConfig

# transformers leaves options out of a file where they have its defaults; those of `TextConfig` are Stable Diffusion's.
TEXT_DEFAULTS = {"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8}
WRONG_END = 2  # `eos_token_id` in OpenAI's own configs; transformers, too, then takes the highest id for the end


@dataclasses.dataclass(frozen=True, kw_only=True)
class CLIPConfig:
    """Options of both towers."""

    text: TextConfig = TextConfig(**TEXT_DEFAULTS)
    vision: VisionConfig = VisionConfig()
    eos_token_id: int = 49407

    @property
    def end(self) -> int:
        """The id of the token that ends a text, where its feature is read."""
        return self.text.vocab_size - 1 if self.eos_token_id == WRONG_END else self.eos_token_id

    @classmethod
    def from_dict(cls, config: dict[str, Any], *, dtype: jnp.dtype = jnp.float32) -> "CLIPConfig":
        """Reads the config.json of a transformers `CLIPModel`; ValueError where it is of another model."""
        missing = [name for name in ("text_config", "vision_config") if not isinstance(config.get(name), dict)]
        if missing:
            kind = config.get("model_type")
            raise ValueError(f"CLIP config: no {missing} in one of model_type {kind!r}; give the folder of a CLIPModel")
        width = {"projection_dim": config.get("projection_dim", VisionConfig.projection_dim)}
        text = config["text_config"]
        return cls(
            text=TextConfig.from_dict(TEXT_DEFAULTS | text, dtype=dtype),
            vision=VisionConfig.from_dict(config["vision_config"] | width, dtype=dtype),
            eos_token_id=text.get("eos_token_id", cls.eos_token_id),
        )


class CLIP(nnx.Module):
    """Texts and images as vectors of one space; not normalised to length 1."""

    def __init__(self, config: CLIPConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.text_model = CLIPTextModel(config.text, rngs=rngs)
        self.vision_model = CLIPVisionModel(config.vision, rngs=rngs)
        self.text_projection = nnx.Linear(
            config.text.hidden_size, config.vision.projection_dim, use_bias=False, dtype=jnp.float32, rngs=rngs
        )
        self.logit_scale = nnx.Param(jnp.log(1 / 0.07))  # of the training loss; similarities do not use it

    def encode_text(self, ids: jax.Array) -> jax.Array:
        """Maps int `[b, 77]` to float32 `[b, projection_dim]`; tokens after the first end token have no influence."""
        states = self.text_model(ids)  # [b, 77, d]
        end = jnp.argmax(ids == self.config.end, axis=1)  # the first: many tokenizers also pad with it
        return self.text_projection(states[jnp.arange(len(ids)), end])

    def encode_image(self, images: jax.Array) -> jax.Array:
        """Maps normalised images `[b, s, s, 3]` to float32 `[b, projection_dim]`."""
        return self.vision_model(images)
