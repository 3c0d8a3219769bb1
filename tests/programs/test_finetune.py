"""Fine-tuning, on the shipped configuration of the base model made small: laws that hold for the full one too."""

import contextlib
import dataclasses
import json

import jax
import numpy as np
import pytest
from flax import nnx
from PIL import Image

from prism_jax import config as configs
from prism_jax import sharding, stable_diffusion
from prism_jax.checkpoint import Checkpoints
from prism_jax.cli import export
from prism_jax.models.autoencoder import AutoencoderConfig, AutoencoderKL
from prism_jax.models.unet import UNetConfig
from prism_jax.sharding import ShardingConfig
from prism_jax.stable_diffusion import StableDiffusion
from prism_jax.training.finetune import (
    encode_latents,
    pretrain,
    tokenizer,
)
from prism_jax.training.finetune import (
    lora as finetune_lora,
)
from prism_jax.training.finetune import (
    run as finetune_run,
)
from prism_jax.training.finetune import (
    step as finetune_step,
)
from prism_jax.training.finetune import (
    validation as finetune_validation,
)
from prism_jax.training.finetune.lora import Lora
from prism_jax.training.finetune.step import DenoisingObjective
from prism_jax.weights import lora, pretrained
from tests import tiny_configs
from tests.build_dataset import build
from tests.conftest import ONE_LEVEL

SIZE = 16
# One level less than the fixture of other tests: most of the time here goes into compiling gradients.
VAE = AutoencoderConfig(block_out_channels=(4, 4), layers_per_block=1, norm_num_groups=2)
UNET = UNetConfig(
    **ONE_LEVEL,
    layers_per_block=1,
    cross_attention_dim=16,
    norm_num_groups=4,
)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """A folder with a data set, a VAE and a tokenizer."""
    folder = tmp_path_factory.mktemp("workshop")
    write_images(folder / "source", 30)
    build("folder", folder / "source", folder / "data", fractions=(0.8, 0.2, 0.0))
    pretrained.save(AutoencoderKL(VAE, rngs=nnx.Rngs(0)), folder / "vae")
    tokenizer.main(tokenizer.TokenizerRun(out=str(folder / "tokens"), data=(str(folder / "data"),), vocab_size=600))
    return folder


def write_images(folder, count):
    """A source of the folder builder: noise, and a CSV with an age and a finding for each image."""
    folder.mkdir()
    rows = ["path,patient,sex,age,view,findings"]
    for i in range(count):
        grey = np.random.default_rng(i).integers(0, 256, (SIZE, SIZE), np.uint8)
        Image.fromarray(grey).save(folder / f"{i}.png")
        rows.append(f"{i}.png,p{i},M,{20 + i},PA,edema")
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")


def small(workshop, run, **training):
    """configs/phantom/pretrain.py with tiny networks and data; `training` changes options of the training."""
    config = configs.load("configs/phantom/pretrain.py")
    options = dict(
        run=str(run),
        latents=None,
        data=dataclasses.replace(config.training.data, folder=str(workshop / "data"), size=SIZE),
        batch_size=8,
        optimizer=dataclasses.replace(config.training.optimizer, warmup=1, decay="constant"),
        loop=dataclasses.replace(config.training.loop, steps=4, log_every=1, tensorboard=False),
        validation=finetune_validation.FinetuneValidation(every=0),
        samples=dataclasses.replace(config.training.samples, every=0),
    )
    return dataclasses.replace(
        config,
        vae=str(workshop / "vae"),
        tokenizer=str(workshop / "tokens"),
        text_encoder=tiny_configs.text_encoder(),
        unet=UNET,
        training=dataclasses.replace(config.training, **options | training),
    )


def train(config, devices=None):
    return finetune_run.train(pretrain.prepare(config), sharding.make_mesh(devices))


def metrics(run, name):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if name in line]


def losses(run):
    return metrics(run, "loss")


