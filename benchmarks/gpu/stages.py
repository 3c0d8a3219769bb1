"""The stages of the GPU benchmark, each a process of its own: what they measure, and into which results.

    python -m benchmarks.gpu.stages NAME --out DIR --scratch DIR --until SECONDS --stages NAME ... [--rehearse]

`python -m benchmarks.gpu` starts them. `until` is by `time.monotonic`, which all processes share.
"""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import tyro

from benchmarks import agreement, editing, peer, subjects, timing, training, training_step
from benchmarks.gpu import bench as benches
from benchmarks.gpu import prepare, results
from benchmarks.gpu.bench import Bench, Options
from benchmarks.gpu.sizes import Editing, Sizes, name_of, of_editing
from prism_jax import entrypoint
from prism_jax.evaluation.counterfactuals import cohort as cohorts
from prism_jax.evaluation.counterfactuals import run as counterfactuals
from prism_jax.evaluation.counterfactuals.manifest import Manifest
from prism_jax.evaluation.counterfactuals.run import CounterfactualRun, Inversion
from prism_jax.evaluation.edits import EditSpec
from prism_jax.training.classifier.run import ClassifierRun
from prism_jax.training.image_mechanism.run import ImageMechanismRun


def finetune(bench: Bench) -> None:
    """The fine-tuning step with cached latents."""
    batches, peered = bench.sizes.training, len(bench.sizes.training_peered)
    with benches.beside(bench, "peer_training") as torch:  # its memory is free after that
        for batch in batches[:peered]:
            _finetune(bench, batch, torch)
    for batch in batches[peered:]:
        _finetune(bench, batch, None)


def _finetune(bench: Bench, batch: int, torch: peer.Peer | None) -> None:
    name, sizes, scratch = name_of("finetune", batch), bench.sizes, bench.options.scratch
    if not bench.compiled([name]):
        return bench.skip(name, "its program was not compiled")
    inputs, file = training_step.inputs(bench.sd, batch, sizes.size, is_encoded=True), scratch / "case.npz"
    made, is_first = training_step.finetuning(bench.sd, inputs), batch == sizes.training[0]
    if torch is not None:
        peer.write_training_case(bench.sd, inputs, inputs["latents"], file)
        if is_first:
            ours = training_step.Training(made)
            with bench.going_on("PyTorch's agreement"):
                bench.add(agreement=agreement.of_training(bench.sd, ours, torch, inputs, scratch))
            del ours
    modes = sizes.training_modes if is_first else ("eager",)
    options = training.Options(cached=(True,), steps=sizes.training_steps, repeats=sizes.repeats, peer_modes=modes)
    for row in training.batch_rows(options, made, torch, file, until=bench.options.until):
        results.add_row(bench.options.out, "training", row)


def edit(bench: Bench, parts: Sequence[Editing]) -> None:
    """Inversion methods with one edit of each image; parts with a peer come first."""
    with benches.beside(bench, "peer_torch") as torch:
        for part in parts:
            if part.modes == ("eager",) or (part.modes and torch is not None):
                _edit(bench, part, torch)
    for part in parts:
        if not part.modes:
            _edit(bench, part, None)


def _edit(bench: Bench, part: Editing, torch: peer.Peer | None) -> None:
    case = benches.case_of(bench, part.batch)
    if bench.options.stage == "more editing":  # nothing of worth waits for it
        wanted = of_editing(bench.sizes, [part])
        prepare.compile_table(bench, {name: made for name, made in wanted.items() if not bench.compiled([name])})
    for method in part.methods:
        what = ", ".join((name_of(method, part.batch), *part.modes))
        if not bench.compiled(of_editing(bench.sizes, [part._replace(methods=(method,))])):
            bench.skip(what, "its programs were not compiled")
        elif bench.left < 0:
            bench.skip(what, "no time left in its stage")
        else:
            options = benches.editing_options(bench, part.batch, method, part.modes, part.repeats)
            until, scratch = bench.options.until, bench.options.scratch
            for row in editing.batch_rows(options, bench.sd, case, torch, scratch, until):
                results.add_row(bench.options.out, "editing", row, beside="+".join(part.modes))


