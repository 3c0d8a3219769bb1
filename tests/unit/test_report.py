import base64
import dataclasses
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from prism_jax import atomic, report
from prism_jax.report import charts, encoding, figures
from prism_jax.report.films import changed_words
from prism_jax.report.tables import cell_text, number, p_value
from prism_jax.stats.intervals import Estimate

VOID = {"meta", "img", "input", "br", "hr", "link"}
HOSTILE = "chest <script>alert(1)</script> & 'x' \"y\""


class Page(HTMLParser):
    """What a page contains; fails on tags that do not nest."""

    def __init__(self, page: str):
        super().__init__()
        self.tags, self.texts, self._open = [], [], []
        self.feed(page)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        if self._open and self._open[-1] not in ("script", "style"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def images(self, alt: str) -> list[np.ndarray]:
        """Decoded pictures whose alternative text starts with `alt`."""
        sources = [a["src"] for tag, a in self.tags if tag == "img" and a["alt"].startswith(alt) and "src" in a]
        return [np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))) for uri in sources]


def grey(seed: int, size: int = 24) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size), dtype=np.uint8)


def row(seed: int, edit: str = "remove pacemaker", **changes) -> report.EditRow:
    fields = {
        "subject": f"Subject {seed}",
        "edit": edit,
        "source_prompt": f"chest x-ray number {seed} with pacemaker",
        "edited_prompt": f"chest x-ray number {seed} with no pacemaker",
        "original": grey(seed),
        "reconstruction": grey(seed + 100),
        "edited": grey(seed + 200),
        "truth": grey(seed + 300),
        "metrics": {"error inside": 12.345},
    }
    return report.EditRow(**(fields | changes))


@pytest.fixture(scope="module")
def full() -> report.Report:
    good = Estimate(value=0.9, low=0.85, high=0.97, count=64)
    table = report.Table(
        title="Truth",
        columns=("Edit", report.Column(name="closer", unit="%"), "note"),
        rows=(
            ("remove pacemaker", report.Check(estimate=good, at_least=0.8), None),
            ("remove effusion", report.Check(estimate=good, at_least=0.95), "text"),
        ),
    )
    steps = np.arange(60)
    return report.Report(
        title="Demo & more",
        summary="A summary.",
        headline=(("31 dB", "of fidelity"),),
        subjects=(row(1, mask=grey(9) > 128), row(2), row(3, "remove effusion", source_prompt=HOSTILE)),
        samples=(report.Sample(image=grey(5), caption="a caption of a sample"),),
        curves=(report.Curve(title="Loss", lines={"</script>loss": (steps, 1 / (1 + steps))}),),
        tables=(table,),
        settings={"prompt": HOSTILE, "steps": 3},
        versions={"jax": "0.10"},
    )


@pytest.fixture(scope="module")
def page(full) -> str:
    return report.render(full)


def test_nothing_in_the_page_points_outside(page):
    for tag, attributes in Page(page).tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "video")
        for name in ("src", "href", "action", "srcset", "data"):
            assert attributes.get(name, "#").startswith(("data:", "#")), (tag, name)
    assert "default-src 'none'" in page
    library = max(re.findall(r"<script>.*?</script>", page, re.DOTALL), key=len)
    assert not re.search(r"https?://|@import|url\(", page.replace(library, ""))


def test_every_row_sample_and_number_is_in_the_page(page, full):
    found = Page(page)
    for words in ("Subject 1", "Subject 2", "Subject 3", "a caption of a sample", "Demo & more", "0.10"):
        assert words in found.text
    assert "1 of 2 targets met" in found.text
    assert "90.0 85.0 to 97.0 n = 64 met ≥ 80" in found.text
    assert "missed ≥ 95" in found.text
    np.testing.assert_array_equal(found.images("Original"), [row.original for row in full.subjects])
    np.testing.assert_array_equal(found.images("True"), [row.truth for row in full.subjects])
    np.testing.assert_array_equal(found.images("Edited X-ray: remove effusion"), [full.subjects[2].edited])


def test_text_of_the_report_cannot_become_markup(page):
    found = Page(page)  # a "</script>" let through would also break the nesting
    assert "<script>alert(1)" not in page
    assert found.text.count("alert(1)") == 2  # the prompt and the settings show it as text


