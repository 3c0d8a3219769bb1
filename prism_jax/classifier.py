"""A classifier of chest X-rays: findings, sex and view as calibrated probabilities, age in years, features.

Used to judge counterfactuals, as a condition of a search, and for the features of distribution metrics.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, struct

from prism_jax.models.convnext import ConvNeXt, ConvNeXtConfig
from prism_jax.models.densenet import DenseNet, DenseNetConfig, check_range
from prism_jax.pretrained import folder as model_folder
from prism_jax.weights import diffusers, files, pretrained, torchxrayvision

FAMILIES = {
    "densenet": (DenseNet, DenseNetConfig, torchxrayvision.DENSENET),
    "convnext": (ConvNeXt, ConvNeXtConfig, ()),
}
STEM = "model"
EDGE = 1e-6  # probabilities scaled by operating points are clipped this far from 0 and 1, so that logits are finite

# torchxrayvision.datasets.default_pathologies: the outputs of the published networks.
TORCHXRAYVISION = (
    "Atelectasis",
    "Consolidation",
    "Infiltration",
    "Pneumothorax",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Effusion",
    "Pneumonia",
    "Pleural_Thickening",
    "Cardiomegaly",
    "Nodule",
    "Mass",
    "Hernia",
    "Lung Lesion",
    "Fracture",
    "Lung Opacity",
    "Enlarged Cardiomediastinum",
)


@struct.dataclass
class Prediction:
    """A classifier's predictions for `b` images."""

    logits: jax.Array  # float32 [b, n], calibrated; in the order of the classifier's targets
    age: jax.Array | None  # float32 [b], years; None where the classifier does not predict it
    features: jax.Array  # float32 [b, d], before the last linear layer

    @property
    def probabilities(self) -> jax.Array:
        """float32 [b, n] in [0, 1]; 0.5 at a target's operating point where it has one."""
        return jax.nn.sigmoid(self.logits)


@struct.dataclass
class Classifier:
    """A network with the names and calibration of its outputs. A pytree: pass it to jitted functions as an argument."""

    network: DenseNet | ConvNeXt
    temperature: jax.Array  # [n], > 0: calibrated logit = logit / temperature + shift
    shift: jax.Array  # [n]
    thresholds: jax.Array | None  # [n] operating points in (0, 1), NaN where there is none; None without any
    targets: tuple[str, ...] = struct.field(pytree_node=False)  # findings as in the data, "sex" (M), "view" (AP)
    size: int = struct.field(pytree_node=False)  # side in pixels to which images are resized
    age_scale: tuple[float, float] | None = struct.field(pytree_node=False, default=None)  # mean, deviation; years

    @property
    def predicts_age(self) -> bool:
        return self.age_scale is not None

    @classmethod
    def of(
        cls,
        network: DenseNet | ConvNeXt,
        *,
        targets: Sequence[str],
        size: int,
        age_scale: tuple[float, float] | None = None,
    ) -> "Classifier":
        """An uncalibrated classifier. The network's outputs are the targets and, with `age_scale`, the age.

        Raises:
          ValueError: the network has another number of outputs.
        """
        needed, outputs = len(targets) + (age_scale is not None), network.config.num_classes
        if needed != outputs:
            raise ValueError(f"the network has {outputs} outputs, {needed} are needed: {', '.join(targets)} (and age)")
        n = len(targets)
        return cls(
            network=network,
            temperature=jnp.ones(n),
            shift=jnp.zeros(n),
            thresholds=None,
            targets=tuple(targets),
            size=size,
            age_scale=age_scale,
        )

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "Classifier":
        """Reads a shipped classifier by its name, or a folder that `save_pretrained` wrote.

        Raises:
          ValueError: a file is missing or damaged, or a weight is left over or missing.
        """
        folder = model_folder(folder)
        if not (folder / "config.json").is_file():
            raise ValueError(f"no classifier in {folder}: no config.json; train one: prism train classifier")
        known = pretrained.read_json(folder / "config.json")
        if known.get("family") not in FAMILIES:
            raise ValueError(
                f"{folder}/config.json: family {known.get('family')!r} is not one of {', '.join(FAMILIES)}"
            )
        network, config, names = FAMILIES[known["family"]]
        options = {name: tuple(value) if isinstance(value, list) else value for name, value in known["network"].items()}
        abstract = pretrained.abstract(network, config(**options))
        tensors = files.read(files.find(folder, STEM))
        points = known["thresholds"]
        return cls(
            network=diffusers.fill(abstract, tensors, names),
            temperature=jnp.asarray(known["temperature"], jnp.float32),
            shift=jnp.asarray(known["shift"], jnp.float32),
            thresholds=None if points is None else jnp.array([np.nan if p is None else p for p in points], jnp.float32),
            targets=tuple(known["targets"]),
            size=known["size"],
            age_scale=tuple(known["age_scale"]) if known["age_scale"] else None,
        )

    @classmethod
    def from_torchxrayvision(
        cls, file: str | Path, *, targets: Sequence[str] = TORCHXRAYVISION, size: int = 224
    ) -> "Classifier":
        """A DenseNet of torchxrayvision, from its state dict as safetensors.

        Args:
          targets: the network's `targets` there; outputs whose name is empty were not trained and are left out.

        Raises:
          ValueError: as `torchxrayvision.load_densenet`, or names that do not fit the outputs.
        """
        network, thresholds = torchxrayvision.load_densenet(file)
        if len(targets) != network.config.num_classes:
            raise ValueError(f"{file} has {network.config.num_classes} outputs, {len(targets)} targets were named")
        kept = np.array([i for i, name in enumerate(targets) if name])
        classifier = cls.of(_with_outputs(network, kept), targets=[targets[i] for i in kept], size=size)
        return classifier if thresholds is None else classifier.replace(thresholds=jnp.asarray(thresholds[kept]))

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes config.json and model.safetensors; a DenseNet under torchvision's names."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        family = next(name for name, (network, _, _) in FAMILIES.items() if isinstance(self.network, network))
        points = None if self.thresholds is None else np.asarray(self.thresholds, np.float64)
        options = dataclasses.asdict(self.network.config)
        del options["dtype"]
        config = {
            "family": family,
            "network": options,
            "targets": list(self.targets),
            "size": self.size,
            "age_scale": self.age_scale and list(self.age_scale),
            "temperature": np.asarray(self.temperature, np.float64).tolist(),
            "shift": np.asarray(self.shift, np.float64).tolist(),
            "thresholds": None if points is None else [None if np.isnan(p) else float(p) for p in points],
        }
        files.write(diffusers.tensors_of(self.network, FAMILIES[family][2]), folder / f"{STEM}.safetensors")
        pretrained.write_json(config, folder / "config.json")

    def predict(self, images: jax.Array) -> Prediction:
        """Predictions for float images `[b, h, w, 3]` in [-1, 1] of any size. Pure; jit it where it is called often.

        Raises:
          ValueError: another shape, integers, or concrete values outside [-1, 1].
        """
        # TF32, a GPU's default, would cost small differences of logits most of their digits.
        with jax.default_matmul_precision("float32"):
            features = self.network.pooled(preprocess(images, self.size, self.network.config.input_range))
            outputs = self.network.classifier(features)  # [b, n], and the age behind
        n = len(self.targets)
        logits = outputs[:, :n] / self.temperature[None] + self.shift[None]
        if self.thresholds is not None:
            logits = _logit(at_operating_points(jax.nn.sigmoid(logits), self.thresholds))
        age = None if self.age_scale is None else self.age_scale[0] + self.age_scale[1] * outputs[:, n]
        return Prediction(logits=logits, age=age, features=features)

    def column(self, target: str) -> int:
        """Column of a target in `logits`; ValueError with the known targets for an unknown one."""
        if target not in self.targets:
            raise ValueError(f"the classifier does not know {target!r}; it knows {', '.join(self.targets)}")
        return self.targets.index(target)


