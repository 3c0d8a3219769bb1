"""Disk cache of VAE latents, so that training does not decode and encode the images in every epoch.

cache.json                       data set, networks and settings of the encoding
latents-000003.array_record      one image a record: float16 [h, w, c] of the scaled posterior mean, or of mean and
                                 log-variance one after the other
latents-000003.parquet           written last: attributes and texts of its images, the source of captions
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prism_jax import json_codec
from prism_jax.atomic import atomic_write
from prism_jax.data.schema import Attributes, Example

if TYPE_CHECKING:
    from array_record.python.array_record_data_source import ArrayRecordDataSource

SETTINGS_FILE = "cache.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that the latents depend on. A cache with other settings is stale."""

    data: str  # digest of the data set
    split: str
    count: int  # images
    size: int  # pixels
    fit: str
    crop: str | None  # name of the mask that images are cropped to
    vae: str  # fingerprint of its parameters, whatever files hold them
    dtype: str  # of the encoder's computation
    has_variance: bool
    shape: tuple[int, int, int]  # of the latents, [h, w, c]
    shard: int = 1024  # images in each but the last


@dataclasses.dataclass(frozen=True, kw_only=True)
class LatentCache:
    """The cache in one folder, to write or read."""

    folder: Path
    settings: Settings
    vae_files: str = ""  # fingerprint of the files of the VAE, by which caches of version 0.1 know it

    @property
    def shards(self) -> int:
        return -(-self.settings.count // self.settings.shard)

    def begin(self) -> None:
        """Creates the folder, or checks that it holds the same settings; see `check`."""
        if (self.folder / SETTINGS_FILE).is_file():
            self.check()
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        json_codec.write(dataclasses.asdict(self.settings), self.folder / SETTINGS_FILE)

    def check(self) -> None:
        """Raises ValueError, naming the differences, for a cache with other settings."""
        stored = json.loads((self.folder / SETTINGS_FILE).read_text())
        if stored.get("vae") == self.vae_files:
            stored["vae"] = self.settings.vae
        wanted = json.loads(json.dumps(dataclasses.asdict(self.settings)))
        stale = [
            f"{name} is {stored.get(name)}, not {value}" for name, value in wanted.items() if stored.get(name) != value
        ]
        if stale:
            raise ValueError(
                f"the latents in {self.folder} are stale: {'; '.join(stale)}; remove the folder and "
                "run train.encode_latents"
            )

    @property
    def is_complete(self) -> bool:
        return all(map(self.is_done, range(self.shards)))

    def is_done(self, shard: int) -> bool:
        return self._rows(shard).is_file()

    def write(self, shard: int, latents: Sequence[np.ndarray], rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes one shard atomically: float16 [h, w, c] or [h, w, 2c] of each image, and its row."""
        import pyarrow as pa
        import pyarrow.parquet as pq
        from array_record.python.array_record_module import ArrayRecordWriter

        with atomic_write(self._records(shard)) as partial:
            writer = ArrayRecordWriter(str(partial), "group_size:1")
            for array in latents:
                writer.write(np.ascontiguousarray(array, np.float16).tobytes())
            writer.close()
        kinds = {"id": pa.int64(), "attributes": pa.string(), "text": pa.string()}
        table = pa.Table.from_pylist(list(rows), schema=pa.schema(kinds))
        with atomic_write(self._rows(shard)) as partial:
            pq.write_table(table, partial)

    def open(self) -> Latents:
        """The cache for reading.

        Raises:
          ValueError: it has other settings, or is not finished.
        """
        import pyarrow.parquet as pq
        from array_record.python.array_record_data_source import ArrayRecordDataSource

        self.check()
        if not self.is_complete:
            done = sum(map(self.is_done, range(self.shards)))
            raise ValueError(
                f"{self.folder} holds {done} of {self.shards} shards of latents; run train.encode_latents again to "
                "finish it"
            )
        rows = [row for i in range(self.shards) for row in pq.read_table(self._rows(i)).to_pylist()]
        return Latents(
            records=ArrayRecordDataSource([str(self._records(i)) for i in range(self.shards)]),
            shape=self.settings.shape,
            examples=list(map(_example, rows)),
        )

    def _records(self, shard: int) -> Path:
        return self.folder / f"latents-{shard:06d}.array_record"

    def _rows(self, shard: int) -> Path:
        return self.folder / f"latents-{shard:06d}.parquet"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Latents:
    """Random access to encoded images, in the order of the data set."""

    records: ArrayRecordDataSource
    shape: tuple[int, int, int]
    examples: Sequence[Example]  # attributes and text of each image, without pixels

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> tuple[dict[str, np.ndarray], Example]:
        """Of one image: float16 "latents" [h, w, c], "logvar" if cached; and its example without pixels."""
        moments = np.frombuffer(self.records[index], np.float16).reshape(*self.shape[:2], -1)
        mean, logvar = moments[..., : self.shape[2]], moments[..., self.shape[2] :]
        return {"latents": mean} | ({"logvar": logvar} if logvar.size else {}), self.examples[index]


def row_of(number: int, attributes: Attributes, text: str) -> dict[str, Any]:
    """The row of an example in the cache, beside its latents."""
    return {"id": number, "attributes": json.dumps(dataclasses.asdict(attributes)), "text": text}


def _example(row: Mapping[str, Any]) -> Example:
    attributes = Attributes(**json.loads(row["attributes"]))
    without_image = dict(image=b"", height=0, width=0, patient="", path="", subject=-1)
    return Example(id=row["id"], attributes=attributes, text=row["text"], **without_image)
