"""The programs that the GPU benchmark times, from shapes alone: to compile them before, and to lower them elsewhere."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from benchmarks import classifier_step, memory, scm, training_step
from prism_jax import config as configs
from prism_jax import rng, sharding, stable_diffusion
from prism_jax.editing.control import Control
from prism_jax.editing.edit import SourcePath, _edit
from prism_jax.editing.inversion import METHODS, SOURCE_LOCKED, _invert, eta_of
from prism_jax.flops import TOKENS
from prism_jax.models.autoencoder import AutoencoderConfig, AutoencoderKL
from prism_jax.models.densenet import DenseNetConfig
from prism_jax.models.text_encoder import CLIPTextModel, TextConfig
from prism_jax.models.unet import UNet2DCondition, UNetConfig
from prism_jax.sharding import ShardingConfig
from prism_jax.stable_diffusion import StableDiffusion
from prism_jax.training.classifier.run import ClassifierRun
from prism_jax.training.image_mechanism.run import ImageMechanismRun
from prism_jax.weights import pretrained

OTHERS = tuple(sorted(set(METHODS) - {"null_text"}, key=("edit_friendly", "direct", "ddim", "negative_prompt").index))


class Program(NamedTuple):
    """A jitted function, and the shapes of its arguments."""

    function: Any
    args: tuple
    static: Mapping[str, Any] = {}
    mesh: Mesh | None = None

    def lower(self) -> jax.stages.Lowered:
        with contextlib.nullcontext() if self.mesh is None else jax.set_mesh(self.mesh):
            return self.function.lower(*self.args, **self.static)


class Editing(NamedTuple):
    """Methods at one batch size, and how PyTorch computes beside ours."""

    batch: int
    methods: tuple[str, ...]
    modes: tuple[str, ...] = ()
    repeats: int = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """What is measured; batch sizes in the order of their worth."""

    unet: UNetConfig = UNetConfig()
    vae: AutoencoderConfig = AutoencoderConfig()
    text: TextConfig = TextConfig()
    parity_model: str | None = "phantom"
    """Folder; None: the random model."""
    parity: tuple[str, ...] = ("float32", "float32, default precision", "bfloat16")
    """Kinds of arithmetic; float32 on a GPU means TF32 in matrix products, unless asked for otherwise."""
    size: int = 512
    """Side in pixels."""
    dtype: str = "bfloat16"
    steps: int = 50
    inner_steps: int = 10
    repeats: int = 3
    training: tuple[int, ...] = (16, 32, 64, 8)
    training_peered: tuple[int, ...] = (16, 32)
    training_modes: tuple[str, ...] = ("eager", "compile")
    """Of PyTorch at the first batch size; eager at the others."""
    training_steps: int = 10
    """In one repeat; of the other trainings too."""
    editing: tuple[Editing, ...] = (
        Editing(8, ("null_text",), ("eager",), repeats=1),
        Editing(8, OTHERS, ("eager",)),
    )
    more_editing: tuple[Editing, ...] = (
        Editing(8, ("null_text",), ("compile",), repeats=1),
        Editing(8, OTHERS[:2], ("compile",)),
        Editing(16, OTHERS),
        Editing(16, ("null_text",), repeats=1),
        Editing(32, OTHERS),
        Editing(1, OTHERS),
        Editing(1, ("null_text",), repeats=1),
        Editing(32, ("null_text",), repeats=1),
    )
    """After all else."""
    cohort: int = 32
    """Images, in batches of `editing`, by its method edit_friendly."""
    classifier: ClassifierRun | None = None
    """None: that of CheXpert."""
    mechanism: ImageMechanismRun | None = None
    """None: that of MIMIC-CXR in bfloat16."""

    @classmethod
    def toy(cls) -> "Sizes":
        """All of it in seconds on a CPU."""
        shape = dict(block_out_channels=(16,), layers_per_block=1, num_heads=(2,), cross_attention=(True,))
        unet = UNetConfig(**shape, cross_attention_dim=16, norm_num_groups=4, sample_size=8)
        vae = AutoencoderConfig(block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4, sample_size=64)
        text = TextConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
        network = DenseNetConfig(growth_rate=4, block_config=(1, 1), num_init_features=4, bn_size=1, norm_num_groups=2)
        classifier = dataclasses.replace(configs.load("phantom/classifier"), network=network, size=32, batch_size=4)
        mechanism = configs.load("morphomnist/image_mechanism_small")
        stages = dict(encoder="8b1d2,4b1d4,1b1", decoder="1b1,4b1,8b1", widths=(4, 4, 8), z_dim=2)
        mechanism = dataclasses.replace(
            mechanism, model=dataclasses.replace(mechanism.model, **stages), batch_size=4, initial=None
        )
        return cls(
            unet=unet,
            vae=vae,
            text=text,
            parity_model=None,
            parity=("float32, default precision", "bfloat16"),
            size=64,
            dtype="float32",
            steps=4,
            inner_steps=2,
            repeats=2,
            training=(2,),
            training_peered=(2,),
            training_modes=("eager",),  # on CPUs PyTorch compiles for minutes
            training_steps=2,
            editing=(Editing(2, ("null_text",), ("eager",), repeats=1), Editing(2, OTHERS, ("eager",))),
            more_editing=(Editing(2, ("null_text",), ("eager",), repeats=1), Editing(1, OTHERS[:1])),
            cohort=4,
            classifier=classifier,
            mechanism=mechanism,
        )

    @property
    def cohort_batch(self) -> int:
        return self.editing[0].batch

    def classifier_run(self) -> ClassifierRun:
        return self.classifier or configs.load("chexpert/classifier")

    def mechanism_run(self) -> ImageMechanismRun:
        if self.mechanism is not None:
            return self.mechanism
        found = configs.load("mimic_cxr/image_mechanism")
        return dataclasses.replace(found, model=dataclasses.replace(found.model, dtype=jnp.dtype(self.dtype)))


def table(sizes: Sizes, stages: Collection[str]) -> dict[str, Callable[[], Program]]:
    """The programs of these stages by name, in the order of their worth."""
    batch, first = sizes.cohort_batch, {}
    steps = {name_of("training", batch): partial(training, sizes, batch) for batch in sizes.training}
    for name in list(steps)[:1]:
        first[name] = steps.pop(name)
    coders = {"VAE, encoder": partial(encoder, sizes, batch), "VAE, decoder": partial(decoder, sizes, batch)}
    of_stage = (
        ("training", first),
        ("editing", of_editing(sizes, sizes.editing)),
        ("training", steps),
        ("cohort", coders | _inversion_and_edit(sizes, "edit_friendly", batch)),
        ("classifier", {"classifier": partial(classifier, sizes)}),
        ("image mechanism", {"image mechanism": partial(mechanism, sizes)}),
        ("more editing", of_editing(sizes, sizes.more_editing)),
    )
    found = {}
    for stage, programs in of_stage:
        found |= {name: made for name, made in programs.items() if stage in stages and name not in found}
    return found


def of_editing(sizes: Sizes, parts: Sequence[Editing]) -> dict[str, Callable[[], Program]]:
    """The programs of parts of an editing stage."""
    found = {}
    for batch, methods, *_ in parts:
        for method in methods:
            found |= _inversion_and_edit(sizes, method, batch)
    return found


def names_of(method: str, batch: int) -> tuple[str, str]:
    """Names of the programs of inversion and edit. Edits differ by whether and how the source is locked alone."""
    kind = f"edit, {method}" if method in SOURCE_LOCKED else "edit"
    return name_of(method, batch), name_of(kind, batch)


def name_of(what: str, batch: int) -> str:
    return f"{what}, batch {batch}"


def _inversion_and_edit(sizes: Sizes, method: str, batch: int) -> dict[str, Callable[[], Program]]:
    made = partial(inversion, sizes, method, batch), partial(edit, sizes, method, batch)
    return dict(zip(names_of(method, batch), made, strict=True))


@functools.cache
def shipped() -> StableDiffusion:
    """Tokenizer and schedule are its."""
    return StableDiffusion.from_pretrained("phantom")


def abstract(sizes: Sizes) -> StableDiffusion:
    """The model with networks of shapes."""
    dtype = jnp.dtype(sizes.dtype)
    text = dataclasses.replace(sizes.text, vocab_size=len(shipped().tokenizer), dtype=dtype)
    return dataclasses.replace(
        shipped(),
        unet=pretrained.abstract(UNet2DCondition, dataclasses.replace(sizes.unet, dtype=dtype)),
        vae=pretrained.abstract(AutoencoderKL, dataclasses.replace(sizes.vae, dtype=dtype)),
        text_encoder=pretrained.abstract(CLIPTextModel, text),
    )


def training(sizes: Sizes, batch: int) -> Program:
    """The fine-tuning step."""
    sd, mesh = abstract(sizes), one_device()
    made, inputs = training_step.of(sd), training_step.shapes(sd, batch, sizes.size)
    state = jax.eval_shape(made.create, made.params)
    return _step_of(training_step.jitted(made, mesh, ShardingConfig()), state, made.frozen, inputs, mesh)


def inversion(sizes: Sizes, method: str, batch: int) -> Program:
    """The inversion of `editing.invert`."""
    static = dict(method=method, inner_steps=sizes.inner_steps, mesh=None)
    return Program(_invert, _inversion_shapes(sizes, batch), static)


def _inversion_shapes(sizes: Sizes, batch: int) -> tuple:
    config = dataclasses.replace(sizes.unet, dtype=jnp.dtype(sizes.dtype))
    return memory.shapes(config, batch, sizes.size // memory.VAE_FACTOR, sizes.steps)


def edit(sizes: Sizes, method: str, batch: int) -> Program:
    """`editing.edit` with one edit of each image, after `method`."""
    unet, latents, context, _, table, _ = _inversion_shapes(sizes, batch)
    shaped = lambda *shape, dtype=jnp.float32: jax.ShapeDtypeStruct(shape, dtype)
    locked = shaped(sizes.steps, *latents.shape) if method in SOURCE_LOCKED else None
    null = shaped(sizes.steps, *context.shape)
    weights = shaped(sizes.steps, batch, 1, TOKENS)
    control = Control(
        mapper=shaped(batch, 1, TOKENS, TOKENS),
        source_weight=weights,
        edit_weight=weights,
        replace_self=shaped(sizes.steps, batch, 1, dtype=jnp.bool_),
    )
    path = SourcePath(table=table, null_context=null, target=locked, offset=locked)
    contexts = shaped(batch, 2, *context.shape[1:])
    args = (unet, latents, path, contexts, shaped(batch, 2), shaped(batch, 1), control, None)
    return Program(_edit, args, dict(eta=eta_of(method), mesh=None))


def encoder(sizes: Sizes, batch: int) -> Program:
    images = jax.ShapeDtypeStruct((batch, sizes.size, sizes.size, 3), jnp.float32)
    return Program(stable_diffusion._encode_image, (abstract(sizes).vae, images))


def decoder(sizes: Sizes, batch: int) -> Program:
    sd = abstract(sizes)
    latents = jax.ShapeDtypeStruct((batch, *sd.latent_shape(sizes.size, sizes.size)), jnp.float32)
    return Program(stable_diffusion._decode, (sd.vae, latents))


def classifier(sizes: Sizes) -> Program:
    mesh = one_device()
    step, create, frozen, batch = classifier_step.training(sizes.classifier_run(), mesh)
    params = classifier_step.abstract_params(sizes.classifier_run())
    return _step_of(step, jax.eval_shape(create, params), frozen, batch, mesh)


def mechanism(sizes: Sizes) -> Program:
    run, mesh = sizes.mechanism_run(), one_device()
    step, create, batch, _ = scm.training(run, mesh)
    return _step_of(step, jax.eval_shape(create, scm.abstract_params(run)), None, batch, mesh)


def _step_of(step: Callable, state: Any, frozen: Any, batch: Any, mesh: Mesh) -> Program:
    # On the mesh and without the weak types of `eval_shape`, as arrays are: else the compiled programs are others.
    where = sharding.replicated(mesh)
    shaped = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where)
    args = (state, frozen, batch, jax.eval_shape(lambda: rng.key(0)))
    return Program(step, jax.tree.map(shaped, args), mesh=mesh)


def one_device() -> Mesh:
    return sharding.make_mesh(jax.devices()[:1])
