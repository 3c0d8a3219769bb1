"""Sections of reports, and cuts that end at a sentence."""

import pytest

from prism_jax.data.captions import radiology_reports

REPORT = """                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___ year old woman with ?pleural effusion

 FINDINGS: The lungs are clear.
 Heart size is normal.

 IMPRESSION:

 1. No acute process.  2. Stable 3.5 cm nodule, see Dr. ___ note.
 3. Tube at T. 4 level.
"""


def test_a_section_ends_where_the_next_heading_begins():
    assert radiology_reports.section(REPORT, "findings") == "The lungs are clear. Heart size is normal."
    assert radiology_reports.section(REPORT, "impression").startswith("1. No acute process. 2. Stable 3.5 cm nodule")
    assert radiology_reports.section(REPORT, "comparison") == ""


def test_sentences_lose_the_numbers_of_a_list_and_keep_those_of_a_measure():
    found = radiology_reports.sentences(radiology_reports.section(REPORT, "impression"))
    assert found[:2] == ["No acute process.", "Stable 3.5 cm nodule, see Dr. ___ note."]
    assert radiology_reports.sentences("") == []


@pytest.mark.parametrize("words", range(30))
def test_a_cut_is_the_longest_start_of_whole_sentences_that_fits(words):
    def fits(text: str) -> bool:
        return len(text.split()) <= words

    text = "One two three. Four five. Six seven eight nine. Ten."
    kept = radiology_reports.cut(text, fits)
    assert kept in ["", "One two three.", "One two three. Four five.", text[: -len(" Ten.")], text]
    assert fits(kept)
    assert kept == text or not fits(
        " ".join(radiology_reports.sentences(text)[: len(radiology_reports.sentences(kept)) + 1])
    )