def preprocess(images: jax.Array, size: int, input_range: float = 1.0) -> jax.Array:
    """A network's pixels `[b, size, size, 1]` in [-input_range, input_range] of float images `[b, h, w, 3]` in [-1, 1].

    Resized as torchxrayvision's `fix_resolution` does: bilinear, widened against aliasing where it shrinks.
    """
    if images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"images have the shape {images.shape}; give [b, h, w, 3]")
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(
            f"images are {images.dtype}; give floats in [-1, 1], of uint8 images: prism_jax.pixels.from_uint8(images)"
        )
    check_range(images, 1.0)
    return input_range * resized(jnp.mean(images, axis=-1, keepdims=True, dtype=jnp.float32), size)


def resized(pixels: jax.Array, size: int) -> jax.Array:
    """Float pixels `[b, h, w, c]` as `[b, size, size, c]`."""
    shape = (len(pixels), size, size, pixels.shape[-1])
    precision = jax.lax.Precision.HIGHEST
    return pixels if pixels.shape == shape else jax.image.resize(pixels, shape, "linear", precision=precision)


def at_operating_points(probabilities: jax.Array, thresholds: jax.Array) -> jax.Array:
    """Probabilities [b, n], bent so that a target's threshold becomes 0.5; 0.5 where it has none (NaN).

    torchxrayvision's `op_norm`: straight from 0 to the threshold, and from there to 1.
    """
    points = thresholds[None]
    below, above = probabilities / (2 * points), 1 - (1 - probabilities) / (2 * (1 - points))
    return jnp.where(jnp.isnan(points), 0.5, jnp.where(probabilities < points, below, above))


def _logit(probabilities: jax.Array) -> jax.Array:
    inside = jnp.clip(probabilities, EDGE, 1 - EDGE)
    return jnp.log(inside) - jnp.log1p(-inside)


def _with_outputs(network: DenseNet, kept: np.ndarray) -> DenseNet:
    """The network with only these of its outputs."""
    config = dataclasses.replace(network.config, num_classes=len(kept))
    state: dict[str, Any] = nnx.to_pure_dict(nnx.state(network))
    head = state["classifier"]
    state["classifier"] = {"kernel": head["kernel"][:, kept], "bias": head["bias"][kept]}
    graphdef, smaller = nnx.split(pretrained.abstract(DenseNet, config))
    nnx.replace_by_pure_dict(smaller, state)
    return nnx.merge(graphdef, smaller)
