"""Model cards: what they hold, and captions, images and edits as they say."""

import dataclasses
import json

import numpy as np
import pytest

from prism_jax import image_kind, model_card, pretrained
from prism_jax.data import plausibility, transforms
from prism_jax.data.captions.templates import PLAIN
from prism_jax.data.schema import Attributes
from prism_jax.evaluation import model_captions
from prism_jax.evaluation.single_edit import captions, outcome
from prism_jax.model_card import CARD_FILE, AutoencoderError, CaptionForm, EditDefaults, ModelCard
from tests.unit.test_dicom import dataset, encoded

FINDINGS = ("cardiomegaly", "effusion", "pacemaker", "support lines")
FORM = CaptionForm(findings=FINDINGS, always_stated=("age", "sex", "view", *FINDINGS), example="EXAMPLE")
WOMAN = Attributes(age=64, sex="F", view="PA")


def test_a_card_comes_back_from_its_json():
    card = ModelCard(
        edit=EditDefaults(steps=20, blend=0.3),
        captions=FORM,
        autoencoder=AutoencoderError(data="d", images=2, mean=0.1, p99=0.2),
        judges={"a": "b"},
    )
    assert model_card.parse(json.loads(json.dumps(card.to_json())), "card") == card


def test_what_a_card_does_not_say_has_its_default_and_what_nobody_knows_is_refused(tmp_path):
    assert model_card.read(tmp_path) is model_card.NO_CARD
    (tmp_path / CARD_FILE).write_text('{"edit": {"guidance": 2.0}, "captions": {"findings": ["edema"]}}')
    card = model_card.read(tmp_path)
    assert card.edit == dataclasses.replace(EditDefaults(), guidance=2.0)
    assert card.captions == CaptionForm(findings=("edema",))
    (tmp_path / CARD_FILE).write_text('{"edit": {"guidence": 2.0}}')
    with pytest.raises(ValueError, match="guidence"):
        model_card.read(tmp_path)


def test_the_shipped_model_states_the_defaults_that_were_measured():
    card = model_card.read(pretrained.folder("phantom"))
    assert (card.edit.method, card.edit.steps, card.edit.guidance) == ("edit_friendly", 20, 1.75)
    assert (card.edit.cross_steps, card.edit.self_steps, card.edit.blend) == (0.4, 0.4, None)
    assert card.captions.findings == FINDINGS
    assert PLAIN.describe(PLAIN.parse(card.example.prompt)) == card.example.prompt == card.captions.example
    for judge in card.judges.values():
        assert (pretrained.folder(judge) / "config.json").is_file()


def test_captions_take_the_words_and_the_order_of_the_model():
    stated = dataclasses.replace(WOMAN, findings={"ICD": True, "pleural effusion": False})
    attributes, assumed = model_captions.complete(stated, FORM, {"support_lines": 0.9, "cardiomegaly": 0.2})
    assert list(attributes.findings.items()) == [
        ("cardiomegaly", False), ("effusion", False), ("pacemaker", True), ("support lines", True)
    ]  # fmt: skip
    assert assumed == {"cardiomegaly": False, "support lines": True}


def test_what_cannot_be_filled_in_is_named_with_an_example():
    with pytest.raises(ValueError, match=r"does not state age and view; .*always state age, sex, view: 'EXAMPLE'"):
        model_captions.complete(Attributes(sex="F"), FORM)
    with pytest.raises(ValueError, match="no word for edema; its captions know cardiomegaly, effusion"):
        model_captions.complete(dataclasses.replace(WOMAN, findings={"edema": True}), FORM)


def test_a_caption_without_a_form_stays_as_it_is():
    stated = dataclasses.replace(WOMAN, findings={"edema": True, "pleural effusion": None})
    assert model_captions.complete(stated, CaptionForm()) == (stated, {})


def test_requests_become_captions_in_the_words_of_the_model():
    prompts = captions.from_requests(
        "Chest X-ray of a 64-year-old woman, PA view, with pacemaker", ["add pleural effusion"], FORM
    )
    assert prompts.source.endswith("with no cardiomegaly, no effusion, pacemaker, no support lines")
    assert prompts.target.endswith("with no cardiomegaly, effusion, pacemaker, no support lines")
    assert prompts.change == {"effusion": True}
    assert prompts.lines[-1] == "not stated in the prompt, assumed: no cardiomegaly, no effusion, no support lines"
    removed = captions.from_requests(
        "Chest X-ray of a 64-year-old woman, PA view, with pacemaker", ["remove effusion"], FORM, {"effusion": 0.1}
    )
    assert removed.source.endswith("with no cardiomegaly, effusion, pacemaker, no support lines")  # else nothing to do
    with pytest.raises(ValueError, match="the caption mentions sex, pacemaker, not effusion"):
        captions.from_requests("Chest X-ray of a woman, with pacemaker", ["remove effusion"], CaptionForm())
    sparse = CaptionForm(findings=("effusion", "edema"))
    added = captions.from_requests("Chest X-ray of a woman, with edema", ["add pleural effusion"], sparse)
    assert added.target == "Chest X-ray of a woman, with edema, effusion"