def test_without_a_truth_there_is_no_column_for_it():
    subject = row(1, truth=None)
    without = Page(report.render(report.Report(title="t", summary="s", subjects=(subject,))))
    assert "True counterfactual" not in without.text
    assert ("div", {"class": "films", "style": "--films: 5"}) in without.tags


def test_the_chart_library_is_embedded_only_for_charts(page, full):
    assert len(report.render(dataclasses.replace(full, curves=()))) < 100_000 < 4_000_000 < len(page)


def test_bars_and_matrices_are_drawn_with_their_notes():
    bars = report.Bars(title="Ages", categories=("0 to 9", "</script>"), y={"men": (1, 2)})
    values = np.array([[np.nan, 0.5], [-0.25, np.nan]])
    matrix = report.Matrix(title="Links", names=("a", "b"), values=values, note="A note on links.")
    page = report.render(report.Report(title="t", summary="s", charts=(bars, matrix)))
    found = Page(page)
    assert {"Ages", "Links", "A note on links.", "Charts"} <= set(found.texts)
    first, second = (json.loads(drawn) for drawn in re.findall(r'<script type="application/json">(.*?)</script>', page))
    assert first["data"][0]["y"] == [1, 2]
    assert first["data"][0]["x"][1] == "</script>"
    (heat,) = second["data"]
    assert heat["z"] == [[None, 0.5], [-0.25, None]]
    assert heat["text"] == [["", "0.50"], ["-0.25", ""]]
    assert (heat["zmin"], heat["zmax"]) == (-0.5, 0.5)


def test_counts_are_coloured_by_order_of_magnitude():
    counts = report.Matrix(title="t", names=("a", "b"), values=np.array([[1000, 0], [0, 9]]), is_count=True)
    (heat,) = json.loads(charts.chart_json(counts))["data"]
    assert heat["text"] == [["1,000", "0"], ["0", "9"]]
    np.testing.assert_allclose(heat["z"], np.log10([[1001, 1], [1, 10]]))


def test_the_parts_of_every_page_come_in_one_order(full):
    notes = (report.Notes(title="Findings", sentences=("A finding.",)), report.Notes(title="Doubts", sentences=()))
    strip = report.Strip(title="7", images=(report.Sample(image=grey(1), caption="a"),))
    all_parts = dataclasses.replace(full, notes=notes, strips=(strip,), look_first=("Look here.",), notice="Careful.")
    page = Page(report.render(all_parts))
    order = [attributes["id"] for tag, attributes in page.tags if tag == "section" and "id" in attributes]
    assert order == ["notes-1", "notes-2", "numbers", "charts", "edit-1", "edit-2", "strips", "samples", "settings"]
    linked = [attributes["href"][1:] for tag, attributes in page.tags if tag == "a" and "href" in attributes]
    assert [name for name in linked if name in order] == ["numbers", *order]  # the tile of targets, then the contents
    assert "What to look at first Look here." in page.text
    assert "Doubts None." in page.text
    assert "Careful." in page.text


def test_a_saved_report_has_the_settings_of_its_run_and_the_versions(tmp_path, full):
    (tmp_path / "config.json").write_text('{"guidance": 7.25}')
    page = report.save(dataclasses.replace(full, settings={}, versions={}), tmp_path)
    assert "7.25" in Page(page.read_text(encoding="utf-8")).text
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "config.json", "metrics.csv", "metrics.json", "report.html"
    ]  # fmt: skip


def test_many_pictures_are_embedded_small(full, monkeypatch):
    monkeypatch.setattr(encoding, "LOSSLESS_PIXELS", 100)
    many = report.render(full)
    assert "data:image/jpeg" in many
    assert "embedded as JPEG" in Page(many).text


def test_a_page_that_fails_leaves_the_old_one(tmp_path, full, monkeypatch):
    path = tmp_path / "new" / "report.html"
    report.write(full, path)
    assert path.read_text(encoding="utf-8") == report.render(full)
    monkeypatch.setattr(atomic.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        report.write(dataclasses.replace(full, title="other"), path)
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]
    assert "Demo" in path.read_text(encoding="utf-8")


