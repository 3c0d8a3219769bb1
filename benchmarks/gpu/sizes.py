"""What the GPU benchmark measures: sizes in full and of a toy, and the programs that its stages run."""

import dataclasses
import functools
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp

from benchmarks import programs, subjects, training_step
from benchmarks.programs import Program, Setting
from prism_jax import config as configs
from prism_jax.cli.attention_paths import Networks
from prism_jax.editing.inversion import METHODS
from prism_jax.models.autoencoder import AutoencoderConfig
from prism_jax.models.densenet import DenseNetConfig
from prism_jax.models.text_encoder import TextConfig
from prism_jax.models.unet import UNetConfig
from prism_jax.stable_diffusion import StableDiffusion
from prism_jax.training.classifier.run import ClassifierRun
from prism_jax.training.image_mechanism.run import ImageMechanismRun
from prism_jax.weights import pretrained

OTHERS = tuple(sorted(set(METHODS) - {"null_text"}, key=("edit_friendly", "direct", "ddim", "negative_prompt").index))


class Editing(NamedTuple):
    """Methods at one batch size, and how PyTorch computes beside ours."""

    batch: int
    methods: tuple[str, ...]
    modes: tuple[str, ...] = ()
    repeats: int = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sizes:
    """What is measured; batch sizes in the order of their worth."""

    networks: Networks = Networks()
    """By default SD 1.5's."""
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
    classifier: ClassifierRun = dataclasses.field(default_factory=partial(configs.load, "chexpert/classifier"))
    mechanism: ImageMechanismRun = dataclasses.field(default_factory=lambda: _mechanism())

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
            networks=Networks(unet=unet, vae=vae, text_encoder=text),
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

    @functools.cached_property
    def sd(self) -> StableDiffusion:
        """The model of shapes."""
        return subjects.with_networks(self.networks, jnp.dtype(self.dtype), pretrained.abstract)

    @property
    def cohort_batch(self) -> int:
        return self.editing[0].batch


def _mechanism() -> ImageMechanismRun:
    found = configs.load("mimic_cxr/image_mechanism")
    return dataclasses.replace(found, model=dataclasses.replace(found.model, dtype=jnp.dtype("bfloat16")))


def table(sizes: Sizes, stages: Collection[str]) -> dict[str, Callable[[], Program]]:
    """The programs of these stages by name, in the order of their worth."""
    at = partial(_of_model, sizes)
    trainings, batch = [("finetune", batch) for batch in sizes.training], sizes.cohort_batch
    of_stage = (
        ("training", at(trainings[:1])),
        ("editing", of_editing(sizes, sizes.editing)),
        ("training", at(trainings[1:])),
        ("cohort", at([(name, batch) for name in ("encode", "decode", "edit_friendly", "edit, edit_friendly")])),
        ("classifier", {"classifier": partial(_training, sizes.classifier)}),
        ("image mechanism", {"image mechanism": partial(_training, sizes.mechanism)}),
        ("more editing", of_editing(sizes, sizes.more_editing)),
    )
    found = {}
    for stage, made in of_stage:
        found |= {name: program for name, program in made.items() if stage in stages and name not in found}
    return found


def of_editing(sizes: Sizes, parts: Sequence[Editing]) -> dict[str, Callable[[], Program]]:
    """The programs of parts of an editing stage."""
    pairs = [(method, part.batch) for part in parts for method in part.methods]
    return _of_model(sizes, [(name, b) for method, b in pairs for name in (method, programs.edit_name(method))])


def name_of(what: str, batch: int) -> str:
    return f"{what}, batch {batch}"


def _of_model(sizes: Sizes, wanted: Sequence[tuple[str, int]]) -> dict[str, Callable[[], Program]]:
    return {name_of(name, batch): partial(_program, sizes, name, batch) for name, batch in wanted}


def _program(sizes: Sizes, name: str, batch: int) -> Program:
    counts = dict(size=sizes.size, steps=sizes.steps, inner_steps=sizes.inner_steps)
    return programs.OF_MODEL[name](Setting(sd=sizes.sd, batch=batch, **counts))


def _training(run: ClassifierRun | ImageMechanismRun) -> Program:
    return programs.of_step(training_step.of_run(run, training_step.one_device()))