def steps(config, count):
    return dataclasses.replace(
        config,
        training=dataclasses.replace(config.training, loop=dataclasses.replace(config.training.loop, steps=count)),
    )


@pytest.fixture(scope="module")
def trained(workshop):
    """A run of four steps on eight devices, images read and encoded batch by batch; and its last state."""
    run = workshop / "trained"
    return run, train(small(workshop, run))


def test_two_steps_a_restart_and_two_more_equal_four(workshop, trained):
    run, whole = trained
    config = small(workshop, workshop / "parts")
    train(steps(config, 2))
    resumed = train(config)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(resumed), jax.device_get(whole))
    assert losses(workshop / "parts") == losses(run)


def test_export_has_the_averaged_weights_and_leaves_the_frozen_ones_alone(workshop, trained):
    run, state = trained
    export.run(export.Options(run=run, out=workshop / "exported"))
    models = [StableDiffusion.from_pretrained(folder) for folder in (workshop / "exported", run / "initial")]
    jax.tree.map(np.testing.assert_array_equal, *(nnx.to_pure_dict(nnx.state(model.vae)) for model in models))
    found, start = (finetune_run.split(model)[1] for model in models)
    for name in ("unet", "text_encoder"):
        jax.tree.map(np.testing.assert_array_equal, found[name], jax.device_get(state.ema[name]))
        moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), found[name], start[name])
        assert np.mean(jax.tree.leaves(moved)) > 0.9


def test_latents_from_a_cache_train_as_those_encoded_on_the_way(workshop, trained, capsys):
    run, whole = trained
    config = small(workshop, workshop / "cached", latents=str(workshop / "latents"), model=str(run / "initial"))
    encode_latents.main(config.training)
    cached = train(config)
    assert "reads the latents" in capsys.readouterr().err
    assert losses(workshop / "cached") == losses(run)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(cached), jax.device_get(whole))


def test_a_frozen_text_encoder_stays_and_what_is_watched_is_written(workshop, trained):
    every = small(workshop, "").training
    config = finetune_run.FinetuneRun(
        run=str(workshop / "tuned"),
        model=str(trained[0] / "initial"),
        data=every.data,
        batch_size=8,
        ema_decay=None,
        optimizer=dataclasses.replace(every.optimizer, warmup=0),
        loop=dataclasses.replace(every.loop, steps=2, checkpoint_every=1, keep=1, tensorboard=True),
        validation=finetune_validation.FinetuneValidation(every=1),
        samples=finetune_validation.SampleGrid(every=1, prompts=("Chest X-ray of a man",), rows=1, steps=1),
        reconstructions=finetune_validation.Reconstructions(every=2, count=1, steps=1, inner_steps=1),
    )
    compiled = stable_diffusion._sample._cache_size()
    finetune_run.main(config)
    assert configs.read(workshop / "tuned") == config
    for name in ("samples/1.png", "samples/2.png", "reconstructions/2.png"):
        assert (workshop / "tuned" / name).exists()
    assert stable_diffusion._sample._cache_size() == compiled + 1
    assert len(list((workshop / "tuned" / "tensorboard").iterdir())) == 1
    seen = metrics(workshop / "tuned", "validation_loss")
    with contextlib.closing(Checkpoints(workshop / "tuned" / "checkpoints")) as checkpoints:
        assert checkpoints.best() == 1 + int(np.argmin(seen))
    export.run(export.Options(run=workshop / "tuned", out=workshop / "tuned_model"))
    found, start = (
        finetune_run.split(StableDiffusion.from_pretrained(folder))[1]
        for folder in (workshop / "tuned_model", trained[0] / "initial")
    )
    jax.tree.map(np.testing.assert_array_equal, found["text_encoder"], start["text_encoder"])
    assert not np.array_equal(found["unet"]["conv_in"]["kernel"], start["unet"]["conv_in"]["kernel"])


