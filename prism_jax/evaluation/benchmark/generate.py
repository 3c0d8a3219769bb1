"""Generation: the images of a method on disk, of the null edit, of every edit, and of its reverse.

null/ID.png  edited/EDIT/ID.png  back/EDIT/ID.png  seconds.jsonl
done.json    written last: a method that has it is complete and is not generated again
"""

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from prism_jax.atomic import atomic_write
from prism_jax.data import transforms
from prism_jax.data.image_files import read_image
from prism_jax.data.schema import Attributes
from prism_jax.evaluation.benchmark.editors import CounterfactualEditor
from prism_jax.evaluation.benchmark.queries import Query, back, firsts, null
from prism_jax.evaluation.subjects import slug

Kind = Literal["null", "edited", "back"]
KINDS: tuple[Kind, ...] = ("null", "edited", "back")
DONE, SECONDS = "done.json", "seconds.jsonl"
OLD_DONE = "made.json"  # in runs before 0.2, with "shown" for "expected"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generated:
    """The generated images of a method, or of one seed of it."""

    folder: Path
    size: int  # of its images
    expected: Mapping[tuple[str, str], Attributes]  # attributes of the counterfactual, by query
    seconds: float  # per counterfactual, median of the batches that did not compile; NaN without any

    def images(self, kind: Kind, queries: Sequence[Query]) -> Iterator[np.ndarray]:
        """uint8 [size, size] of each query, one at a time."""
        for query in queries:
            yield read_image(self.folder, file_of(kind, query))


def file_of(kind: Kind, query: Query) -> str:
    """Path of an image in the folder of its method."""
    return f"{kind}/{query.subject.id}.png" if kind == "null" else f"{kind}/{slug(query.edit)}/{query.subject.id}.png"


def generate(
    load: Callable[[], CounterfactualEditor],
    queries: Sequence[Query],
    folder: Path,
    *,
    settings: Mapping[str, Any],
    batch_size: int,
    name: str,
) -> Generated:
    """Generates the images that are missing.

    Args:
      load: loads the editor; not called where all images exist.
      settings: all that the images depend on, as JSON.

    Raises:
      ValueError: the folder holds images of other settings.
    """
    started = folder / "settings.json"
    if started.is_file() and json.loads(started.read_text()) != settings:
        raise ValueError(f"{folder} holds images of {name!r} with other settings; use another --run, or remove it")
    if any((folder / name).is_file() for name in (DONE, OLD_DONE)):
        return read(folder, queries)
    _write_json(started, settings)
    editor = load()
    expected = editor.expected(queries)
    forward = [dataclasses.replace(query, target=target) for query, target in zip(queries, expected, strict=True)]
    passes = {
        "null": [null(queries[i]) for i in firsts(queries)],
        "edited": forward,
        "back": [back(query, shown) for query, shown in zip(queries, expected, strict=True)],
    }
    total = sum(map(len, passes.values()))
    with tqdm(total=total, desc=name, unit="image", mininterval=5) as bar:
        seconds: list[float] = []
        for kind in KINDS:  # reverse edits start from the counterfactuals of the pass before
            _generate_pass(editor, kind, passes[kind], folder, batch_size, seconds, bar)
    expected = [dataclasses.asdict(attributes) for attributes in expected]
    _write_json(folder / DONE, {"size": editor.size, "expected": expected})
    return read(folder, queries)


def read(folder: Path, queries: Sequence[Query]) -> Generated:
    """The images that `generate` wrote."""
    file = folder / DONE if (folder / DONE).is_file() else folder / OLD_DONE
    done = json.loads(file.read_text())
    lines = (folder / SECONDS).read_text().split() if (folder / SECONDS).is_file() else []
    expected = [Attributes(**fields) for fields in done.get("expected", done.get("shown"))]
    return Generated(
        folder=folder,
        size=done["size"],
        expected={query.key: attributes for query, attributes in zip(queries, expected, strict=True)},
        seconds=float(np.median([float(line) for line in lines])) if lines else float("nan"),
    )


def _generate_pass(
    editor: CounterfactualEditor,
    kind: Kind,
    queries: Sequence[Query],
    folder: Path,
    batch_size: int,
    seconds: list[float],
    bar: tqdm,
) -> None:
    """Generates one kind of images. `seconds` of this process: its first batch compiles, and is not recorded."""
    for start in range(0, len(queries), batch_size):
        batch = queries[start : start + batch_size]
        files = [folder / file_of(kind, query) for query in batch]
        if not all(file.is_file() for file in files):
            edited = lambda query: read_image(folder, file_of("edited", query))  # as stored
            inputs = [edited(query) if kind == "back" else query.original(editor.size) for query in batch]
            padding = batch_size - len(batch)  # one shape, one compiled program
            begun = time.perf_counter()
            images = editor.generate(np.stack([*inputs, *[inputs[0]] * padding]), [*batch, *[batch[0]] * padding])
            seconds.append((time.perf_counter() - begun) / batch_size)
            if len(seconds) > 1:
                with (folder / SECONDS).open("a") as lines:
                    lines.write(f"{seconds[-1]:.6g}\n")
            for file, image in zip(files, images, strict=False):
                with atomic_write(file) as partial:
                    partial.write_bytes(transforms.encode_png(image))
        bar.update(len(batch))


def _write_json(file: Path, content: Any) -> None:
    with atomic_write(file) as partial:
        partial.write_text(json.dumps(content, indent=1) + "\n")
