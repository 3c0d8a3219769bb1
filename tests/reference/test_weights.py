"""Weight names of the reference's models."""

import math

import pytest

from prism_jax.models.autoencoder import AutoencoderConfig, AutoencoderKL
from prism_jax.models.image_encoder import CLIPVisionModel, VisionConfig
from prism_jax.models.text_encoder import CLIPTextModel, TextConfig
from prism_jax.models.unet import UNet2DCondition, UNetConfig
from prism_jax.weights import diffusers, pretrained
from tests.conftest import manifest
from tests.reference.conftest import load_trace

# Names of the vision half of CLIP in a file of its own.
IMAGE_ENCODER = (
    (r"^(class|patch|position)_embedding", r"embeddings.\1_embedding"),
    (r"^layers\.", "encoder.layers."),
    (r"^(?!visual_projection\.)", "vision_model."),
)


@pytest.mark.parametrize(
    ("stem", "network", "config", "names"),
    [
        ("sd15_unet", UNet2DCondition, UNetConfig, diffusers.UNET),
        ("sd21_unet", UNet2DCondition, UNetConfig, diffusers.UNET),
        ("sd15_vae", AutoencoderKL, AutoencoderConfig, diffusers.AUTOENCODER),
        ("sd15_text_encoder_clip_vit_l14", CLIPTextModel, TextConfig, diffusers.TEXT_ENCODER),
        ("sd21_text_encoder_openclip_vit_h", CLIPTextModel, TextConfig, diffusers.TEXT_ENCODER),
        ("clip_vit_l14_vision", CLIPVisionModel, VisionConfig, IMAGE_ENCODER),
    ],
)
def test_published_networks_have_exactly_our_parameters(stem, network, config, names):
    meta = load_trace(f"13_manifest_{stem}").meta
    ours = manifest(pretrained.abstract(network, config.from_dict(meta["config"])), names)
    assert ours == {name: tuple(shape) for name, shape in meta["shapes"].items()}
    assert sum(map(math.prod, ours.values())) == meta["parameter_count"]
