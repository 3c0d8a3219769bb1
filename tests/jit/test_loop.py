"""The shared loop: what it computes does not depend on devices or restarts, and nothing bad is ever saved."""

import json
import os
import signal
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from prism_jax import entrypoint, rng, sharding
from prism_jax.training import loop, optimizer
from prism_jax.training import state as states
from prism_jax.training.array_batches import ArrayBatches
from prism_jax.training.classifier.run import ClassifierRun
from tests.jit.test_checkpoint import full_disk

TARGETS = np.random.default_rng(0).normal(size=(20, 16)).astype(np.float32)
BROKEN = np.where(np.arange(20)[:, None] == 7, np.nan, TARGETS).astype(np.float32)  # example 7 is not finite


def step(state, frozen, batch, key, *, update):
    """Moves a vector towards the mean of noisy targets; every part that the real steps have is in it."""
    keys = rng.per_example(rng.at_step(rng.stream(key, "noise"), state.step), batch["id"])
    noise = jax.vmap(lambda k: jax.random.normal(k, (16,)))(keys)

    def objective(params):
        return jnp.mean((params["x"][None] - batch["y"] - frozen["scale"] * noise) ** 2)

    loss, grads = jax.value_and_grad(objective)(state.params)
    state, metrics = update(state, loss, grads)
    return state, {"loss": loss, **metrics}


def run(folder, *, steps=4, devices=None, hooks=(), scale=0.1, peak=0.1, targets=TARGETS, **config):
    mesh = sharding.make_mesh(devices)
    tx, schedule = optimizer.make_optimizer(optimizer.OptimizerConfig(peak=peak, warmup=0, decay="constant"), steps)
    bulk = jax.random.normal(jax.random.key(0), (4096,))  # makes checkpoints larger than all other files
    options = {"steps": steps, "log_every": 1, "checkpoint_every": 100, "tensorboard": False} | config
    skip = states.SkipConfig(max_consecutive=2)
    return loop.fit(
        partial(step, update=partial(states.update, tx=tx, schedule=schedule, ema_decay=0.9)),
        ClassifierRun(
            run=str(folder), seed=0, skip=skip, loop=loop.LoopConfig(**options)
        ),  # any run with these options
        create=partial(states.create, tx=tx, ema=True),
        initial=jax.device_get({"x": jnp.zeros(16), "bulk": bulk}),
        frozen=sharding.to_global({"scale": np.float32(scale)}, sharding.replicated(mesh)),
        batches=ArrayBatches({"y": targets}, batch_size=8, seed=1),
        mesh=mesh,
        hooks=hooks,
    )


def lines(folder, name="loss"):
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(record["step"], record[name]) for record in records if name in record]


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(a), jax.device_get(b))


def stop_at(step):
    """A hook that does what SLURM does before it takes a machine away."""
    return loop.Hook(every=step, call=lambda state, n, log: os.kill(os.getpid(), signal.SIGTERM))


SKIP = states.SkipConfig(spike_factor=5.0, warmup_updates=2, max_consecutive=3)


def test_two_steps_a_restart_and_two_more_equal_four(tmp_path):
    whole = run(tmp_path / "whole")
    run(tmp_path / "parts", steps=2)
    resumed = run(tmp_path / "parts")
    assert_same(resumed, whole)
    assert lines(tmp_path / "parts") == lines(tmp_path / "whole")
    assert [step for step, _ in lines(tmp_path / "whole")] == [1, 2, 3, 4]


def test_a_signal_saves_and_the_same_command_goes_on(tmp_path):
    whole = run(tmp_path / "whole", steps=6)
    with pytest.raises(entrypoint.Stopped, match="stopped at step 3"):
        run(tmp_path / "stopped", steps=6, hooks=(stop_at(2),))
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert_same(run(tmp_path / "stopped", steps=6), whole)
    assert lines(tmp_path / "stopped") == lines(tmp_path / "whole")


