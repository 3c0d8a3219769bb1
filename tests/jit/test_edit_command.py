"""`prism edit`: what it hands to the library, what it writes, and what it refuses before slow work."""

import json
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pydicom
import pytest
from PIL import Image

from prism_jax import editing
from prism_jax.cli import main as cli_main
from prism_jax.data.dicom import read as dicom_read
from prism_jax.model_card import CARD_FILE, AutoencoderError, CaptionForm, EditDefaults, ModelCard
from prism_jax.stable_diffusion import StableDiffusion
from tests.unit import test_dicom
from tests.unit.test_alignment import letters

SIZE = 64
PROMPTS = ["--prompt", "X-ray with pacemaker", "--edit", "X-ray with no pacemaker"]
CAPTION = "Chest X-ray of a 63-year-old man, AP view, with no effusion, pacemaker"
FILES = ["before_after.png", "difference.png", "edit.png", "original.png", "reconstruction.png", "result.json"]


@pytest.fixture
def xray(tmp_path):
    """A grey ramp as a PNG file, higher than wide."""
    file = tmp_path / "xray.png"
    Image.fromarray(np.linspace(0, 255, 96 * 80).reshape(96, 80).astype(np.uint8)).save(file)
    return file


@pytest.fixture
def model(tmp_path, monkeypatch):
    """A model that reconstructs exactly and whose every edit brightens the image; calls are kept."""
    calls = {}

    def invert(sd, latents, prompts, **options):
        calls.update(prompts=prompts, options=options)
        return SimpleNamespace(trajectory=latents[None])

    def edit(sd, inversion, edits):
        calls["edit"] = edits[0][0]
        latents = inversion.trajectory[0]
        return SimpleNamespace(latents=jnp.stack([latents, latents + 0.5], axis=1))

    networks = dict(encode_image=jnp.asarray, decode=lambda latents: calls.get("decode", jnp.asarray)(latents))
    sd = SimpleNamespace(
        size=SIZE, tokenizer=letters, vae=SimpleNamespace(config=SimpleNamespace(factor=8)), **networks
    )
    monkeypatch.setattr(StableDiffusion, "from_pretrained", lambda folder, dtype: sd)
    monkeypatch.setattr(editing, "invert", invert)
    monkeypatch.setattr(editing, "edit", edit)
    (tmp_path / "model").mkdir()
    return calls


def pixels(file) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image)


def run(*args) -> int:
    with pytest.raises(SystemExit) as stop:
        cli_main.main(["edit", *map(str, args)])
    return stop.value.code


def test_five_files_appear_together_and_tell_what_was_done(xray, model, tmp_path):
    out = tmp_path / "new" / "out"
    options = ["--model", tmp_path / "model", "--out", out, "--steps", 7, "--reweight", "no", 2.0]
    blend = ["--blend-words", "pacemaker", "--edit-words", "no", "pacemaker"]
    assert run(xray, *PROMPTS, *options, *blend) == 0
    assert sorted(path.name for path in out.iterdir()) == FILES
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert pixels(out / "edit.png").shape == (SIZE, SIZE)
    result = json.loads((out / "result.json").read_text())
    assert result["settings"]["steps"] == 7
    assert result["metrics"]["edit"]["l1"] == pytest.approx(0.5)
    assert result["metrics"]["reconstruction"]["ssim"] == pytest.approx(1.0, abs=1e-4)
    assert result["versions"]["jax"]
    assert set(result["seconds"]) == {"load", "invert", "edit", "decode"}


def test_options_reach_inversion_and_edit(xray, model, tmp_path):
    prompts = [*PROMPTS[:2], "--edit", "X-ray without pacemaker"]
    options = ["--model", tmp_path / "model", "--out", tmp_path / "out", "--method", "ddim", "--kind", "replace"]
    assert run(xray, *prompts, *options, "--cross-steps", 0.4, "--reweight", "without", 2.0) == 0
    assert model["prompts"] == ["X-ray with pacemaker"]
    assert model["options"]["method"] == "ddim"
    edit = model["edit"]
    assert (edit.prompt, edit.kind, edit.cross_steps) == ("X-ray without pacemaker", "replace", 0.4)
    assert edit.reweight == {"without": 2.0}
    assert edit.blend is None


