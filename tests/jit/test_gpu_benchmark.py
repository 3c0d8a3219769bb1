"""The GPU benchmark: its programs can be lowered for a GPU where there is none, and its results survive a cut."""

import contextlib
import dataclasses
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax._src.cudnn import fused_attention_stablehlo as cudnn

from benchmarks import programs, subjects, timing, training_step
from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu import bench, prepare, results
from benchmarks.gpu import sizes as all_sizes
from benchmarks.gpu.sizes import Sizes
from benchmarks.tables import Row
from prism_jax.cli.attention_paths import Networks
from prism_jax.models.text_encoder import TextConfig
from prism_jax.models.unet import UNetConfig

ATTENTION = "__cudnn$fmhaSoftmax"
BACKWARD = f"{ATTENTION}Backward"
# Heads of 40 and text of 77 tokens, as in SD 1.5.
SHALLOW = Networks(
    unet=UNetConfig(block_out_channels=(320,), layers_per_block=1, cross_attention=(True,), num_heads=(8,)),
    text_encoder=TextConfig(num_hidden_layers=1),
)
ROW = dict(setting="null_text", program="prism_jax", batch=2, images=2, remat=False, first=9.0, calls=((1.0, 0.5),))


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(cudnn, "check_cudnn_version", lambda: 91300)
    monkeypatch.setattr(cudnn, "check_compute_capability", lambda capability: True)
    monkeypatch.setattr(cudnn, "is_cuda_compute_capability_equal", lambda capability: False)


def lowered(sizes: Sizes, name: str) -> str:
    """The program for a GPU, as text."""
    program = all_sizes.table(sizes, gpu.STAGES)[name]()
    checks = [export.DisabledSafetyCheck.custom_call(call) for call in (ATTENTION, BACKWARD)]
    with contextlib.nullcontext() if program.mesh is None else jax.set_mesh(program.mesh):
        exported = export.export(program.function, platforms=["cuda"], disabled_checks=checks)
        return exported(*program.args, **program.static).mlir_module()


def check(text: str, *, calls: set[str], is_donated: bool) -> None:
    assert set(re.findall(r"custom_call @(__cudnn[\w$]+)", text)) == calls
    assert "f64" not in text
    assert not re.search(r"stablehlo\.convolution.*-> tensor<[\dx]+xf32", text)
    assert ("jax.buffer_donor" in text or "tf.aliasing_output" in text) is is_donated


@pytest.mark.parametrize("name", ["finetune, batch 16", "edit, batch 8"])  # the others: nightly, in full
def test_programs_can_be_lowered_for_a_gpu_in_half_precision(name, as_on_a_gpu):
    is_trained = name.startswith("finetune")
    calls = {ATTENTION, BACKWARD} if is_trained else {ATTENTION}
    check(lowered(Sizes(networks=SHALLOW, steps=2, inner_steps=2), name), calls=calls, is_donated=is_trained)


@pytest.mark.nightly
@pytest.mark.parametrize("name", all_sizes.table(Sizes(), gpu.STAGES))
def test_all_programs_can_be_lowered_for_a_gpu(name, as_on_a_gpu):
    calls = set() if name.startswith(("encode", "decode", "classifier", "image")) else {ATTENTION}
    if name.startswith(("finetune", "null_text")):
        calls |= {BACKWARD}
    check(lowered(Sizes(), name), calls=calls, is_donated=name.startswith(("finetune", "classifier", "image")))


def test_results_of_several_processes_are_merged(tmp_path):
    results.merge(tmp_path, {"programs": {"a": {"compile": 1.0}}})
    results.merge(tmp_path, {"programs": {"b": {"remark": "not compiled"}}, "cohort": {"images": 4}})
    results.merge(tmp_path, {"programs": {"a": {"peak": 2}}})
    found = json.loads((tmp_path / results.FILE).read_text())
    assert found["programs"] == {"a": {"compile": 1.0, "peak": 2}, "b": {"remark": "not compiled"}}
    assert found["cohort"] == {"images": 4}