def test_low_rank_changes_are_trained_and_exported_both_ways(workshop, trained):
    start, run = trained[0] / "initial", workshop / "low_rank"
    low_rank = Lora(rank=2, alpha=4.0)
    config = small(workshop, run, trained=finetune_lora.UNET, lora=low_rank, latents=str(workshop / "latents"))
    state = finetune_run.train(
        dataclasses.replace(steps(config, 2).training, model=str(start)), sharding.make_mesh(jax.devices()[:1])
    )
    weights = finetune_run.split(StableDiffusion.from_pretrained(start))[1]
    expected = finetune_lora.changed(weights, jax.device_get(state.ema), low_rank.scale)
    export.run(export.Options(run=run, out=workshop / "merged"))
    export.run(export.Options(run=run, out=workshop / "changes", lora=True))
    merged = finetune_run.split(StableDiffusion.from_pretrained(workshop / "merged"))[1]
    loaded = lora.merge(weights, lora.load(workshop / "changes" / lora.FILE, weights))
    for found in (merged, loaded):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), found, expected)
    kernel = lambda tree: tree["unet"]["down_blocks"][0]["attentions"][0]["transformer_blocks"][0]["attn2"]["to_k"]
    assert not np.array_equal(kernel(merged)["kernel"], kernel(weights)["kernel"])


def test_captions_are_dropped_at_the_given_rate():
    tokens, empty = np.arange(2000 * 3).reshape(2000, 3), np.full(3, -1)
    keys = jax.random.split(jax.random.key(0), 2000)
    kept = np.asarray(finetune_step.drop_captions(tokens, empty, keys, 0.1))
    dropped = (kept == empty[None]).all(1)
    assert 0.07 < dropped.mean() < 0.13
    np.testing.assert_array_equal(kept[~dropped], tokens[~dropped])


def test_options_that_do_not_fit_are_refused_before_anything_is_read(workshop):
    for options, said in (
        (dict(batch_size=0), "does not divide over"),
        (dict(batch_size=16, accumulate=3), "does not divide into accumulate 3 parts"),
        (dict(sharding=ShardingConfig(fsdp=3)), "fsdp 3 does not divide"),
        (dict(latents="here", objective=DenoisingObjective(flip=0.5)), "mirrors images"),
        (dict(trained=("x",), lora=Lora()), "set only one of them"),
    ):
        with pytest.raises(ValueError, match=said):
            finetune_run.main(finetune_run.FinetuneRun(model="nowhere", **options))
    config = dataclasses.replace(small(workshop, workshop / "x"), unet=UNetConfig(cross_attention_dim=8))
    with pytest.raises(ValueError, match=r"cross_attention_dim 8 differs from text_encoder\.hidden_size 16"):
        pretrain.untrained(config)


@pytest.mark.parametrize(
    ("options", "said"), [(dict(model="other"), "model .*initial, not other"), (dict(seed=7), "seed 0, not 7")]
)
def test_a_run_is_not_gone_on_with_as_something_else(workshop, trained, options, said):
    config = configs.read(trained[0])
    with pytest.raises(ValueError, match=rf"holds a training with {said}; use another --run"):
        finetune_run.main(dataclasses.replace(config, **options))


def test_an_image_size_that_the_networks_cannot_take_is_refused(workshop, trained):
    odd = dataclasses.replace(small(workshop, "").training.data, size=17)
    config = dataclasses.replace(small(workshop, workshop / "odd").training, data=odd)
    with pytest.raises(ValueError, match=r"size 17 is not divisible|17 pixels is not a multiple of 2"):
        finetune_run.main(dataclasses.replace(config, model=str(trained[0] / "initial")))
    assert not (workshop / "odd").exists()


def test_an_initial_folder_of_other_networks_is_refused(workshop, trained):
    config = small(workshop, trained[0])
    with pytest.raises(ValueError, match=r"text_encoder num_hidden_layers 1, not 2"):
        pretrain.prepare(
            dataclasses.replace(
                config, text_encoder=dataclasses.replace(tiny_configs.text_encoder(), num_hidden_layers=2)
            )
        )
