"""Images and manifest of a cohort: one row per edit, written batch by batch, each batch atomically.

images/000012/<id>/original.png ...     or images/000012.array_record, one PNG per record
parts/000012.parquet                    written last: a batch that has it is done
manifest.parquet                        all rows, once every batch is done
"""

import dataclasses
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from prism_jax.atomic import atomic_write
from prism_jax.data.image_files import read_image
from prism_jax.data.transforms import encode_png

if TYPE_CHECKING:
    import pyarrow as pa

Format = Literal["png", "array_record"]
DONE, FAILED, REFUSED = "done", "failed", "refused"  # refused: no candidate met the thresholds
OLD_COLUMNS = {"changed_share": "changed_fraction"}  # old name -> today's
IMAGES = ("original", "autoencoded", "reconstruction", "edited", "mask")


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The results in one run folder."""

    run: Path
    format: Format = "png"

    def is_done(self, batch: int) -> bool:
        return self._part(batch).is_file()

    def write(self, batch: int, rows: Sequence[Mapping[str, Any]], images: Mapping[str, np.ndarray]) -> None:
        """Writes one batch. `images` are uint8 [h, w] by name, for example "<id>/original"; rows name them."""
        import pyarrow as pa

        names = self._write_png(batch, images) if self.format == "png" else self._write_records(batch, images)
        located = [row | {name: names[row[name]] for name in IMAGES if row.get(name)} for row in rows]
        write_table(pa.Table.from_pylist(located, schema=_schema()), self._part(batch))

    def merge(self, batches: int) -> bool:
        """Writes the manifest if all `batches` are done; returns whether they are."""
        import pyarrow as pa

        if not all(self.is_done(i) for i in range(batches)):
            return False
        write_table(pa.concat_tables(_read_table(self._part(i)) for i in range(batches)), self.path)
        return True

    @property
    def path(self) -> Path:
        return self.run / "manifest.parquet"

    def rows(self) -> list[dict[str, Any]]:
        """The manifest's rows; an image of unknown patient counts as a patient of its own."""
        rows = _read_table(self.path).to_pylist()
        return [row | {"patient": row["patient"] or f"image {row['id']}"} for row in rows]

    def image(self, name: str) -> np.ndarray:
        """The image uint8 [h, w] of a row's file name."""
        return read_image(self.run, name)

    def _part(self, batch: int) -> Path:
        return self.run / "parts" / f"{batch:06d}.parquet"

    def _write_png(self, batch: int, images: Mapping[str, np.ndarray]) -> dict[str, str]:
        folder = self.run / "images" / f"{batch:06d}"
        partial = folder.with_suffix(".partial")
        for leftover in (partial, folder):  # of a run that was killed in between
            shutil.rmtree(leftover, ignore_errors=True)
        for name, pixels in images.items():
            file = partial / f"{name}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(encode_png(pixels))
        partial.mkdir(parents=True, exist_ok=True)  # also where every image failed
        os.replace(partial, folder)
        return {name: f"images/{folder.name}/{name}.png" for name in images}

    def _write_records(self, batch: int, images: Mapping[str, np.ndarray]) -> dict[str, str]:
        from array_record.python.array_record_module import ArrayRecordWriter

        file = self.run / "images" / f"{batch:06d}.array_record"
        with atomic_write(file) as partial:
            writer = ArrayRecordWriter(str(partial), "group_size:1")
            for pixels in images.values():
                writer.write(encode_png(pixels))
            writer.close()
        return {name: f"images/{file.name}#{i}" for i, name in enumerate(images)}


def _schema() -> "pa.Schema":
    import pyarrow as pa

    return pa.schema(
        [
            ("id", pa.string()),
            ("patient", pa.string()),
            ("number", pa.int64()),  # phantom subject, -1 for real images
            ("edit", pa.string()),
            ("source_prompt", pa.string()),
            ("edited_prompt", pa.string()),
            ("status", pa.string()),  # done, failed or refused
            ("error", pa.string()),
            *((name, pa.string()) for name in IMAGES),  # files relative to the run, or FILE#RECORD
            ("psnr", pa.float32()),  # dB, of the reconstruction against the original
            ("mean_change", pa.float32()),  # grey levels, of the edit against the reconstruction
            ("changed_fraction", pa.float32()),  # of the pixels, in the mask of change
            ("guidance", pa.float32()),
            ("cross_steps", pa.float32()),
            ("self_steps", pa.float32()),
            ("candidates", pa.string()),  # JSON: strengths tried, their scores, and why each was refused
            ("seconds", pa.float32()),  # of the batch, by image
            ("batch", pa.int32()),
        ]
    )


def _read_table(file: Path) -> "pa.Table":
    """A Parquet file under today's column names."""
    import pyarrow.parquet as pq

    table = pq.read_table(file)
    return table.rename_columns([OLD_COLUMNS.get(name, name) for name in table.column_names])


def write_table(table: "pa.Table", file: Path) -> None:
    """Writes Parquet atomically."""
    import pyarrow.parquet as pq

    with atomic_write(file) as partial:
        pq.write_table(table, partial)
