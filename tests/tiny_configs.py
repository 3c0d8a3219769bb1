"""Options of the smallest networks with all parts."""

import dataclasses
from typing import Any

from prism_jax.models.autoencoder import AutoencoderConfig
from prism_jax.models.clip import CLIPConfig
from prism_jax.models.convnext import ConvNeXtConfig
from prism_jax.models.cyclegan import CycleGANConfig
from prism_jax.models.densenet import DenseNetConfig
from prism_jax.models.hvae_config import HVAEConfig
from prism_jax.models.image_encoder import VisionConfig
from prism_jax.models.lpips import LPIPSConfig
from prism_jax.models.text_encoder import TextConfig
from prism_jax.models.unet import UNetConfig

TRANSFORMER: dict[str, Any] = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)


def unet() -> UNetConfig:
    return UNetConfig(
        block_out_channels=(8, 16),
        layers_per_block=1,
        cross_attention=(True, False),
        num_heads=(2, 2),
        cross_attention_dim=16,
        norm_num_groups=4,
        sample_size=8,
    )


def autoencoder() -> AutoencoderConfig:
    return AutoencoderConfig(block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4, sample_size=64)


def text_encoder(vocab_size: int = 64) -> TextConfig:
    return TextConfig(vocab_size=vocab_size, **TRANSFORMER)


def clip(vocab_size: int = 64) -> CLIPConfig:
    vision = VisionConfig(image_size=32, patch_size=16, projection_dim=8, **TRANSFORMER)
    return CLIPConfig(text=text_encoder(vocab_size), vision=vision, eos_token_id=vocab_size - 1)


def densenet() -> DenseNetConfig:
    return DenseNetConfig(
        growth_rate=4, block_config=(1, 1), num_init_features=4, bn_size=1, num_classes=3, norm_num_groups=2
    )


def convnext() -> ConvNeXtConfig:
    return ConvNeXtConfig(depths=(1, 1), dims=(4, 8), kernel_size=3, layer_scale=0.1, num_classes=3)


def hvae(parents: int = 3, **options: Any) -> HVAEConfig:
    """8 x 8 pixels, three resolutions."""
    stages = dict(encoder="8b1d2,4b1d4,1b1", decoder="1b1,4b1,8b1", widths=(4, 4, 8), z_dim=2)
    return HVAEConfig(**stages | options, parents=parents)


def cyclegan(**options: Any) -> CycleGANConfig:
    return CycleGANConfig(**dict(size=16, width=2, blocks=1, discriminator_width=2, halvings=2) | options)


def lpips() -> LPIPSConfig:
    convs = LPIPSConfig.alex().convs
    return LPIPSConfig(convs=tuple(dataclasses.replace(conv, channels=conv.channels // 32) for conv in convs))
