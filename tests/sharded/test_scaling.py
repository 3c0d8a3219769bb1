"""Training is the same on any devices and processes, and sends between them what the design says and nothing else."""

import dataclasses
import os
from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks import collectives
from prism_jax import sharding
from prism_jax.sharding import ShardingConfig
from prism_jax.training import loop
from prism_jax.training.finetune import encode_latents, lora, pretrain
from prism_jax.training.finetune import run as finetune_run
from prism_jax.training.trained_weights import trained_weights
from tests.programs.test_finetune import losses, small, workshop  # noqa: F401 (a fixture)

STEPS = 20
CUT = ShardingConfig(fsdp=4, min_size=0)  # also arrays as small as those here


def make(workshop, run, *, devices=None, **options):
    """A run of the UNet alone: what the text encoder's keys add to all logits has no gradient, only its rounding."""
    config = small(workshop, run, trained=lora.UNET, latents=str(workshop / "latents"), **options)
    loop = dataclasses.replace(config.training.loop, steps=STEPS, checkpoint_every=STEPS)
    prepared = pretrain.prepare(dataclasses.replace(config, training=dataclasses.replace(config.training, loop=loop)))
    prepared = dataclasses.replace(prepared, model=str(workshop / "start"))
    if not (workshop / "start").exists():
        os.rename(Path(run) / "initial", workshop / "start")
        encode_latents.main(prepared)
    return prepared


def final(run):
    """The averaged parameters at the end of a run."""
    return trained_weights(Path(run), None)[1]


@pytest.fixture(scope="module")
def one(workshop):
    """The run of one device, all others are compared with."""
    run = workshop / "one"
    finetune_run.train(make(workshop, run), sharding.make_mesh(jax.devices()[:1]))
    return run


def assert_same_training(run, one):
    np.testing.assert_allclose(losses(run), losses(one), rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), final(run), final(one))


@pytest.mark.parametrize("fsdp", [1, 4])
def test_devices_do_not_change_the_training(workshop, one, fsdp):
    run = workshop / f"fsdp{fsdp}"
    config = make(workshop, run, sharding=dataclasses.replace(CUT, fsdp=fsdp))
    finetune_run.train(config, sharding.make_mesh(fsdp=fsdp))
    assert_same_training(run, one)


def test_a_batch_in_parts_is_the_batch_as_a_whole(workshop, one):
    run = workshop / "parts"
    finetune_run.train(make(workshop, run, accumulate=4), sharding.make_mesh(jax.devices()[:1]))
    assert_same_training(run, one)


def sent(workshop, monkeypatch, *, devices=8, **options):
    """Bytes that a compiled step leaves on a device, by collective, and those of the parameters."""
    seen, jitted = [], loop.jitted

    def spy(*args):
        step = jitted(*args)

        def call(*inputs):
            size = sum(leaf.nbytes for leaf in jax.tree.leaves(inputs[0].params))
            seen.append((collectives.count(step.lower(*inputs).compile().as_text()), size))
            raise KeyboardInterrupt

        return call

    monkeypatch.setattr(loop, "jitted", spy)
    config = make(workshop, workshop / f"sent{devices}", **options)
    with pytest.raises(KeyboardInterrupt):
        finetune_run.train(config, sharding.make_mesh(jax.devices()[:devices], fsdp=config.sharding.fsdp))
    counts, size = seen[0]
    return {kind: count.bytes for kind, count in counts.items()}, size


SCALARS = 4 * 10  # the loss, the sum of the weights, and a sum and a count for each of four noise levels


@pytest.mark.parametrize(("devices", "accumulate"), [(8, 1), (2, 4)])
def test_devices_send_each_other_their_gradients_once_a_step_and_nothing_else(
    workshop,
    monkeypatch,
    devices,
    accumulate,
):
    found, parameters = sent(workshop, monkeypatch, devices=devices, accumulate=accumulate)
    assert found.keys() == {"all-reduce"}
    # Biases whose gradients are the same, of a block's second convolution and its shortcut, may be sent once.
    assert 0.99 * parameters < found["all-reduce"] <= parameters + SCALARS


def test_devices_that_share_the_state_gather_parameters_once_and_send_each_its_part(workshop, monkeypatch):
    found, parameters = sent(workshop, monkeypatch, sharding=CUT)
    assert found.keys() == {"all-gather", "reduce-scatter", "all-reduce"}
    assert found["all-gather"] == parameters
    assert 0.99 * parameters / 4 < found["reduce-scatter"] <= parameters / 4
    assert found["all-reduce"] < 0.35 * parameters  # the parts between groups, what cannot be cut, and norms
