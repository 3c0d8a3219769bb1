"""Images in run folders: PNG files, or records of an ArrayRecord file, named relative to the run's folder."""

import io
from pathlib import Path

import numpy as np
from PIL import Image


def read_image(folder: Path, name: str) -> np.ndarray:
    """The image uint8 [h, w] named FILE or FILE#RECORD in `folder`."""
    file, _, record = name.partition("#")
    if not record:
        with Image.open(folder / file) as image:
            return np.asarray(image)
    from array_record.python.array_record_module import ArrayRecordReader  # not needed for PNG files

    reader = ArrayRecordReader(str(folder / file))
    try:
        return np.asarray(Image.open(io.BytesIO(reader.read([int(record)])[0])))
    finally:
        reader.close()
