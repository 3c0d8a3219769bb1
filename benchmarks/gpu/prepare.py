"""What comes before anything is timed: the random model, parity, and compilation, ours and PyTorch's."""

import contextlib
import io
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import agreement, editing, peer, programs, subjects, timing, training, training_step, work
from benchmarks.gpu import bench as benches
from benchmarks.gpu import sizes as all_sizes
from benchmarks.gpu.bench import Bench
from prism_jax import editing as editing_api
from prism_jax import flops
from prism_jax.cli import attention_paths, doctor
from prism_jax.editing.inversion import METHODS
from prism_jax.models import attention
from prism_jax.report.versions import versions
from prism_jax.stable_diffusion import StableDiffusion

ATTENTION_BOUND = 0.05  # of gradients in half precision, relative


def model(bench: Bench) -> None:
    """Writes the folder of the random model, and counts operations. Needs no GPU."""
    sizes = bench.sizes
    made = subjects.with_networks(sizes.networks, jnp.float32, subjects.untrained)
    made.save_pretrained(bench.model)
    costs = work.unit_costs(sizes.networks.unet, made.latent_shape(sizes.size, sizes.size)[0], flops.by_hand)
    counts = {
        method: work.totals(method, costs, steps=sizes.steps, inner_steps=sizes.inner_steps) for method in METHODS
    }
    counts[training.LATENTS[True]] = (3 * costs.forward,)
    counts["classifier"] = (training_step.operations(sizes.classifier),)
    counts["image mechanism"] = (training_step.operations(sizes.mechanism),)
    bench.add(operations=counts)


def doctors(bench: Bench) -> None:
    """What `prism doctor` says, the versions, the kernels of attention, and the measured peak."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        doctor.run(doctor.Options(dtype=bench.sizes.dtype))
    print(said.getvalue())
    bench.add(doctor=said.getvalue().splitlines(), versions=versions())
    attention_differences(bench)
    for dtype in dict.fromkeys((bench.sizes.dtype, "float32")):
        bench.add(**{"matrix peak": {dtype: flops.matrix_peak(jnp.dtype(dtype))}})


def attention_differences(bench: Bench) -> None:
    """Gradients of attention in half precision, for the layers that take most time, compared with float32's.

    Where cuDNN does not compute them, the stages that follow go without it (`bench.Bench.without_cudnn`).
    """
    bench.add(without_cudnn=True)  # stays where cuDNN ends this process
    sizes, is_right = bench.sizes, True
    layers = list(attention_paths.layers(sizes.networks))
    for layer in (*layers[:2], layers[-1]):  # of the finest features to themselves and to text, and the text encoder's
        draw, heads = np.random.default_rng(0), (layer.heads, layer.width)
        q, k, v = (draw.standard_normal((2, n, *heads), np.float32) for n in (layer.queries, *(layer.keys,) * 2))
        half = [jnp.asarray(x, jnp.bfloat16) for x in (q, k, v)]
        whole = partial(jax.nn.dot_product_attention, is_causal=layer.is_causal, implementation="xla")
        ours = partial(attention.dot_product_attention, is_causal=layer.is_causal)
        path = attention_paths.path(layer, jnp.dtype(jnp.bfloat16))[0]
        try:
            found = _attention_gradients(ours, half)
        except (RuntimeError, NotImplementedError, ValueError) as error:
            is_right = False
            bench.add(attention={layer.name: f"{path}: {str(error).splitlines()[0]}"})
            continue
        apart = agreement.distance(_attention_gradients(whole, [x.astype(jnp.float32) for x in half]), found)
        is_right &= apart < ATTENTION_BOUND
        bench.add(attention={layer.name: f"{path}: {apart:.2g} of its size"})
    bench.add(without_cudnn=not is_right)


def _attention_gradients(attend: Callable, inputs: list[jax.Array]) -> np.ndarray:
    gradient = jax.jit(jax.grad(lambda *x: jnp.sum(attend(*x).astype(jnp.float32) ** 2), (0, 1, 2)))
    return np.concatenate([np.ravel(np.asarray(x, np.float32)) for x in gradient(*inputs)])


def reference(bench: Bench) -> None:
    """The quantities of `parity` in float32 on the CPU."""
    found = quantities(bench, jnp.float32)
    np.savez(bench.options.scratch / "reference.partial.npz", **found)
    os.replace(bench.options.scratch / "reference.partial.npz", bench.options.scratch / "reference.npz")


def parity(bench: Bench) -> None:
    """Differences of every network, one inversion and one edit from the CPU's, in each precision."""
    from transformers import CLIPTokenizer  # noqa: F401  (the first import is not safe in threads)

    def compare(kind: str) -> None:
        dtype = jnp.bfloat16 if kind == "bfloat16" else jnp.float32
        with jax.default_matmul_precision("highest") if kind == "float32" else contextlib.nullcontext():
            found = quantities(bench, dtype)
        theirs = np.load(benches.wait_for(bench, bench.options.scratch / "reference.npz"))
        bench.add(parity={kind: {name: agreement.distance(theirs[name], value) for name, value in found.items()}})

    with ThreadPoolExecutor(len(bench.sizes.parity)) as pool:
        list(pool.map(compare, bench.sizes.parity))