def test_difference_is_red_where_denser_and_blue_where_less():
    before = np.array([[100, 100, 100, 100]], np.uint8)
    after = np.array([[100, 255, 0, 132]], np.uint8)
    same, denser, less, half = figures.difference_image(before, after)[0]
    np.testing.assert_array_equal(same, [50, 50, 50])  # anatomy only, dimmed
    np.testing.assert_array_equal(denser, figures.DENSER)
    np.testing.assert_array_equal(less, figures.LESS_DENSE)
    np.testing.assert_allclose(half, 0.5 * np.array(figures.DENSER) + 25, atol=1)


def test_difference_of_pictures_in_other_formats_is_refused():
    with pytest.raises(ValueError, match=r"after is float32 \(4, 4\)"):
        figures.difference_image(np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.float32))


def test_attention_is_shown_from_its_least_to_its_largest_and_says_its_contrast():
    image = np.full((2, 2), 100, np.uint8)
    shown = figures.attention_image(image, np.array([[0.2, 0.6], [0.2, 0.2]]))
    np.testing.assert_array_equal(shown[0, 0], [50, 50, 50])
    np.testing.assert_allclose(shown[0, 1], 0.85 * np.array(figures.ATTENTION) + 0.15 * 50, atol=1)
    assert figures.contrast(np.array([[0.2, 0.6], [0.2, 0.2]])) == pytest.approx(2.0)
    assert figures.contrast(np.ones((2, 2))) == 1.0


def test_rows_that_were_chosen_say_so_and_words_are_struck_out_or_bold():
    maps = tuple(
        report.WordMap(word=word, map=np.eye(3), image=grey(1), is_edited=is_edited, is_changed=True)
        for word, is_edited in (("old", False), ("fresh", True))
    )
    rows = (row(1, words=maps), row(2, rank="best of 9 by error"))
    page = Page(report.render(report.Report(title="t", summary="s", subjects=rows)))
    kinds = [a["class"] for tag, a in page.tags if tag == "figure"]
    assert {"film film-word-gone", "film film-word-new", "film film-fade"} <= set(kinds)
    assert "1 subject drawn at random" in page.text
    assert "Subject 2 best of 9 by error" in page.text
    assert "old 3.00×" in page.text


def test_strips_and_curves_of_several_runs_are_in_the_page():
    strip = report.Strip(title="subject 7", images=(report.Sample(image=grey(1), caption="run a"),), group="add it")
    lines = {"a": (np.arange(3), np.ones(3)), "b": (np.arange(2), np.zeros(2))}
    made = report.Report(title="t", summary="s", strips=(strip,), curves=(report.Curve(title="loss", lines=lines),))
    page = report.render(made)
    assert all(words in Page(page).text for words in ("subject 7", "run a", "add it"))
    figure = json.loads(re.search(r'<script type="application/json">(.*?)</script>', page)[1])
    assert [line["name"] for line in figure["data"]] == ["a", "b"]


def test_many_pictures_are_made_smaller_until_they_fit_and_too_many_are_refused(monkeypatch):
    pictures = [grey(i, 64) for i in range(20)]
    monkeypatch.setattr(encoding, "LOSSLESS_PIXELS", 0)
    full = sum(len(encoding.Encoding(is_lossless=False).encode(picture)) for picture in pictures)
    monkeypatch.setattr(encoding, "IMAGE_BYTES", full // 2)
    found = encoding.fitting(pictures)
    assert found.factor > 1
    assert sum(len(found.encode(picture)) for picture in pictures) <= full // 2
    assert f"divided by {found.factor}" in found.note
    assert encoding.fitting(pictures, taken=full // 4).factor > found.factor
    monkeypatch.setattr(encoding, "IMAGE_BYTES", 100)
    with pytest.raises(ValueError, match="20 images do not fit a page of 25 MB"):
        encoding.fitting(pictures)


def test_contact_sheet_holds_every_image_in_order():
    images = [np.full((5, 7), value, np.uint8) for value in (10, 20, 30)]
    sheet = figures.contact_sheet(images, columns=2)
    assert sheet.shape == (14, 18)
    assert [sheet[0, 0], sheet[0, 11], sheet[9, 0], sheet[9, 11], sheet[5, 0]] == [10, 20, 30, 0, 0]


def test_outline_surrounds_the_mask_and_leaves_its_middle_free():
    mask = np.zeros((16, 16), bool)
    mask[4:12, 4:12] = True
    line = np.asarray(figures.outline(mask))  # 32 pixels for one
    assert line.shape == (512, 512)
    assert line[128, 128:384].all()
    assert not line[132:380, 132:380].any()
    assert not line[:128].any()


def test_changed_words_give_the_prompts_back_and_mark_the_edit():
    source, edited = (
        "X-ray of a man, with effusion, pacemaker",
        "X-ray of a man, with no effusion, no pacemaker",
    )
    left, right = changed_words(source, edited)
    assert " ".join(part.text for part in left) == source
    assert " ".join(part.text for part in right) == edited
    assert [part.text for part in right if part.is_changed] == ["no", "no"]
    assert not any(part.is_changed for part in left)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (12.345, "", "12.3"),
        (-0.04567, "", "−0.0457"),
        (12345.6, "", "12,346"),
        (0.00001234, "", "1.23e-05"),
        (0.9047, "%", "90.5"),
        (1.0, "%", "100"),
        (4096, "", "4,096"),
        (0.0, "", "0"),
        (float("inf"), "", "∞"),
    ],
)
def test_numbers_are_written_with_three_digits(value, unit, text):
    assert number(value, unit) == text