def test_tables_are_made_of_what_there_is(tmp_path):
    assert "Stages" not in results.text({})
    results.merge(tmp_path, {"options": {"dtype": "bfloat16"}})
    results.add_row(tmp_path, "editing", Row(**ROW))
    assert "null_text" in results.text(results.read(tmp_path))
    results.merge(tmp_path, {"operations": {"null_text": (1e12, 5e11)}})
    results.merge(tmp_path, {"matrix peak": {"bfloat16": 4e12}, "stages": {"peers": {"status": "cut off"}}})
    results.add_row(tmp_path, "editing", Row(**ROW))
    results.add_row(tmp_path, "editing", Row(**ROW | {"program": "torch eager", "calls": ((2.0, 1.0),)}))
    text = results.text(results.read(tmp_path))
    assert "| 50%" in text
    assert "null_text: 2.00 times as fast as torch eager" in text
    assert "| peers | cut off" in text


def stage(folder: Path, command: str, seconds: int) -> gpu.Running:
    now, file = time.monotonic(), folder / f"{seconds}.log"
    with file.open("w") as log:
        process = subprocess.Popen([sys.executable, "-c", command], stderr=log, start_new_session=True)
    return gpu.Running(name=command, process=process, log=file, start=now, end=now + seconds)


def test_stages_that_fail_or_hang_end_alone(tmp_path):
    commands = {"pass": 30, "raise SystemExit('no memory')": 31, "import time; time.sleep(60)": 1}
    running = [stage(tmp_path, *item) for item in commands.items()]
    gpu.finish(tmp_path, running)
    rows = [results.read(tmp_path)["stages"][command] for command in commands]
    assert [row["status"] for row in rows] == ["done", "failed", "cut off"]
    assert rows[1]["reason"] == "exit code 1: no memory"
    assert not running


def test_no_repeat_begins_that_would_end_too_late():
    calls = []
    runs = {"prism_jax": lambda: calls.append("run") or time.sleep(0.05) or (1.0,)}
    facts = dict(setting="x", batch=1, images=1, remat=False)
    rows = list(timing.alternated(runs, 9, firsts={"prism_jax": lambda: None}, until=time.monotonic(), **facts))
    assert calls == ["run"]
    assert [len(row.calls) for row in rows] == [1]


def test_an_unknown_stage_is_refused():
    with pytest.raises(ValueError, match="stage 'all' is unknown; use model"):
        gpu.main(gpu.Options(out=Path("nowhere"), stages=("all",)))


def test_a_toy_has_all_that_the_full_size_has():
    names = lambda sizes: {name.partition(", batch")[0] for name in all_sizes.table(sizes, gpu.STAGES)}
    assert names(Sizes.toy()) == names(Sizes())
    assert jnp.dtype(Sizes().dtype) == jnp.bfloat16
    assert Sizes().networks.unet.sample_size * 8 == Sizes().size
    assert np.prod(Sizes().networks.unet.num_heads) == 8**4


def test_programs_that_are_compiled_before_are_those_that_run():
    made = training_step.of_run(Sizes.toy().classifier, training_step.one_device())
    ours = training_step.Training(dataclasses.replace(made, params=subjects.drawn_params(made.params)))
    args = (ours.state, ours._frozen, ours.batch, ours._key)
    with jax.set_mesh(made.mesh):
        assert programs.of_step(made).lower().as_text() == made.function.lower(*args).as_text()


def test_where_cudnn_fails_the_rest_goes_without_it(tmp_path, monkeypatch):
    options = bench.Options(stage="doctor", out=tmp_path, scratch=tmp_path, until=0.0, stages=("doctor",))
    work = bench.Bench(options=options, sizes=Sizes.toy())

    def fail(*_, **__):
        raise NotImplementedError("Unsupported sequence length Q 4096, KV 77.")

    with monkeypatch.context() as patch:
        patch.setattr(prepare.attention, "dot_product_attention", fail)
        prepare.attention_differences(work)
    found = results.read(tmp_path)
    assert found["without_cudnn"]
    assert "KV 77" in found["attention"]["text encoder"]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with work.without_cudnn():
        assert not prepare.attention.uses_cudnn(jnp.bfloat16, 40)
    assert prepare.attention.uses_cudnn(jnp.bfloat16, 40)