def test_an_edit_that_did_not_happen_and_one_that_was_not_asked_for_are_said():
    before = {"pacemaker": 0.98, "effusion": 0.9, "sex": 0.1, "age": 64.0}
    failed = outcome.effects({"pacemaker": False}, before, before | {"effusion": 0.3})
    assert outcome.succeeded(failed) is False
    said = "\n".join(outcome.report(failed))
    assert "pacemaker 0.98 -> 0.98, DID NOT CHANGE as asked" in said
    assert "CHANGED UNASKED: effusion 0.90 -> 0.30" in said
    assert "unchanged: male 0.10 -> 0.10" in said
    done = outcome.effects({"cardiac pacemaker": False, "sex": "M"}, before, before | {"pacemaker": 0.1, "sex": 0.9})
    assert outcome.succeeded(done) is True
    assert outcome.succeeded(outcome.effects({"edema": True}, before, before)) is None
    absent = before | {"pacemaker": 0.1}
    needless = outcome.effects({"pacemaker": False}, absent, absent)
    assert outcome.succeeded(needless) is None
    assert "pacemaker 0.10 -> 0.10, as asked before the edit already" in "\n".join(outcome.report(needless))


def test_a_caption_that_the_judges_see_otherwise_is_noted():
    stated = dataclasses.replace(WOMAN, findings={"effusion": False, "pleural effusion": None, "support lines": True})
    predicted = {"effusion": 0.98, "support_lines": 0.02, "sex": 0.9, "view": 0.5, "age": 20.0}
    notes = outcome.contradictions(stated, predicted)
    assert notes == ["effusion (stated absent, seen with probability 0.98)",
                     "support lines (stated present, seen with probability 0.02)"]  # fmt: skip


@pytest.mark.parametrize(("after", "is_done"), [(64.0, False), (50.0, False), (45.0, True), (30.0, True), (18.0, True)])
def test_an_age_has_changed_once_it_is_closer_to_the_new_one(after, is_done):
    assert outcome.effects({"age": 30.0}, {"age": 64.0}, {"age": after})["age"].succeeded is is_done


def test_lost_detail_is_0_of_a_copy_1_of_the_cells_means_and_blind_to_contrast():
    image = np.random.default_rng(0).integers(0, 120, (1, 16, 24))
    means = image.reshape(1, 2, 8, 3, 8).mean((2, 4))
    blurred = np.kron(means, np.ones((8, 8)))
    assert image_kind.lost_detail(image, image, 8) == 0
    np.testing.assert_allclose(image_kind.lost_detail(image, blurred, 8), 1.0)
    half = 0.5 * image + 0.5 * blurred
    np.testing.assert_allclose(image_kind.lost_detail(image, half, 8), 0.25)
    np.testing.assert_allclose(image_kind.lost_detail(2 * image, 2 * half, 8), 0.25)


def test_an_image_that_loses_more_detail_than_held_out_ones_is_of_another_kind():
    known = AutoencoderError(data="phantoms", images=256, mean=0.03, p99=0.06)
    assert image_kind.why_another_kind(0.1, known) is None
    assert image_kind.why_another_kind(0.5, None) is None
    few = dataclasses.replace(known, images=4, p99=0.04)
    assert image_kind.limit(few) == pytest.approx(3.5 * 0.03)
    assert "is 12.0% of the image's fine detail, the limit 10.5%" in image_kind.why_another_kind(0.12, known)


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (np.zeros((1, 1)), "1x1 pixels, the minimum is 32x32"),
        (np.arange(16 * 64).reshape(16, 64) % 256, "64x16 pixels"),
        (np.zeros((64, 64)), "nearly uniform"),
        (np.linspace(0, 255, 64 * 64).reshape(64, 64), None),
    ],
)
def test_images_without_information_cannot_be_chest_x_rays(pixels, said):
    file = transforms.decode_file(transforms.encode_png(pixels.astype(np.uint8)))
    reason = plausibility.why_no_radiograph(file)
    assert (reason is None) if said is None else (said in reason)


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"Modality": "MR"}, "modality MR"),
        ({"Modality": "CR", "BodyPartExamined": "EXTREMITY"}, "body part EXTREMITY, not CHEST"),
        ({"Modality": "DX", "BodyPartExamined": "CHEST"}, None),
        ({"Modality": "OT"}, None),
    ],
)
def test_a_dicom_header_of_something_else_is_believed(tags, said):
    pixels = np.linspace(0, 4095, 64 * 64).reshape(64, 64).astype(np.uint16)
    file = transforms.decode_file(encoded(dataset(pixels, bits=12, **tags)))
    reason = plausibility.why_no_radiograph(file)
    assert (reason is None) if said is None else (said in reason)


def test_a_value_that_no_judge_knows_is_not_judged():
    before = {"pacemaker": 0.98, "view": 0.01}
    lateral = outcome.effects({"view": "lateral"}, before, before)
    assert list(lateral) == ["pacemaker"]
    assert "no judge knows whether the edit did as asked" in outcome.report(lateral)
