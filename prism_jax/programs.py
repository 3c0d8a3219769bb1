"""The programs behind `prism train NAME` and `prism eval NAME`."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """A program; nothing of it is imported before it runs."""

    command: Literal["train", "eval"]
    name: str
    module: str
    """Module of its `main(config)`."""
    config: str
    """Configuration class that it takes, as "module:class"."""
    purpose: str
    """One line."""
    next: str = ""
    """Command to run after it; {run} and {config} stand for its run folder and configuration."""

    def __str__(self) -> str:
        return f"prism {self.command} {self.name}"


def _train(name: str, config: str, purpose: str, next: str, module: str = "") -> Program:
    module = f"prism_jax.training.{module or f'{name}.run'}"
    return Program(command="train", name=name, module=module, config=f"{module}:{config}", purpose=purpose, next=next)


def _eval(name: str, config: str, purpose: str) -> Program:
    module = f"prism_jax.evaluation.{name}.run"
    return Program(command="eval", name=name, module=module, config=f"{module}:{config}", purpose=purpose)


_FINETUNE = _train(
    "finetune",
    "FinetuneRun",
    "fine-tune Stable Diffusion on X-rays and captions",
    "prism export --run {run} --out DIR",
)

PROGRAMS = (
    dataclasses.replace(
        _FINETUNE,
        name="encode_latents",
        module="prism_jax.training.finetune.encode_latents",
        purpose="encode a data set once, before finetune",
        next="prism train finetune --config {config}",
    ),
    _FINETUNE,
    _train(
        "pretrain",
        "PretrainRun",
        "train a small Stable Diffusion from scratch, given a VAE",
        "prism export --run {run} --out DIR",
        "finetune.pretrain",
    ),
    _train(
        "tokenizer",
        "TokenizerRun",
        "build a small tokenizer in CLIP's format",
        "prism train pretrain --config phantom/pretrain --tokenizer {run}",
        "finetune.tokenizer",
    ),
    _train(
        "vae",
        "VAERun",
        "train the VAE of a Stable Diffusion",
        "prism train pretrain --config phantom/pretrain --vae {run}/vae",
    ),
    _train(
        "classifier",
        "ClassifierRun",
        "train a classifier of findings, sex, view and age",
        "prism eval audit, with {run}/model as one of its judges",
    ),
    _train(
        "ganterfactual",
        "GANterfactualRun",
        "train a CycleGAN that adds and removes a finding",
        "prism eval benchmark --config phantom/benchmark_ganterfactual",
    ),
    _train(
        "mechanisms",
        "MechanismsRun",
        "fit the attribute mechanisms of a causal graph",
        "prism train image_mechanism",
    ),
    _train(
        "image_mechanism",
        "ImageMechanismRun",
        "train the image mechanism of a causal model",
        "prism eval axioms, or prism train counterfactual_finetune, with --image {run}/model",
    ),
    _train(
        "predictors",
        "PredictorsRun",
        "train attribute predictors for counterfactual_finetune",
        "prism train counterfactual_finetune, with --predictors {run}/model",
    ),
    _train(
        "counterfactual_finetune",
        "CounterfactualFinetuneRun",
        "fine-tune an image mechanism for its counterfactuals",
        "prism eval axioms, with {run}/model as an image mechanism",
        "image_mechanism.counterfactual_run",
    ),
    _eval("counterfactuals", "CounterfactualRun", "invert, edit and measure the images of a data set"),
    _eval("audit", "AuditRun", "find which attributes a model has entangled"),
    _eval("axioms", "AxiomsRun", "measure effectiveness, composition and reversibility of a causal model"),
    _eval("benchmark", "BenchmarkRun", "compare inversion methods, text-guided editors and causal models"),
    _eval("augmentation", "AugmentationRun", "test whether counterfactuals improve classifiers"),
    _eval("generation", "GenerationRun", "measure images sampled from captions: FID, KID, copies of training images"),
)

RENAMED = {
    "train scm": "train image_mechanism",
    "train autoencoder": "train vae",
    "train latents": "train encode_latents",
    "train base": "train pretrain",
    "train counterfactual": "train counterfactual_finetune",
    "eval comparison": "eval benchmark",
    "eval methods": "eval benchmark",
}
"""Names that programs had -> their names today."""


def of(command: str) -> tuple[Program, ...]:
    """The programs of `prism train` or `prism eval`."""
    return tuple(program for program in PROGRAMS if program.command == command)


def find(command: str, name: str) -> Program:
    """The program `prism COMMAND NAME`; ValueError, with the names there are, where there is none."""
    for program in of(command):
        if program.name == name:
            return program
    if renamed := RENAMED.get(f"{command} {name}"):
        raise ValueError(f"prism {command} {name} is called prism {renamed} now")
    names = ", ".join(program.name for program in of(command))
    raise ValueError(f"there is no program prism {command} {name}; use one of: {names}")


def taking(config: type) -> tuple[Program, ...]:
    """The programs that take configurations of this class."""
    name = f"{config.__module__}:{config.__qualname__}"
    return tuple(program for program in PROGRAMS if program.config == name)