def test_lines_after_the_resumed_step_are_dropped(tmp_path):
    run(tmp_path, steps=2)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "loss": 99}\n{"step": 4, "lo')  # made after the checkpoint, by a run that crashed
    run(tmp_path)
    assert [step for step, _ in lines(tmp_path)] == [1, 2, 3, 4]
    assert max(loss for _, loss in lines(tmp_path)) < 99


def test_a_finished_run_is_left_alone(tmp_path):
    done = run(tmp_path, steps=2)
    before = (tmp_path / "metrics.jsonl").read_text()
    assert_same(run(tmp_path, steps=2), done)
    assert (tmp_path / "metrics.jsonl").read_text() == before


def test_a_batch_that_is_not_finite_is_left_out_and_its_examples_are_named(tmp_path):
    state = run(tmp_path, steps=6, targets=BROKEN, checkpoint_every=1, keep=6)
    noted = [json.loads(line) for line in (tmp_path / "skipped.jsonl").read_text().splitlines()]
    assert [7 in note["ids"] for note in noted] == [True] * len(noted)
    assert int(state.updates) == 6 - len(noted) < 6
    assert np.all(np.isfinite(state.params["x"]))
    assert [step for step, _ in lines(tmp_path)] == [
        n for n in range(1, 7) if n not in [note["step"] for note in noted]
    ]


def test_too_many_skipped_batches_stop_the_run_with_the_parameters_of_before(tmp_path, capsys):
    before = run(tmp_path, steps=2)
    assert entrypoint.exit_code(lambda: run(tmp_path, scale=np.nan, checkpoint_every=1)) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert "2 batches in a row were skipped, the last at step 4 (loss nan" in said
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["2", "3"]
    assert_same(run(tmp_path, steps=3).params, before.params)


def test_a_spike_is_skipped_once_the_usual_size_of_gradients_is_known():
    tx, schedule = optimizer.make_optimizer(optimizer.OptimizerConfig(warmup=0, decay="constant"), 10)
    update = partial(
        states.update,
        tx=tx,
        schedule=schedule,
        ema_decay=0.9,
        skip=SKIP,
    )
    state, skipped = states.create({"x": jnp.zeros(4)}, tx, ema=True), []
    for size in (100.0, 1.0, 1.0, 1000.0, 1.0):
        before = state
        state, metrics = update(state, jnp.float32(1), {"x": jnp.full(4, size)})
        skipped.append(float(metrics["skipped"]))
        if skipped[-1]:
            assert_same(state.replace(step=before.step), before)
    assert skipped == [0, 0, 0, 1, 0]
    assert int(state.step) == 5


def test_an_update_needs_no_second_copy_of_a_parameter():
    tx, schedule = optimizer.make_optimizer(optimizer.OptimizerConfig(), 10)
    params = {f"{i}": jax.ShapeDtypeStruct((128, 128), jnp.float32) for i in range(4)}
    state = jax.eval_shape(partial(states.create, tx=tx, ema=True), params)
    update = jax.jit(partial(states.update, tx=tx, schedule=schedule, ema_decay=0.9), donate_argnums=0)
    compiled = update.lower(state, jax.ShapeDtypeStruct((), jnp.float32), params).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 128 * 128 * 4


def test_gradients_are_clipped_as_optax_does():
    grads = {"x": jnp.array([3.0, 4.0]), "y": jnp.array([12.0])}  # of norm 13
    for limit in (1.0, 20.0):
        clip = optimizer.clip_to(limit)
        ours, _ = clip.update(grads, clip.init(grads), norm=jnp.float32(13))
        theirs, _ = optax.clip_by_global_norm(limit).update(grads, optax.EmptyState())
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), ours, theirs)


def test_a_full_disk_is_one_line_exit_code_2_and_a_usable_run(tmp_path, capsys):
    whole = run(tmp_path / "whole")
    run(tmp_path / "full", steps=2)
    capsys.readouterr()
    with full_disk(4096):
        assert entrypoint.exit_code(lambda: run(tmp_path / "full")) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: no room to save checkpoint 4")
    assert_same(run(tmp_path / "full"), whole)


def test_hooks_run_on_time_and_their_numbers_are_logged(tmp_path):
    seen = []
    call = lambda state, step, log: seen.append(step) or {"validation": step * 10}
    run(tmp_path, steps=5, hooks=(loop.Hook(every=2, call=call), loop.Hook(every=0, call=None)))
    assert seen == [2, 4, 5]
    assert lines(tmp_path, "validation") == [(2, 20), (4, 40), (5, 50)]


def test_the_average_starts_as_a_short_one():
    tx, schedule = optimizer.make_optimizer(optimizer.OptimizerConfig(peak=1.0, warmup=0, decay="constant"), 10)
    state = states.create({"x": jnp.zeros(2)}, tx, ema=True)
    moved, _ = states.update(state, jnp.float32(1), {"x": jnp.ones(2)}, tx=tx, schedule=schedule, ema_decay=0.999)
    np.testing.assert_allclose(moved.ema["x"], 0.9 * moved.params["x"], rtol=1e-6)  # decay (1 + 0) / (10 + 0)
    assert float(states.warmup_decay(0.999, jnp.int32(10**6))) == pytest.approx(0.999)


def test_the_average_is_the_weighted_sum_of_all_parameters_so_far():
    tx, schedule = optimizer.make_optimizer(optimizer.OptimizerConfig(peak=0.1, warmup=0, decay="constant"), 10)
    state, made = states.create({"x": jnp.ones(3)}, tx, ema=True), [np.ones(3)]
    decays = [min(0.3, (1 + n) / (10 + n)) for n in range(5)]
    for n in range(5):
        grads = {"x": jnp.sin(jnp.arange(3.0) + n)}
        state, _ = states.update(state, jnp.float32(1), grads, tx=tx, schedule=schedule, ema_decay=0.3)
        made.append(np.asarray(state.params["x"]))
    shares = [1.0, *(1 - decay for decay in decays)]
    weights = [share * np.prod(decays[n:]) for n, share in enumerate(shares)]
    assert sum(weights) == pytest.approx(1)
    np.testing.assert_allclose(state.ema["x"], sum(w * x for w, x in zip(weights, made, strict=True)), rtol=1e-6)


@pytest.mark.parametrize(("decay", "last"), [("constant", 2.0), ("cosine", 0.2), ("linear", 0.2)])
def test_the_learning_rate_rises_to_its_peak_and_falls_to_its_end(decay, last):
    config = optimizer.OptimizerConfig(peak=2.0, warmup=10, decay=decay, final=0.1)
    schedule = optimizer.learning_rate(config, 100)
    rates = [float(schedule(step)) for step in range(101)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[10] == max(rates) == 2.0
    assert rates[100] == pytest.approx(last)
    assert np.all(np.diff(rates[10:]) <= 1e-6)


def test_each_epoch_has_every_example_once_in_an_order_of_its_own():
    batches = ArrayBatches({"y": TARGETS}, batch_size=5, seed=0)
    epochs = [np.concatenate([next(batches)["id"] for _ in range(4)]) for _ in range(2)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert list(epochs[0]) != list(epochs[1])
    with pytest.raises(ValueError, match="batch_size 30 is larger than the data set of 20"):
        ArrayBatches({"y": TARGETS}, batch_size=30, seed=0)
