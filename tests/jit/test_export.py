"""`prism export`: what a run trained, laid over the model it started from, or alone as a LoRA file."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file

from prism_jax import config as configs
from prism_jax import model_card
from prism_jax.checkpoint import VALIDATION_LOSS, Checkpoints
from prism_jax.cli import export
from prism_jax.cli import main as cli_main
from prism_jax.cli.export import Options
from prism_jax.data.captions.templates import PLAIN
from prism_jax.model_card import CaptionForm, EditDefaults, ModelCard
from prism_jax.stable_diffusion import StableDiffusion
from prism_jax.training.examples import Data
from prism_jax.training.finetune import lora as finetune_lora
from prism_jax.training.finetune.lora import Lora
from prism_jax.training.finetune.run import FinetuneRun
from prism_jax.training.vae.run import VAERun
from prism_jax.weights import files, lora
from tests.conftest import relative_distance

PATTERNS = (r"^unet\..*\.attn2\.", r"^text_encoder\.final_layer_norm\.")  # parts of both networks


@pytest.fixture(scope="module")
def base(tiny_sd, tmp_path_factory):
    """The folder that runs start from."""
    folder = tmp_path_factory.mktemp("base") / "model"
    tiny_sd.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def start(tiny_sd):
    return weights_of(tiny_sd)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def weights_of(sd: StableDiffusion) -> dict:
    return {name: nnx.to_pure_dict(nnx.state(getattr(sd, name))) for name in ("unet", "text_encoder", "vae")}


def loaded(folder) -> dict:
    return weights_of(StableDiffusion.from_pretrained(folder))


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def drawn(tree, seed=0):
    """Other values of the same shapes."""
    draw = np.random.default_rng(seed)
    return jax.tree.map(lambda x: jnp.asarray(draw.normal(size=x.shape), jnp.float32), tree)


def factors_of(weights, options):
    """Low-rank changes as after some training; only shapes are asked for, which compiles nothing."""
    return drawn(jax.eval_shape(lambda w: finetune_lora.low_rank(w, options, seed=0), weights))


def make_run(folder, base, params, *, ema=None, options=None, losses=(None,), data="absent", size=128):
    """A run folder with a checkpoint for each of `losses`, 1 and on; each holds `params` plus its number less one."""
    configs.write(FinetuneRun(model=str(base), lora=options, data=Data(folder=str(data), size=size)), folder)
    checkpoints = Checkpoints(folder / "checkpoints", keep=len(losses))
    for i, loss in enumerate(losses):
        state = {"params": params, "ema": ema, "step": jnp.int32(i + 1)}
        kept = {} if loss is None else {VALIDATION_LOSS: loss}
        checkpoints.save(i + 1, jax.tree.map(lambda x, i=i: x + i, state), {"at": i}, kept)
    checkpoints.close()
    return folder


@pytest.fixture
def low_rank(start, base, tmp_path):
    """A run with changes of rank 2 of both networks, multiplied by 3; and its factors."""
    options = Lora(rank=2, alpha=6.0, targets=r"(attn[12]\.to_(q|out)|q_proj)\.kernel$")
    factors = factors_of(start, options)
    return make_run(tmp_path / "run", base, factors, options=options), factors


@pytest.mark.parametrize("has_average", [True, False])
def test_what_was_trained_is_exported_and_all_else_stays_bit_for_bit(has_average, start, base, tmp_path, out):
    trained, rest = finetune_lora.split(start, PATTERNS)
    trained = drawn(trained)
    ema = trained if has_average else None
    params = drawn(trained, seed=1) if has_average else trained
    run = make_run(tmp_path / "run", base, params, ema=ema)
    assert export.run(Options(run=run, out=out)) == 0
    assert_same(loaded(out), finetune_lora.merge_dicts(trained, rest))
    assert {path.name for path in tmp_path.iterdir()} == {"run", "out"}


def test_numbers_are_written_in_the_precision_asked_for(start, base, tmp_path, out):
    run = make_run(tmp_path / "run", base, finetune_lora.split(start, PATTERNS)[0])
    export.run(Options(run=run, out=out, dtype="bfloat16"))
    tensors = load_file(out / "unet" / "diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {jnp.dtype("bfloat16")}


def test_low_rank_changes_are_merged_with_their_scale(low_rank, start, base, out):
    run, factors = low_rank
    export.run(Options(run=run, out=out))
    found, layer = loaded(out), lambda tree: tree["text_encoder"]["layers"][0]["self_attn"]
    a, b = layer(factors)["q_proj"]["kernel"].values()
    kernel = layer(start)["q_proj"]["kernel"]
    np.testing.assert_allclose(layer(found)["q_proj"]["kernel"], kernel + 3 * np.asarray(a) @ np.asarray(b), atol=1e-5)
    np.testing.assert_array_equal(layer(found)["k_proj"]["kernel"], layer(start)["k_proj"]["kernel"])
    assert_same(found["vae"], start["vae"])
    assert json.loads((out / "unet/config.json").read_text()) == json.loads((base / "unet/config.json").read_text())


def test_the_lora_file_merged_into_the_base_is_the_merged_export(low_rank, start, out, tmp_path):
    run, _ = low_rank
    export.run(Options(run=run, out=out))
    export.run(Options(run=run, out=tmp_path / "deep" / "changes", lora=True, model=tmp_path / "gone"))
    assert [path.name for path in (tmp_path / "deep" / "changes").iterdir()] == [lora.FILE]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["changes"]
    merged = lora.merge(start, lora.load(tmp_path / "deep" / "changes" / lora.FILE, start))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-5), merged, loaded(out))
    assert (
        relative_distance(
            *(
                tree["unet"]["mid_block"]["attentions"][0]["transformer_blocks"][0]["attn1"]["to_q"]["kernel"]
                for tree in (merged, start)
            )
        )
        > 0.1
    )


def test_a_run_that_trained_parameters_has_no_lora_file(start, base, tmp_path, out):
    run = make_run(tmp_path / "run", base, finetune_lora.split(start, PATTERNS)[0])
    with pytest.raises(ValueError, match="trained no low-rank changes"):
        export.run(Options(run=run, out=out, lora=True))


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    """A built data set of eight training and four validation phantoms."""
    folder = tmp_path_factory.mktemp("phantoms") / "data"
    sizes = ["--size", "32", "--train", "8", "--val", "4", "--test", "0"]
    with pytest.raises(SystemExit) as stop:
        cli_main.main(["data", "build", "phantom", "--out", str(folder), *sizes])
    assert not stop.value.code
    return folder


def test_the_card_states_captions_and_autoencoder_of_the_training_data(start, base, phantoms, tmp_path, out):
    run = make_run(tmp_path / "run", base, finetune_lora.split(start, PATTERNS)[0], data=phantoms, size=32)
    export.run(Options(run=run, out=out))
    card = model_card.read(out)
    findings = ("cardiomegaly", "effusion", "pacemaker", "support lines")
    assert (card.captions.template, card.captions.findings) == (PLAIN, findings)
    assert card.captions.always_stated == ("age", "sex", "view", *findings)
    assert PLAIN.parse(card.captions.example).findings == {name: name == "cardiomegaly" for name in findings}
    assert (card.size, card.training.images, card.training.steps) == (32, 8, 1)
    assert card.autoencoder.images == 4
    assert 0 < card.autoencoder.mean <= card.autoencoder.p99
    assert card.edit == EditDefaults()  # the base model has no card


def test_a_model_trained_on_the_same_kind_of_data_keeps_defaults_and_judges(start, tiny_sd, phantoms, tmp_path, out):
    edit, judges = EditDefaults(steps=20, guidance=1.75), {"densenet": "phantom_judges/densenet"}
    findings = ("cardiomegaly", "effusion", "pacemaker", "support lines")
    card = ModelCard(edit=edit, judges=judges, captions=CaptionForm(findings=findings))
    for name, kept in (("same", card), ("other", dataclasses.replace(card, captions=CaptionForm(findings=("edema",))))):
        base = tmp_path / name
        dataclasses.replace(tiny_sd, card=kept.to_json()).save_pretrained(base)
        trained = finetune_lora.split(start, PATTERNS)[0]
        run = make_run(tmp_path / f"{name}-run", base, trained, data=phantoms, size=32)
        export.run(Options(run=run, out=out / name, held_out=0))
        exported = model_card.read(out / name)
        assert (exported.edit, exported.autoencoder) == (edit, None)
        assert exported.judges == (judges if name == "same" else {})


def test_without_its_data_a_model_still_has_a_card_and_that_is_said(start, base, tmp_path, out, capsys):
    run = make_run(tmp_path / "run", base, finetune_lora.split(start, PATTERNS)[0])
    export.run(Options(run=run, out=out))
    assert "the data set absent is not here" in capsys.readouterr().err
    assert model_card.read(out).captions.findings == ()


def test_a_run_that_is_not_there_or_of_another_program_is_named(tmp_path, out):
    with pytest.raises(FileNotFoundError, match=r"no configuration .*nope; give --run the folder"):
        export.run(Options(run=tmp_path / "nope", out=out))
    with pytest.raises(FileNotFoundError, match=r"no configuration .*config\.json; give --run the folder"):
        export.run(Options(run=tmp_path, out=out))
    configs.write(VAERun(), tmp_path)
    with pytest.raises(ValueError, match="holds a VAERun; give --run the folder of a finetune or pretrain run"):
        export.run(Options(run=tmp_path, out=out))


def test_newest_chosen_and_best_checkpoint(start, base, tmp_path, out):
    trained, _ = finetune_lora.split(start, PATTERNS)
    run = make_run(tmp_path / "run", base, trained, losses=(0.5, 0.2, 0.9))
    with_number = lambda step: jax.tree.map(lambda x: x + (step - 1), trained)
    for step, found in (export.trained_weights(run, None), export.trained_weights(run, 1)):
        assert_same(found, with_number(step))
    assert export.trained_weights(run, None)[0] == 3
    export.run(Options(run=run, out=out, best=True))
    assert_same(finetune_lora.split(loaded(out), PATTERNS)[0], with_number(2))


def test_checkpoints_that_are_not_there_are_refused(start, base, tmp_path, out):
    run = make_run(tmp_path / "run", base, finetune_lora.split(start, PATTERNS)[0])
    for asked, said in (
        (dict(step=2), "no checkpoint 2; the newest is 1"),
        (dict(best=True), "has a validation loss; leave --best out for the newest, 1"),
        (dict(best=True, step=1), "leave one out"),
    ):
        with pytest.raises(ValueError, match=said):
            export.run(Options(run=run, out=out, **asked))
    assert not out.exists()


def test_everything_that_does_not_fit_the_model_is_in_one_error(base, tmp_path, out):
    strange = {
        "unet": {"conv_out": {"bias": jnp.zeros(5), "shift": jnp.zeros(2)}},
        "text_encoder": {"layers": {7: {"a": jnp.zeros(1)}}},
    }
    run = make_run(tmp_path / "run", base, strange)
    with pytest.raises(ValueError, match="does not fit the model") as error:
        export.run(Options(run=run, out=out))
    for said in (
        "unet.conv_out.bias (5,) for (4,)",
        "unet.conv_out.shift (2,) for no parameter",
        "text_encoder.layers.7.a",
    ):
        assert said in str(error.value)
    assert not out.exists()


def test_low_rank_changes_of_another_model_are_refused(base, start, tmp_path, out):
    options = Lora(rank=1, targets=r"^unet\.time_embedding\..*kernel$")
    factors = factors_of(start, options)
    factors["unet"]["time_embedding"]["linear_1"]["kernel"]["a"] = jnp.zeros((9, 1))
    run = make_run(tmp_path / "run", base, factors, options=options)
    with pytest.raises(ValueError, match=r"unet\.time_embedding\.linear_1\.kernel \(9, 1\) @ \(1, 32\) for \(8, 32\)"):
        export.run(Options(run=run, out=out))


@pytest.mark.parametrize("alone", [True, False])
def test_a_full_disk_leaves_nothing(alone, low_rank, tmp_path, out, monkeypatch):
    def full_disk(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(files, "save_file", full_disk)
    with pytest.raises(OSError, match="No space left"):
        export.run(Options(run=low_rank[0], out=out, lora=alone))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("run/config.json", "config.json"),
        ("run/checkpoints", "has no checkpoints"),
        ("run/checkpoints/1", "has no complete checkpoint"),
        ("model", "give --model"),
    ],
)
def test_an_incomplete_run_is_one_line_and_exit_code_2(broken, said, low_rank, tmp_path, out, capsys):
    run, _ = low_rank
    (tmp_path / "model").mkdir()
    settings = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(settings | {"model": str(tmp_path / "model")}))
    (tmp_path / broken).rename(tmp_path / "elsewhere")
    with pytest.raises(SystemExit) as stop:
        cli_main.main(["export", "--run", str(run), "--out", str(out)])
    err = capsys.readouterr().err
    assert stop.value.code == 2
    assert said in err
    assert err.count("\n") == 1
    assert not out.exists()


def test_an_existing_folder_is_not_overwritten(tmp_path):
    with pytest.raises(ValueError, match="exists; choose a new folder"):
        export.run(Options(run=tmp_path, out=tmp_path))