@pytest.fixture
def card(tmp_path, model):
    """A card in the folder of the model."""
    form = CaptionForm(
        findings=("effusion", "pacemaker", "support lines"), always_stated=("view", "effusion", "support lines")
    )
    known = AutoencoderError(data="ramps", images=9, mean=0.01, p99=0.02)
    card = ModelCard(edit=EditDefaults(steps=3, guidance=2.0, cross_steps=0.25), captions=form, autoencoder=known)
    (tmp_path / "model" / CARD_FILE).write_text(json.dumps(card.to_json()))
    return card


def test_the_model_card_gives_defaults_words_and_what_a_caption_lacks(xray, model, card, tmp_path, capsys):
    prompt = ["--prompt", "Chest X-ray of a man, AP view, with pacer, pleural effusion"]
    options = ["--model", tmp_path / "model", "--out", tmp_path / "out", "--guidance", "4"]
    assert run(xray, *prompt, "--remove", "pacemaker", *options) == 0
    assert model["prompts"] == ["Chest X-ray of a man, AP view, with effusion, pacemaker, no support lines"]
    assert (model["options"]["steps"], model["options"]["guidance"]) == (3, 4.0)
    assert (model["edit"].cross_steps, model["edit"].self_steps) == (0.25, 0.5)
    assert "not stated in the prompt, assumed: no support lines" in capsys.readouterr().out
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (result["assumed"], result["settings"]["steps"]) == ("no support lines", 3)


def test_an_image_of_another_kind_is_refused_before_inverting(xray, model, card, tmp_path, capsys):
    options = ["--prompt", "Chest X-ray of a man, AP view, with pacemaker", "--remove", "pacemaker"]
    options += ["--model", tmp_path / "model", "--out", tmp_path / "out"]
    model["decode"] = jnp.zeros_like
    assert run(xray, *options) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "not of the kind this model was trained on (ramps)" in error
    assert "or --any-image to edit it all the same" in error
    assert set(model) == {"decode"}
    assert not (tmp_path / "out").exists()
    assert run(xray, *options, "--any-image") == 0


def test_an_image_without_information_is_refused_before_the_model_is_loaded(model, tmp_path, capsys):
    Image.new("L", (64, 64)).save(tmp_path / "black.png")
    options = [*PROMPTS, "--model", tmp_path / "model", "--out", tmp_path / "out"]
    assert run(tmp_path / "black.png", *options) == 2
    assert "black.png cannot be a chest X-ray: it is nearly uniform" in capsys.readouterr().err
    assert run(tmp_path / "black.png", *options, "--any-image") == 0


def test_an_image_and_its_caption_are_asked_for(xray, model, card, tmp_path, capsys):
    options = ["--model", tmp_path / "model", "--out", tmp_path / "out", "--remove", "pacemaker"]
    for given, said in (
        ([], "give one image file to edit, or --example"),
        ([xray, "--example"], "give one image file to edit, or --example"),
        ([xray], "--prompt is missing: the caption of the image, for example 'Chest X-ray of"),
        (["--example"], "ships without an example"),
        ([xray, "--prompt", "Chest X-ray of a man, with pacemaker"], "does not state view"),
    ):
        assert run(*given, *options) == 2
        assert said in capsys.readouterr().err
    assert not model


def test_wishes_become_a_caption_and_its_words(xray, model, tmp_path, capsys):
    wishes = ["--remove", "ICD", "--add", "effusion", "--add", "enlarged heart", "--set", "age=40"]
    options = ["--model", tmp_path / "model", "--out", tmp_path / "out", "--weight", 2.0, "--blend", 0.4]
    assert run(xray, "--prompt", CAPTION, *wishes, *options) == 0
    edit, target = model["edit"], "Chest X-ray of a 40-year-old man, AP view, with effusion, no pacemaker, cardiomegaly"
    assert (model["prompts"], edit.prompt) == ([CAPTION], target)
    assert edit.blend.words == ("63-year-old", "effusion", "pacemaker")
    assert edit.blend.edit_words == ("40-year-old", "effusion", "pacemaker", "cardiomegaly")
    assert edit.blend.threshold == 0.4
    assert edit.reweight == dict.fromkeys(("40-year-old", "effusion", "no pacemaker", "cardiomegaly"), 2.0)
    said = capsys.readouterr()
    assert f"to:   {target}" in said.out
    assert "before_after.png" in said.out
    stages = [line.split(" s  ")[1].split()[0] for line in said.err.splitlines() if " s  " in line]
    assert stages == ["loading", "inverting", "editing", "decoding"]
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (result["edited_prompt"], result["settings"]["set"]) == (target, ["age=40"])


