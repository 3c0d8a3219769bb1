"""GANterfactual as a row of a comparison: which generator a picture goes through, and what the row refuses."""

import dataclasses
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest

from prism_jax.classifier import Classifier
from prism_jax.data import transforms
from prism_jax.data.captions.templates import PLAIN
from prism_jax.data.schema import Attributes
from prism_jax.evaluation.benchmark import ganterfactual, queries
from prism_jax.evaluation.benchmark import run as benchmark_run
from prism_jax.evaluation.benchmark.methods import Baseline, Translator
from prism_jax.evaluation.benchmark.run import BenchmarkRun
from prism_jax.evaluation.edits import EditSpec
from prism_jax.evaluation.judges import Judge
from prism_jax.evaluation.subjects import Subject, slug
from prism_jax.models.convnext import ConvNeXt
from prism_jax.models.cyclegan import Generators
from prism_jax.pixels import to_uint8
from prism_jax.stats.intervals import BootstrapConfig
from prism_jax.weights import cyclegan
from prism_jax.weights.files import fingerprint
from tests import tiny_configs
from tests.conftest import untrained

SIZE = 32
EDITS = "add cardiomegaly", "remove cardiomegaly", "add support lines", "remove support lines"
CHANGES = tuple(EditSpec(edit=edit) for edit in EDITS)
TARGETS = ("cardiomegaly", "support_lines", "sex")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Three classifiers, and generators of two attributes that were trained with the first."""
    made = tmp_path_factory.mktemp("models")
    judge = Classifier.of(
        untrained(ConvNeXt, dataclasses.replace(tiny_configs.convnext(), num_classes=3)), targets=TARGETS, size=SIZE
    )
    for scale in (1, 2, 3):
        judge.replace(temperature=jnp.full(3, float(scale))).save_pretrained(made / f"judge-{scale}")
    for name in ("cardiomegaly", "support_lines"):
        generators = untrained(Generators, tiny_configs.cyclegan(attribute=name, size=SIZE))
        generators.remove.conv_out.bias[...] = jnp.array([3.0])  # nearly white
        if name == "support_lines":
            generators.add.conv_out.bias[...] = jnp.array([-3.0])  # nearly black
        cyclegan.save(generators, made / name)
        about = {"classifier": fingerprint(made / "judge-1")}
        (made / name / "training.json").write_text(json.dumps(about))
    return made


def row(models, *names):
    return Translator(name="GANterfactual", models=tuple(str(models / name) for name in names or TARGETS[:2]))


def judges(models, *numbers):
    return tuple(Judge(name=str(n), folder=str(models / f"judge-{n}")) for n in numbers)


def known(i):
    """Of eight people every combination of the three findings."""
    findings = {name: bool(i >> k & 1) for k, name in enumerate(("cardiomegaly", "support_lines", "effusion"))}
    return Attributes(age=50.0, sex="F", view="PA", findings=findings)


@pytest.fixture(scope="module")
def wanted():
    """The queries of eight subjects: both attributes of each, in turn the one first and the other."""
    subjects = []
    for i in range(8):
        applies = [k for k, edit in enumerate(CHANGES) if edit.applies(known(i))]
        edits = tuple(applies if i % 2 else reversed(applies))
        about = dict(patient=str(i), number=-1, attributes=known(i), edits=edits)
        subjects.append(Subject(index=i, id=str(i), **about))
    return queries.queries_of(subjects, CHANGES, lambda index, size: None)


def test_each_ask_goes_through_the_generator_of_the_kind_that_it_wants(models, wanted):
    editor = ganterfactual.load(row(models), wanted)
    for query in wanted:
        attribute = query.edit.split(maxsplit=1)[1].replace(" ", "_")
        assert editor.way(query) == (attribute, query.edit.startswith("add"))
        assert editor.way(queries.back(query, query.target)) == (attribute, query.edit.startswith("remove"))


def test_with_nothing_to_change_a_picture_goes_through_the_generator_of_its_own_kind(models, wanted):
    editor = ganterfactual.load(row(models), wanted)
    for place in queries.firsts(wanted):
        query = wanted[place]
        attribute, is_wanted = editor.way(queries.null(query))
        assert attribute == query.edit.split(maxsplit=1)[1].replace(" ", "_")  # of the first edit of the subject
        assert is_wanted == query.subject.attributes.findings[attribute]
        assert is_wanted == query.edit.startswith("remove")


def test_a_batch_of_mixed_asks_is_what_each_generator_makes_of_its_own(models, wanted):
    editor = ganterfactual.load(row(models), wanted)
    assert editor.size == SIZE
    assert editor.expected(wanted) == [query.target for query in wanted]
    batch = [next(query for query in wanted if query.edit == edit) for edit in EDITS]
    pictures = np.random.default_rng(0).integers(0, 256, (len(batch), SIZE, SIZE), np.uint8)
    made = editor.generate(pictures, batch)
    assert made.dtype == np.uint8
    ways = [editor.way(query) for query in batch]
    assert len(set(ways)) == 4
    for picture, one, (attribute, is_wanted) in zip(pictures, made, ways, strict=True):
        generators = cyclegan.load(models / attribute)
        x = jnp.full((4, SIZE, SIZE, 1), picture[..., None] / 127.5 - 1, jnp.float32)
        alone = ganterfactual._translated(generators.add if is_wanted else generators.remove, x)
        assert np.abs(to_uint8(np.asarray(alone)[0, ..., 0]).astype(int) - one).max() <= 1


def test_edits_that_a_row_was_not_trained_for_are_refused(models):
    check = lambda *edits: ganterfactual.check(
        row(models, "cardiomegaly"), [EditSpec(edit=edit) for edit in edits], judges(models, 2, 3)
    )
    check("add cardiomegaly", "remove an enlarged heart")  # a synonym
    for edit in ("remove effusion", "set age 80", "remove cardiomegaly, remove effusion", "drop cardiomegaly"):
        with pytest.raises(ValueError, match=f"trained to add or remove only cardiomegaly, .* cannot {edit[:8]}"):
            check("add cardiomegaly", edit)


def test_the_classifier_of_the_loss_is_no_judge(models):
    with pytest.raises(ValueError, match=r"judge 1 was in the training loss of .*cardiomegaly"):
        ganterfactual.check(row(models), CHANGES, judges(models, 2, 1))


def test_models_of_one_row_are_of_different_attributes_and_one_size(models, tmp_path):
    other = untrained(Generators, tiny_configs.cyclegan(attribute="effusion"))
    cyclegan.save(other, tmp_path / "other")
    with pytest.raises(ValueError, match=r"models are of \[16, 32\] pixels"):
        ganterfactual.check(row(models, "cardiomegaly", str(tmp_path / "other")), CHANGES[:1], judges(models, 2, 3))
    cyclegan.save(untrained(Generators, tiny_configs.cyclegan(attribute="Support lines", size=SIZE)), tmp_path / "same")
    with pytest.raises(ValueError, match="models are of support_lines, Support lines; name one of each"):
        ganterfactual.check(row(models, "support_lines", str(tmp_path / "same")), CHANGES[2:], judges(models, 2, 3))
    with pytest.raises(ValueError, match="name each folder once"):
        row(models, "cardiomegaly", "cardiomegaly")


def test_a_comparison_has_a_translator_beside_doing_nothing(models, tmp_path):
    lines = ["path,prompt,id,patient"]
    draw = np.random.default_rng(0)
    for i in range(8):
        (tmp_path / f"{i}.png").write_bytes(transforms.encode_png(draw.integers(0, 256, (SIZE, SIZE), np.uint8)))
        lines.append(f'{i}.png,"{PLAIN.describe(known(i))}",{i},p{i}')
    (tmp_path / "data.csv").write_text("\n".join(lines) + "\n")
    config = BenchmarkRun(
        run=str(tmp_path / "run"),
        data=str(tmp_path / "data.csv"),
        edits=CHANGES,
        size=SIZE,
        methods=(Baseline(), row(models)),
        judges=judges(models, 2, 3),
        batch_size=4,
        bootstrap=BootstrapConfig(resamples=20),
        shown=1,
    )
    benchmark_run.main(config)
    table = pq.read_table(Path(config.run) / "counterfactuals.parquet").to_pylist()
    mine = [line for line in table if line["method"] == "GANterfactual"]
    assert len(mine) == len(table) / 2 == 16
    assert min(line["composition"] for line in mine if line["composition"] is not None) > 0  # of untrained generators
    white = list((tmp_path / "run" / "methods" / slug("GANterfactual") / "edited" / "remove-cardiomegaly").iterdir())
    assert len(white) == 4
    assert np.mean([transforms.decode(picture.read_bytes()) for picture in white]) > 200
    with pytest.raises(ValueError, match="cannot remove effusion"):
        benchmark_run.check(dataclasses.replace(config, edits=(EditSpec(edit="remove effusion"),)))