@pytest.mark.parametrize(
    ("value", "text"), [(8.18e-07, "< 0.001"), (0.0124, "0.012"), (0.998, "1"), (float("nan"), None)]
)
def test_p_values_have_three_decimals(value, text):
    assert p_value(value) == text


def test_nothing_measured_meets_no_target():
    empty = Estimate(value=float("nan"), low=float("nan"), high=float("nan"), count=0)
    written = cell_text(report.Check(estimate=empty, at_most=1.0))
    assert (written.text, written.count, written.is_met) == ("–", "n = 0", False)


def test_smoothing_keeps_lines_straight_and_thinning_keeps_the_mean():
    x = np.arange(100.0)
    np.testing.assert_allclose(charts.smooth(np.full(9, 3.0), 4), 3.0)
    np.testing.assert_allclose(charts.smooth(2 * x, 11)[5:-5], 2 * x[5:-5])
    thinned, values = charts.thin(np.arange(10_000), np.arange(10_000) * 2.0)
    assert len(thinned) <= charts.MOST_POINTS
    np.testing.assert_allclose(values, 2 * thinned)


def test_a_curve_is_read_from_the_lines_of_a_log_that_have_it():
    records = [{"step": 1, "loss": 0.5}, {"step": 1, "grad_norm": 2.0}, {"step": 2, "loss": 0.25}]
    steps, losses = report.logged(records, "loss")
    assert (list(steps), list(losses)) == ([1, 2], [0.5, 0.25])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"edited": np.zeros((24, 24), np.float32)}, r"edited of subject Subject 1.* is float32 \(24, 24\)"),
        ({"truth": np.zeros((8, 8), np.uint8)}, r"truth of subject .* is uint8 \(8, 8\)"),
        ({"original": np.zeros((24, 24, 3), np.uint8)}, r"original of subject .* is uint8 \(24, 24, 3\)"),
        ({"mask": np.zeros((24, 24), np.uint8)}, r"mask of subject .*; it must be bool \(24, 24\)"),
    ],
)
def test_pictures_in_other_formats_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        row(1, **changes)


def test_ragged_tables_and_curves_are_refused():
    with pytest.raises(ValueError, match="has 2 columns, row 'a' 1 cells"):
        report.Table(title="t", columns=("x", "y"), rows=(("a",),))
    with pytest.raises(ValueError, match="has 3 points in x of 'loss', but 2 in y"):
        report.Curve(title="t", lines={"loss": (np.arange(3), np.arange(2))})


def test_charts_whose_numbers_do_not_fit_their_names_are_refused():
    with pytest.raises(ValueError, match=r"bars 't' have 2 categories, but in y \{'n': 1\}"):
        report.Bars(title="t", categories=("a", "b"), y={"n": (1,)})
    with pytest.raises(ValueError, match=r"matrix 't' has 2 names, but values \(2, 3\)"):
        report.Matrix(title="t", names=("a", "b"), values=np.zeros((2, 3)))


def test_versions_name_the_packages_and_the_devices():
    found = report.versions()
    assert {"jax", "flax", "numpy", "python", "platform", "devices"} <= found.keys()
    assert "cpu" in found["devices"]
