"""A folder of the two generators of a CycleGAN.

Under `add.` and `remove.` lies what the published PyTorch code keeps of a ResNet generator with instance norm, a file
each there. Discriminators are of use to training alone, and stay in its checkpoints.
"""

from pathlib import Path

from prism_jax import config as configs
from prism_jax.models.cyclegan import CycleGANConfig, Generators
from prism_jax.weights import diffusers, files, pretrained

STEM = "model"
TRAINING, CLASSIFIER = "training.json", "classifier"  # where training notes the fingerprint of the one in its loss
DOWNS = (4, 7)  # their places in the published sequence; residual blocks begin at FIRST_BLOCK
FIRST_BLOCK = 10


def described(folder: Path | str) -> CycleGANConfig:
    """The config in a folder; FileNotFoundError where there is none, ValueError for another kind of model."""
    return configs.read(folder, CycleGANConfig, "give RUN/model of train.ganterfactual")


def classifier_of(folder: Path | str) -> str:
    """The fingerprint of the classifier that was in the generators' loss."""
    file = Path(folder) / TRAINING
    config = pretrained.read_json(file) if file.is_file() else {}
    if CLASSIFIER not in config:
        raise ValueError(f"{file} does not say which classifier was in the loss; give RUN/model of train.ganterfactual")
    return config[CLASSIFIER]


def load(folder: Path | str) -> Generators:
    """The generators of a folder that `save` wrote; ValueError for anything that does not fit."""
    config = described(folder)
    tensors = files.read(files.find(Path(folder), STEM))
    return diffusers.fill(pretrained.abstract(Generators, config), tensors, names(config))


def save(generators: Generators, folder: Path | str) -> None:
    """Writes config.json and model.safetensors."""
    configs.write(generators.config, folder)
    files.write(diffusers.tensors_of(generators, names(generators.config)), Path(folder) / f"{STEM}.safetensors")


def names(config: CycleGANConfig) -> tuple[tuple[str, str], ...]:
    """The table that `diffusers.fill` takes: our spelling -> theirs, on the dotted name of a parameter."""
    first_up = FIRST_BLOCK + config.blocks
    return (
        (r"\.conv_in\.", ".model.1."),
        *((rf"\.downs\.{i}\.", f".model.{place}.") for i, place in enumerate(DOWNS)),
        *((rf"\.blocks\.{i}\.", f".model.{FIRST_BLOCK + i}.conv_block.") for i in range(config.blocks)),
        (r"\.conv1\.", ".1."),  # within a block, between pads, norms and activations
        (r"\.conv2\.", ".5."),
        *((rf"\.ups\.{i}\.", f".model.{first_up + 3 * i}.") for i in range(len(DOWNS))),
        (r"\.conv_out\.", f".model.{first_up + 7}."),
    )
