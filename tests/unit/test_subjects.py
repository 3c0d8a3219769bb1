"""Where a cohort's images come from, and which of them are edited."""

import dataclasses

import pytest

from prism_jax.data.captions.templates import PRISM
from prism_jax.evaluation.edits import EditSpec
from prism_jax.evaluation.subjects import Images, choose, drawn, images_of
from prism_jax.model_card import CaptionForm

PROMPT = "Chest X-ray of a 63-year-old man, AP view, with"


def listed(folder, *lines: str) -> Images:
    (folder / "images.csv").write_text("\n".join(lines) + "\n")
    return images_of(folder / "images.csv", "test")


@pytest.fixture
def eight(tmp_path) -> Images:
    """Images whose even ones have a pacemaker and whose last four an effusion."""
    said = lambda i: f"{'' if i % 2 == 0 else 'no '}pacemaker, {'' if i > 3 else 'no '}effusion"
    return listed(tmp_path, "path,prompt", *(f'{i}.png,"{PROMPT} {said(i)}"' for i in range(8)))


def test_the_first_subjects_are_chosen_for_each_change(eight):
    edits = [EditSpec(edit="remove pacemaker"), EditSpec(edit="remove effusion")]
    names = lambda count: {subject.index: subject.edits for subject in choose(eight, edits, count)}
    assert names(2) == {0: (0,), 2: (0,), 4: (1,), 5: (1,)}
    assert names(None) == {0: (0,), 2: (0,), 4: (0, 1), 5: (1,), 6: (0, 1), 7: (1,)}


def test_a_subject_may_be_used_once(eight):
    edits = [EditSpec(edit="remove pacemaker"), EditSpec(edit="remove effusion")]
    names = lambda count: {subject.index: subject.edits for subject in choose(eight, edits, count, once=True)}
    assert names(2) == {0: (0,), 2: (0,), 4: (1,), 5: (1,)}
    assert names(3) == {0: (0,), 2: (0,), 4: (1,), 5: (1,), 6: (0,), 7: (1,)}  # 4 and 6 have both


def test_a_change_that_fits_nobody_is_refused(eight):
    edits = [EditSpec(edit="remove pacemaker"), EditSpec(edit="set view AP"), EditSpec(edit="add edema")]
    with pytest.raises(ValueError, match="no image for the edit 'set view to AP': none of 8 captions states") as error:
        choose(eight, edits, 1)
    assert "another view (8 state view at all)" in str(error.value)
    assert "edit 'add edema': none of 8 captions states edema absent (0 state edema at all)" in str(error.value)


def test_placebos_are_made_of_every_subject_that_is_edited(eight):
    edits = [EditSpec(edit="repeat the caption"), EditSpec(edit="remove pacemaker"), EditSpec(edit="say effusion")]
    chosen = choose(eight, edits[:2], 3)
    assert {subject.index: subject.edits for subject in chosen} == {0: (1, 0), 2: (1, 0), 4: (1, 0)}
    with pytest.raises(ValueError, match="repeat the caption: only negative controls; add at least"):
        choose(eight, edits[:1], 3)
    with pytest.raises(ValueError, match="edit 'say effusion': every caption contains these words already"):
        choose(eight, edits, 3)  # every caption has an effusion in it


def test_captions_of_a_csv_are_completed_as_the_model_knows_them_and_that_is_said(tmp_path, capsys):
    (tmp_path / "images.csv").write_text(f'path,prompt\na.png,"{PROMPT} pleural effusion, pacemaker"\n')
    form = CaptionForm(findings=("effusion", "pacemaker", "support lines"), always_stated=("age", "support lines"))
    subject = images_of(tmp_path / "images.csv", "test", form=form).subject(0)
    assert subject.prompt == f"{PROMPT} effusion, pacemaker, no support lines"
    assert "assumed absent where the caption does not state it: support lines (1 captions)" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"images\.csv, line 2: the caption does not state race"):
        images_of(tmp_path / "images.csv", "test", form=dataclasses.replace(form, always_stated=("race",)))


def test_a_csv_names_files_beside_it(tmp_path):
    images = listed(tmp_path, "id,patient,path,prompt", f'a,p1,deep/x.png,"{PROMPT} effusion"')
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "x.png").write_bytes(b"picture")
    assert images.read(0) == b"picture"
    subject = images.subject(0)
    assert (subject.id, subject.patient, subject.number, subject.prompt) == ("a", "p1", -1, f"{PROMPT} effusion")
    plain = listed(tmp_path, "path,prompt", f'deep/x.png,"{PROMPT} effusion"').subject(0)
    assert dataclasses.replace(plain, id="a", patient="p1") == subject
    assert plain.id == "deep-x.png"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            ["path,prompt,label", f'a.png,"{PROMPT} effusion",1'],
            r"missing columns \[\], unknown columns \['label'\]; use path",
        ),
        (["path,caption", "a.png,x"], r"missing columns \['prompt'\], unknown columns \['caption'\]"),
        (["path,prompt", f'a.png,"{PROMPT} effusion"', "b.png,lungs"], "line 3: .*lungs"),
        (
            ["path,prompt,id", f'a.png,"{PROMPT} effusion",1', f'b.png,"{PROMPT} effusion",1'],
            "line 3: id '1' is also in line 2",
        ),
        (["path,prompt,id", f'a.png,"{PROMPT} effusion",../x'], "line 2: id '../x' is not a valid file name"),
    ],
)
def test_a_csv_that_does_not_fit_is_refused_with_the_line(lines, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        listed(tmp_path, *lines)


def test_a_missing_csv_says_what_belongs_in_it(tmp_path):
    with pytest.raises(ValueError, match="is missing; give a CSV with the columns path, prompt, id, patient"):
        images_of(tmp_path / "none.csv", "test")


def test_subjects_and_edits_are_worded_as_the_model_was_trained(tmp_path):
    lines = ["path,prompt", "0.png,Chest X-ray showing Cardiomegaly", "1.png,Chest X-ray"]
    (tmp_path / "images.csv").write_text("\n".join(lines) + "\n")
    subject = images_of(tmp_path / "images.csv", "test", PRISM).subject(0)
    assert subject.prompt == "Chest X-ray showing Cardiomegaly"
    edit = EditSpec(edit="remove cardiomegaly", blend=None).edit_of(subject.attributes, subject.wording)
    assert edit.prompt == "Chest X-ray"
    with pytest.raises(ValueError, match=r"set age to 40: captions worded .* do not say it"):
        EditSpec(edit="set age 40", blend=None).edit_of(subject.attributes, subject.wording)


def test_subjects_are_drawn_over_patients_before_anybody_comes_twice():
    patients = [f"p{i // 5}" for i in range(20)]
    shown = drawn(patients, 6)
    assert len({patients[i] for i in shown[:4]}) == 4  # there are four patients
    assert len(set(shown)) == 6
    assert drawn(patients, 6) == shown != sorted(shown)
    assert sorted(drawn(patients, 99)) == list(range(20))