def quantities(bench: Bench, dtype: jnp.dtype) -> dict[str, np.ndarray]:
    """Outputs of the networks, of a short null-text inversion and of its edit."""
    folder = bench.sizes.parity_model or benches.wait_for(bench, bench.model)
    sd = StableDiffusion.from_pretrained(folder, dtype=dtype)
    drawn = subjects.case(sd, 2, size=sd.size, is_drawn=False)
    images = np.random.default_rng(0).uniform(-1, 1, (2, sd.size, sd.size, 3)).astype(np.float32)
    context = sd.encode_prompt(drawn.prompts)
    options = dict(method="null_text", steps=4, inner_steps=2, guidance=2.0, tolerance=-1.0)
    inverted = editing_api.invert(sd, drawn.latents, drawn.prompts, **options)
    found = {
        "text encoder": context,
        "VAE, encoder": sd.encode_image(images),
        "VAE, decoder": sd.decode(drawn.latents),
        "UNet": sd.predict_noise(drawn.latents, 400, context),
        "null_text, trajectory": inverted.trajectory,
        "null_text, embeddings": inverted.null_context,
        "null_text, edit": editing_api.edit(sd, inverted, drawn.edits).latents,
    }
    return {name: np.asarray(value, np.float32) for name, value in found.items()}


def compile_all(bench: Bench) -> None:
    """Compiles the programs of all stages but "more editing" into the cache, the most valuable first."""
    bench.add(programs=None)  # those of an earlier run, which may have had another cache
    stages = [stage for stage in bench.options.stages if stage != "more editing"]
    compile_table(bench, all_sizes.table(bench.sizes, stages))


def compile_table(bench: Bench, table: Mapping[str, Callable[[], programs.Program]]) -> None:
    """Compiles programs beside each other, and writes seconds and bytes of each."""

    def compile_one(name: str, program: Callable[[], programs.Program]) -> None:
        if bench.left < 0:
            return bench.add(programs={name: {"remark": "not compiled: no time left"}})
        try:
            _, row = programs.compiled(program(), time.perf_counter)
        except jax.errors.JaxRuntimeError as error:  # larger than the device
            return bench.add(programs={name: {"remark": str(error).splitlines()[0]}})
        bench.add(programs={name: row})
        timing.say(f"{name}: compiled in {row['compile']:.1f} s after {row['trace']:.1f} s")

    _ = bench.sizes.sd  # once, before the threads
    # One process: XLA then tunes kernels of one program at a time.
    with ThreadPoolExecutor(min(8, len(os.sched_getaffinity(0)))) as pool:
        list(pool.map(lambda item: compile_one(*item), table.items()))


def warm_peers(bench: Bench) -> None:
    """PyTorch compiles what is timed of it, into its own cache: its processes do that beside ours."""
    if not benches.has_peer():
        return bench.skip("PyTorch", "torch or diffusers is missing")
    benches.wait_for(bench, bench.model)
    _ = bench.sd  # once, before the threads
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(warm, bench) for warm in (_warm_training, _warm_editing)]:
            done.result()


def _warm_training(bench: Bench) -> None:
    if "compile" not in bench.sizes.training_modes:
        return
    batch, file = bench.sizes.training_peered[0], bench.options.scratch / "warm_training.npz"
    inputs = training_step.inputs(bench.sd, batch, bench.sizes.size, is_encoded=True)
    peer.write_training_case(bench.sd, inputs, inputs["latents"], file)
    request = {"case": str(file), "is_cached": True, "remat": False, "steps": 1, "mode": "compile"}
    with benches.started(bench, "peer_training") as torch:
        torch.ask(request)


def _warm_editing(bench: Bench) -> None:
    for batch, methods, modes, _ in bench.sizes.more_editing:
        if "compile" not in modes:
            continue
        file = bench.options.scratch / f"warm_editing_{batch}.npz"
        peer.write_case(bench.sd, benches.case_of(bench, batch), file, steps=bench.sizes.steps)
        with benches.started(bench, "peer_torch") as torch:
            for method in methods:
                options = benches.editing_options(bench, batch, method, modes)
                editing.peer_warm(options, torch, file, "compile", method)
