"""UNets: time and text conditioning, odd sizes, and memory-saving paths."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from prism_jax.models.unet import UNet2DCondition, UNetConfig
from prism_jax.weights import pretrained
from tests import tiny_configs
from tests.conftest import ONE_LEVEL, relative_distance, untrained


@pytest.fixture(scope="module")
def tiny() -> UNet2DCondition:
    return untrained(UNet2DCondition, tiny_configs.unet())


@jax.jit
def predict(unet, latents, timesteps, context):
    return unet(latents, timesteps, context)


def tiny_call() -> tuple[jax.Array, ...]:
    draw = np.random.default_rng(0)
    latents, context = draw.normal(size=(2, 4, 8, 4)), draw.normal(size=(2, 77, 16))
    return jnp.asarray(latents, jnp.float32), jnp.asarray([7, 500]), jnp.asarray(context, jnp.float32)


def test_a_batch_gives_what_one_by_one_gives_and_one_timestep_serves_all(tiny):
    latents, timesteps, context = tiny_call()
    both = predict(tiny, latents, timesteps, context)
    alone = predict(tiny, latents[1:], timesteps[1], context[1:])
    np.testing.assert_allclose(both[1:], alone, atol=1e-5)
    assert jnp.abs(both[0] - both[1]).max() > 0.1


@pytest.mark.nightly
@pytest.mark.usefixtures("compiled_well")  # compiled quickly, rounding alone moves gradients of this size by more
def test_rematerialisation_changes_neither_output_nor_gradient():
    def loss_and_gradient(remat: bool):
        config = dataclasses.replace(tiny_configs.unet(), **ONE_LEVEL, remat=remat)
        graphdef, params = nnx.split(untrained(UNet2DCondition, config))

        def loss(params):
            unet, (latents, *rest) = nnx.merge(graphdef, params), tiny_call()
            # Two steps of a loop over latents, as sampling and inversion have.
            return jnp.sum(jax.lax.scan(lambda x, _: (unet(x, *rest), None), latents, length=2)[0] ** 2)

        assert ("_kept" in str(jax.make_jaxpr(loss)(params))) is remat
        return jax.jit(jax.value_and_grad(loss))(params)

    plain, saving = loss_and_gradient(False), loss_and_gradient(True)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), plain, saving)


def test_rematerialisation_saves_memory():
    config = dataclasses.replace(tiny_configs.unet(), **ONE_LEVEL)
    latents, context = jnp.zeros((2, 16, 16, 4)), jnp.zeros((2, 77, 16))

    def temporary(remat: bool) -> int:
        graphdef, params = nnx.split(pretrained.abstract(UNet2DCondition, dataclasses.replace(config, remat=remat)))
        loss = lambda params, context: jnp.sum(nnx.merge(graphdef, params)(latents, jnp.int32(5), context) ** 2)
        gradient = jax.grad(loss, argnums=1)
        return jax.jit(gradient).lower(params, context).compile().memory_analysis().temp_size_in_bytes

    assert temporary(True) < 0.6 * temporary(False)


def test_half_precision_computes_with_and_returns_float32(tiny):
    half = untrained(UNet2DCondition, dataclasses.replace(tiny_configs.unet(), dtype=jnp.bfloat16))
    assert {leaf.dtype for leaf in jax.tree.leaves(half)} == {jnp.dtype(jnp.float32)}
    out = predict(half, *tiny_call())
    assert out.dtype == jnp.float32
    assert 1e-4 < relative_distance(out, predict(tiny, *tiny_call())) < 0.1


def test_sizes_that_do_not_divide_are_refused_with_those_that_do(tiny):
    with pytest.raises(ValueError, match=r"latent side of 7 .* factor 2; use images whose sides are multiples of 16"):
        tiny(jnp.zeros((1, 8, 7, 4)), jnp.asarray(1), jnp.zeros((1, 77, 16)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("class_embed_type", "timestep"),
        ("addition_embed_type", "text_time"),
        ("transformer_layers_per_block", [1, 2]),
        ("down_block_types", ["AttnDownBlock2D", "DownBlock2D"]),
        ("up_block_types", ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D"]),
    ],
)
def test_configs_are_read_back_as_written_and_other_networks_refused(name, value):
    per_level = dataclasses.replace(tiny_configs.unet(), num_heads=(2, 4), use_linear_projection=True)
    assert UNetConfig.from_dict(per_level.to_dict()) == per_level
    written = tiny_configs.unet().to_dict()
    assert UNetConfig.from_dict(written) == tiny_configs.unet()
    with pytest.raises(ValueError, match=rf"unet config: .*{name}.* is not supported; only the networks of SD"):
        UNetConfig.from_dict(written | {name: value})
