"""A trained attribute model as a folder: the graph in config.json, the parameters in a safetensors file."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from prism_jax import config, rng
from prism_jax.scm.attributes import AttributeModel
from prism_jax.scm.graph import Graph
from prism_jax.weights import files

STEM = "attributes"


def save(model: AttributeModel, folder: str | Path) -> None:
    """Writes the model into `folder`."""
    config.write(model.graph, folder)
    leaves, _ = jax.tree_util.tree_flatten_with_path(model.params)
    files.write({_name(path): np.asarray(leaf) for path, leaf in leaves}, Path(folder) / f"{STEM}.safetensors")


def load(folder: str | Path) -> AttributeModel:
    """The model in `folder`; ValueError for a folder that holds something else."""
    graph = config.read(folder, Graph, "give the folder of a trained attribute model")
    tensors = dict(files.read(files.find(Path(folder), STEM)))
    shapes = jax.eval_shape(lambda: AttributeModel.create(graph, rng.key(0)))
    leaves, tree = jax.tree_util.tree_flatten_with_path(shapes.params)
    wanted = {_name(path): leaf.shape for path, leaf in leaves}
    shapes_in_file = {name: tensor.shape for name, tensor in tensors.items()}
    if wanted != shapes_in_file:
        wrong = {name for name, _ in wanted.items() ^ shapes_in_file.items()}
        names = ", ".join(sorted({name.partition("/")[0] for name in wrong}))
        raise ValueError(f"{folder}: parameters do not fit the graph at {names}; train it again")
    return shapes.replace(params=tree.unflatten([jnp.asarray(tensors[name]) for name in wanted]))


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
