"""Parameter names and layouts of diffusers and transformers, mapped to those of our networks.

Attribute names mirror theirs, so that the map is three short tables: pieces of a name that differ, the name of a leaf,
and the transpose that goes with a leaf's rank.
"""

import re
from collections.abc import Iterable
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

Network = TypeVar("Network", bound=nnx.Module)

# our spelling -> theirs, tried in order on the dotted name of a parameter
UNET = (
    (r"\.ff\.proj_in\.", ".ff.net.0.proj."),
    (r"\.ff\.proj_out\.", ".ff.net.2."),
    (r"\.to_out\.", ".to_out.0."),
)
AUTOENCODER = ((r"\.attentions\.0\.attention\.", ".attentions.0."), (r"\.to_out\.", ".to_out.0."))
TEXT_ENCODER = (
    (r"^(token|position)_embedding\.", r"embeddings.\1_embedding."),
    (r"^layers\.", "encoder.layers."),
    (r"^", "text_model."),
)
CLIP = (
    (r"^(text|vision)_model\.(token|class|patch|position)_embedding", r"\1_model.embeddings.\2_embedding"),
    (r"^(text|vision)_model\.layers\.", r"\1_model.encoder.layers."),
    (r"^vision_model\.visual_projection\.", "visual_projection."),
)

LEAVES = {"kernel": "weight", "scale": "weight", "embedding": "weight", "bias": "bias"}
LEAVES |= {"class_embedding": "class_embedding", "logit_scale": "logit_scale"}  # parameters of CLIP itself
LEAVES |= {"running_mean": "running_mean", "running_var": "running_var"}  # of batch norms that are not trained
LEAVES |= {"mean": "running_mean", "var": "running_var"}  # of those that are
LEAVES |= {"maps": "maps"}  # of the causal model's parents

# older spellings of theirs -> the current one, tried in order on the names in a file
AUTOENCODER_OLD = (
    (r"\.attentions\.0\.query\.", ".attentions.0.to_q."),
    (r"\.attentions\.0\.key\.", ".attentions.0.to_k."),
    (r"\.attentions\.0\.value\.", ".attentions.0.to_v."),
    (r"\.attentions\.0\.proj_attn\.", ".attentions.0.to_out.0."),
)
TEXT_ENCODER_OLD = ((r"^(?!text_model\.)(embeddings|encoder|final_layer_norm)\.", r"text_model.\1."),)
TEXT_ENCODER_BUFFERS = frozenset({"text_model.embeddings.position_ids"})  # a constant 0..76, not a parameter
CLIP_BUFFERS = TEXT_ENCODER_BUFFERS | {"vision_model.embeddings.position_ids"}


def foreign_name(path: tuple[str | int, ...], names: Iterable[tuple[str, str]]) -> str:
    """The diffusers name of the parameter at `path`, e.g. ("down_blocks", 0, "resnets", 1, "conv1", "kernel")."""
    return _respelt(".".join(map(str, (*path[:-1], LEAVES[path[-1]]))), names)


def to_foreign(path: tuple[str | int, ...], value: np.ndarray) -> np.ndarray:
    """(in, out) -> (out, in) for linear layers, HWIO -> OIHW for convolutions."""
    return value.transpose({2: (1, 0), 4: (3, 2, 0, 1)}[value.ndim]) if path[-1] == "kernel" else value


def from_foreign(path: tuple[str | int, ...], value: np.ndarray) -> np.ndarray:
    """The inverse of `to_foreign`."""
    return value.transpose({2: (1, 0), 4: (2, 3, 1, 0)}[value.ndim]) if path[-1] == "kernel" else value


def fill(
    abstract: Network,
    tensors: Iterable[tuple[str, np.ndarray]],
    names: Iterable[tuple[str, str]],
    *,
    old: Iterable[tuple[str, str]] = (),
    buffers: frozenset[str] = frozenset(),
) -> Network:
    """Fills a network from `nnx.eval_shape` with the tensors of a file, as float32.

    Raises:
      ValueError: tensors without a parameter, parameters without a tensor, shapes that differ; all at once.
    """
    graphdef, state = nnx.split(abstract)
    flat = dict(nnx.to_flat_state(state))
    paths = {foreign_name(path, names): path for path in flat}
    filled, unread, misfits = {}, [], []
    for given, value in tensors:
        name = _respelt(given, old)
        path = paths.get(name)
        if path is None:
            unread += [] if name in buffers else [given]
            continue
        value = from_foreign(path, _squeezed(path, value, flat[path].shape))
        if value.shape != flat[path].shape:
            misfits.append(f"{given} {value.shape} for {flat[path].shape}")
        filled[path] = flat[path].replace(jnp.asarray(value, jnp.float32))
    unfilled = sorted(name for name, path in paths.items() if path not in filled)
    if unread or unfilled or misfits:
        raise ValueError(f"weights do not fit: unread {sorted(unread)}; never filled {unfilled}; shapes {misfits}")
    return nnx.merge(graphdef, nnx.from_flat_state([(path, filled[path]) for path in flat]))


def tensors_of(
    network: nnx.Module,
    names: Iterable[tuple[str, str]],
    dtype: jnp.dtype = jnp.float32,
    *,
    kinds: tuple[type[nnx.Variable], ...] = (nnx.Param,),
) -> dict[str, np.ndarray]:
    """The parameters of a network, or its variables of other `kinds`, under diffusers' names and in its layout."""
    flat = nnx.to_flat_state(nnx.state(network, nnx.Any(*kinds)))
    return {
        foreign_name(path, names): to_foreign(path, np.asarray(jax.device_get(leaf[...])).astype(dtype))
        for path, leaf in flat
    }


def _respelt(name: str, names: Iterable[tuple[str, str]]) -> str:
    for pattern, replacement in names:
        name = re.sub(pattern, replacement, name)
    return name


def _squeezed(path: tuple[str | int, ...], value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Old VAE files hold the attention's linear layers as 1x1 convolutions."""
    is_conv1x1 = value.ndim == 4 and value.shape[2:] == (1, 1)
    return value[:, :, 0, 0] if path[-1] == "kernel" and is_conv1x1 and len(shape) == 2 else value