def test_masks_lie_in_the_frame_as_the_image_does(xray, model, tmp_path):
    left = np.zeros((96, 80), np.uint8)
    left[:, :40] = 255
    Image.fromarray(left).save(tmp_path / "left.png")
    options = ["--model", tmp_path / "model", "--out", tmp_path / "out", "--mask", tmp_path / "left.png"]
    assert run(xray, *PROMPTS, *options) == 0
    (rows, columns), mask = np.nonzero(model["edit"].mask), model["edit"].mask
    assert mask.shape == (SIZE, SIZE)
    black = (SIZE - SIZE * 80 // 96) // 2  # 96x80 pixels stand 64 high and 53 wide in the frame
    assert (rows.min(), rows.max()) == (0, SIZE - 1)
    np.testing.assert_allclose((columns.min(), columns.max()), (black, SIZE // 2), atol=1)
    assert model["edit"].keep is None


def test_a_mask_of_another_size_is_refused(xray, model, tmp_path, capsys):
    Image.new("L", (80, 90)).save(tmp_path / "small.png")
    options = ["--model", tmp_path / "model", "--out", tmp_path / "out", "--keep", tmp_path / "small.png"]
    assert run(xray, *PROMPTS, *options) == 2
    assert "small.png is 80x90 pixels, the image 80x96; draw masks on the image" in capsys.readouterr().err
    assert "edit" not in model


def test_words_by_hand_go_before_those_that_follow(xray, model, tmp_path):
    options = ["--model", tmp_path / "model", "--out", tmp_path / "out", "--weight", 2.0, "--reweight", "AP", 3.0]
    blend = ["--blend-words", "effusion", "--edit-words", "effusion"]
    assert run(xray, "--prompt", CAPTION, "--drop", "age", "--remove", "pacemaker", *options, *blend) == 0
    assert model["edit"].prompt == "Chest X-ray of a man, AP view, with no effusion, no pacemaker"
    assert model["edit"].reweight == {"no pacemaker": 2.0, "AP": 3.0}
    assert model["edit"].blend == editing.Blend(words=("effusion",), edit_words=("effusion",))


@pytest.mark.parametrize(
    ("wishes", "said"),
    [
        ([], "either by --edit CAPTION or by --remove"),
        (["--edit", "X-ray", "--remove", "pacemaker"], "either by --edit CAPTION or by --remove"),
        (["--remove", "edema"], "the caption mentions age, sex, view, effusion, pacemaker, not edema"),
        (["--add", "pacemaker"], "nothing to change"),
        (["--set", "age=400"], "between 0 and 120 years, got '400'"),
        (["--prompt", "X-ray with pacemaker", "--remove", "pacemaker"], "for example 'Chest X-ray of"),
        (["--drop", "pacemaker", "--weight", "2"], "use weight 1"),
    ],
)
def test_wishes_that_make_no_sense_are_one_line(wishes, said, xray, model, tmp_path, capsys):
    prompt = [] if "--prompt" in wishes else ["--prompt", CAPTION]
    assert run(xray, *prompt, *wishes, "--model", tmp_path / "model", "--out", tmp_path / "out") == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_word_that_is_not_in_the_edit_is_refused_before_inverting(xray, model, tmp_path, capsys):
    options = ["--model", tmp_path / "model", "--out", tmp_path / "out", "--reweight", "edema", 2.0]
    assert run(xray, *PROMPTS, *options) == 2
    assert "'edema' is not in the prompt" in capsys.readouterr().err
    assert not model


def test_a_brighter_edit_is_red_in_the_difference(xray, model, tmp_path):
    assert run(xray, *PROMPTS, "--model", tmp_path / "model", "--out", tmp_path / "out") == 0
    red, _, blue = pixels(tmp_path / "out" / "difference.png").transpose(2, 0, 1).astype(int)
    assert (red - blue).mean() > 100


@pytest.fixture
def radiograph(tmp_path):
    """The same ramp as a DICOM file of 12 bits, with a patient."""
    values = np.linspace(0, 4095, 96 * 80).reshape(96, 80).astype(np.uint16)
    made = test_dicom.dataset(values, bits=12, PatientID="4711", PixelSpacing=["0.2", "0.2"], PatientSex="F")
    file = tmp_path / "xray.dcm"
    file.write_bytes(test_dicom.encoded(made))
    return file


@pytest.mark.parametrize("patient", ["", "4711"])
def test_a_dicom_image_is_edited_and_comes_back_as_one(patient, radiograph, xray, model, tmp_path, monkeypatch):
    parse, parsed = dicom_read.parse, []
    monkeypatch.setattr(dicom_read, "parse", lambda data: (parsed.append(data), parse(data))[1])
    model_and_out = ["--model", tmp_path / "model", "--out", tmp_path / "out"]
    options = ["--dicom-out", *(["--keep-patient"] if patient else [])]
    assert run(radiograph, *PROMPTS, *model_and_out, *options) == 0
    assert len(parsed) == 1  # pixels, tags and source of one reading
    original = pixels(tmp_path / "out" / "original.png")
    made = dicom_read.read((tmp_path / "out" / "edit.dcm").read_bytes())
    np.testing.assert_array_equal(made.pixels, pixels(tmp_path / "out" / "edit.png"))
    assert pydicom.dcmread(tmp_path / "out" / "edit.dcm").PatientID == patient
    assert made.tags.spacing == pytest.approx((0.2 * 96 / SIZE, 0.2 * 96 / SIZE))
    assert run(xray, *PROMPTS, *model_and_out[:2], "--out", tmp_path / "png") == 0
    assert np.abs(pixels(tmp_path / "png" / "original.png").astype(int) - original).max() <= 1


def test_any_image_can_become_dicom_but_only_dicom_has_a_patient(xray, model, tmp_path, capsys):
    options = ["--model", tmp_path / "model", "--out", tmp_path / "out", "--dicom-out"]
    assert run(xray, *PROMPTS, *options) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([*FILES, "edit.dcm"])
    assert run(xray, *PROMPTS, *options, "--overwrite", "--keep-patient") == 2
    assert "--keep-patient needs a DICOM image" in capsys.readouterr().err
    assert run(xray, *PROMPTS, *options[:-1], "--keep-patient") == 2
    assert "give --dicom-out too" in capsys.readouterr().err


def test_an_earlier_result_is_replaced_only_when_asked_for(xray, model, tmp_path, capsys):
    options = [*PROMPTS, "--model", tmp_path / "model", "--out", tmp_path / "out"]
    assert run(xray, *options, "--steps", 5) == 0
    model.clear()
    assert run(xray, *options, "--steps", 6) == 2
    assert "out holds an earlier result; name another folder, or give --overwrite" in capsys.readouterr().err
    assert not model
    assert run(xray, *options, "--steps", 6, "--overwrite") == 0
    assert json.loads((tmp_path / "out" / "result.json").read_text())["settings"]["steps"] == 6


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image": "absent.png"}, "absent.png"),
        ({"image": "notes.txt"}, "notes.txt"),
        ({"--model": "absent"}, "absent is neither a shipped model nor a folder"),
        ({"--size": "65"}, "use 64 or 72"),
        ({"--cross-steps": "1.5"}, "--cross-steps must be between 0 and 1, got 1.5"),
        ({"--guidance": "nan"}, "--guidance must be 0 or more, got nan"),
        ({"--steps": "0"}, "--steps must be 1 or more, got 0"),
        ({"--blend": "30"}, "--blend must be between 0 and 1, got 30.0"),
        ({"--blend-words": "pacemaker"}, "--edit-words"),
        ({"--out": "notes.txt"}, "is a file"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(change, said, xray, model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("not an image")
    before = sorted(tmp_path.rglob("*"))
    options = {"--model": "model", "--out": "out"} | change
    image = options.pop("image", xray)
    assert run(image, *PROMPTS, *(word for option in options.items() for word in option)) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
    assert not model


def test_an_edit_that_is_not_finite_is_an_error_and_leaves_nothing(xray, model, tmp_path, capsys):
    model["decode"] = lambda latents: latents * (jnp.nan if len(latents) == 2 else 1)
    assert run(xray, *PROMPTS, "--model", tmp_path / "model", "--out", tmp_path / "out", "--guidance", 1e9) == 1
    assert "the edit has values that are not finite, with guidance 1e+09" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_failure_while_writing_leaves_nothing(xray, model, tmp_path, monkeypatch, capsys):
    def full(self, *args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    before = sorted(tmp_path.iterdir())
    assert run(xray, *PROMPTS, "--model", tmp_path / "model", "--out", tmp_path / "out") == 2
    assert "No space left" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before