def cohort(bench: Bench) -> None:
    """Edits of a cohort, from JPEG files to PNG files: all after the model is read, without the report."""
    sizes, images = bench.sizes, bench.options.scratch / "images"
    subjects.write_images(images, sizes.cohort, sizes.size)
    for name in ("first run", "second run"):  # the first one compiles, or reads the cache
        run = bench.options.scratch / f"cohort, {name}"
        config = CounterfactualRun(
            run=str(run),
            model=str(bench.model),
            data=str(images / "images.csv"),
            any_image=True,
            edits=(EditSpec(edit="set age 8"),),  # which no phantom has, so that it applies to all
            inversion=Inversion(method="edit_friendly", steps=sizes.steps, guidance=7.5),
            batch_size=sizes.cohort_batch,
            dtype=jnp.dtype(sizes.dtype),
        )
        work = counterfactuals.prepare(counterfactuals.with_card(config), 1)
        start = time.perf_counter()
        if not cohorts.run(work, Manifest(run, config.output)):
            raise RuntimeError("the cohort is not done")
        seconds = time.perf_counter() - start
        bench.add(cohort={"images": sizes.cohort, f"{name}, s": seconds})
    found = {"edit": "edit_friendly", "steps": sizes.steps, "batch": sizes.cohort_batch}
    bench.add(cohort=found | {"s/image": seconds / sizes.cohort, "images/s": sizes.cohort / seconds})


def train(bench: Bench, run: ClassifierRun | ImageMechanismRun) -> None:
    """The training step of a classifier or image mechanism, from random weights: theirs would compile every shape."""
    name, made = bench.options.stage, training_step.of_run(run, training_step.one_device())
    made = dataclasses.replace(made, params=subjects.drawn_params(made.params))
    steps, batch = bench.sizes.training_steps, run.batch_size
    facts = dict(setting=name, batch=batch, images=batch * steps, remat=False, until=bench.options.until)
    for row in timing.alternated({timing.OURS: training.own_run(made, steps)}, bench.sizes.repeats, **facts):
        results.add_row(bench.options.out, name, row)


@dataclasses.dataclass(frozen=True)
class Stage:
    """What a stage does, and how it is run."""

    run: Callable[[Bench], None]
    _: dataclasses.KW_ONLY
    seconds: int
    """Limit."""
    least: int = 10
    """Seconds that must be left for it to start."""
    is_beside: bool = False
    """Runs beside the stages that follow, until the first that is timed."""
    is_timed: bool = False
    """Has the machine for itself."""
    needs_gpu: bool = True


STAGES = {
    "model": Stage(prepare.model, seconds=120, is_beside=True, needs_gpu=False),
    "reference": Stage(prepare.reference, seconds=120, is_beside=True, needs_gpu=False),
    "doctor": Stage(prepare.doctors, seconds=60),
    "parity": Stage(prepare.parity, seconds=170, is_beside=True),
    "peers": Stage(prepare.warm_peers, seconds=170, is_beside=True),
    "compile": Stage(prepare.compile_all, seconds=170),
    "training": Stage(finetune, seconds=110, least=30, is_timed=True),
    "editing": Stage(lambda bench: edit(bench, bench.sizes.editing), seconds=180, least=40, is_timed=True),
    "cohort": Stage(cohort, seconds=75, least=40, is_timed=True),
    "classifier": Stage(lambda bench: train(bench, bench.sizes.classifier), seconds=40, least=20, is_timed=True),
    "image mechanism": Stage(
        run=lambda bench: train(bench, bench.sizes.mechanism), seconds=50, least=25, is_timed=True
    ),
    "more editing": Stage(
        run=lambda bench: edit(bench, bench.sizes.more_editing), seconds=300, least=40, is_timed=True
    ),
}


def main(options: Options) -> None:
    """Runs one stage."""
    bench = Bench(options=options, sizes=Sizes.toy() if options.rehearse else Sizes())
    with compilations() as late, bench.without_cudnn():
        STAGES[options.stage].run(bench)
    if STAGES[options.stage].is_timed:
        # The most memory that the stage has held, PyTorch's apart; nothing on CPUs.
        if peak := (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use"):
            bench.add(**{"peak memory": {options.stage: peak}})
        bench.add(**{results.LATE: {options.stage: late}})


@contextlib.contextmanager
def compilations(least: float = 1.0) -> Iterator[list[float]]:
    """Seconds of every compilation that takes longer than `least` and does not come from the cache."""
    late, is_hit = [], [False]

    def note(name: str, seconds: float, **_: Any) -> None:
        if name == "/jax/core/compile/backend_compile_duration":
            if seconds > least and not is_hit[0]:
                late.append(round(seconds, 1))
            is_hit[0] = False

    def hit(name: str, **_: Any) -> None:
        is_hit[0] |= name == "/jax/compilation_cache/cache_hits"

    jax.monitoring.register_event_duration_secs_listener(note)
    jax.monitoring.register_event_listener(hit)
    yield late


if __name__ == "__main__":
    sys.exit(entrypoint.exit_code(lambda: main(tyro.cli(Options, prog="python -m benchmarks.gpu.stages"))))
