"""UNets of SD 1.5 and SD 2.1 topology in diffusers, block by block."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from prism_jax.models import unet as unet_lib
from prism_jax.models.layers import Conv1x1, GroupNorm, ResnetBlock
from prism_jax.models.unet import UNet2DCondition
from tests.conftest import channels_last, recorded
from tests.jit.test_unet import predict
from tests.reference.conftest import load_trace

BOUND = 3e-5  # of one network call; the reference's own rounding is 7e-6


KINDS = (
    *(nnx.Conv, Conv1x1, nnx.Linear, GroupNorm, ResnetBlock, unet_lib.TimeEmbedding, unet_lib.Transformer),
    *(unet_lib.DownBlock, unet_lib.MidBlock, unet_lib.UpBlock),
)


@pytest.fixture
def unets(sd15, sd21_unet) -> dict[str, UNet2DCondition]:
    return {"sd15": sd15.unet, "sd21": sd21_unet}


def blocks(unet: UNet2DCondition) -> dict[str, nnx.Module]:
    """The modules whose outputs the reference recorded."""
    first = unet.down_blocks[0]
    return {
        "time_embedding": unet.time_embedding,
        "conv_in": unet.conv_in,
        "down0_resnet0": first.resnets[0],
        "down0_attn0_proj_in": first.attentions[0].proj_in,
        "down0_attn0": first.attentions[0],
        **{f"down_block{i}": block for i, block in enumerate(unet.down_blocks)},
        "mid_block": unet.mid_block,
        **{f"up_block{i}": block for i, block in enumerate(unet.up_blocks)},
        "conv_norm_out": unet.conv_norm_out,
    }


def case(arrays: dict[str, np.ndarray], name: str) -> tuple[tuple[jax.Array, ...], jax.Array]:
    """Arguments of a recorded call, and its result."""
    given = (arrays[f"{name}_{part}"] for part in ("timesteps", "encoder_hidden_states"))
    return (channels_last(arrays[f"{name}_sample"]), *map(jnp.asarray, given)), channels_last(arrays[f"{name}_eps"])


@pytest.mark.parametrize("model", ["sd15", "sd21"])
def test_every_block_agrees_with_the_reference(model, unets, monkeypatch):
    arrays = load_trace(f"04_unet_{model}").arrays
    args, expected = case(arrays, "sq16_same_t")
    outputs = recorded(monkeypatch, *KINDS)

    @jax.jit
    def run(unet, *args):
        out = unet(*args)
        made = {name: outputs[id(module)] for name, module in blocks(unet).items()}
        return out, {name: value[0] if isinstance(value, tuple) else value for name, value in made.items()}

    out, made = run(unets[model], *args)
    for name, value in made.items():
        stored = arrays[f"inter16_{name}"]
        wanted = channels_last(stored) if stored.ndim == 4 else stored
        given = value[:2].reshape(wanted.shape)  # a linear projection's output is [b, h * w, c]
        np.testing.assert_allclose(given, wanted, rtol=0, atol=BOUND, err_msg=name)
    np.testing.assert_allclose(out, expected, rtol=0, atol=BOUND)


@pytest.mark.parametrize(
    ("model", "name"), [("sd15", "rect32x48"), ("sd15", "rect48x24"), ("sd15", "sq32_t0"), ("sd21", "rect32x48")]
)
def test_other_sizes_and_timesteps_agree_with_the_reference(model, name, unets):
    args, expected = case(load_trace(f"04_unet_{model}").arrays, name)
    np.testing.assert_allclose(predict(unets[model], *args), expected, rtol=0, atol=BOUND)
