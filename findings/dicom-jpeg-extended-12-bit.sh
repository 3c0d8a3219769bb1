#!/usr/bin/env bash
# Expected: pydicom lists gdcm, pillow and pylibjpeg as decoders of JPEG Extended (1.2.840.10008.1.2.4.51), so installing
#   them is enough to read a film stored that way with 12 bits.
# Happens: all three refuse the 12-bit file that pydicom itself ships (JPEG-lossy.dcm, nuclear medicine). gdcm and pillow
#   support 8 bits only. pylibjpeg does decode a 12-bit stream that imagecodecs wrote, and refuses this one because its
#   scan header ends the spectral selection at 0 where the JPEG standard has 63; 12-bit computed radiography and
#   angiography files of the public DICOM compression samples are written the same way. imagecodecs decodes both.
# Versions: pydicom 3.0.2, python-gdcm 3.2.6, pillow 13.0.0, pylibjpeg 2.1.0, pylibjpeg-libjpeg 2.5.0, imagecodecs 2026.3.6.
# Why it matters: the usual advice ("install pylibjpeg or gdcm") does not help. prism_jax reads such files with
#   imagecodecs where it is installed, and its error names that package.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pydicom==3.0.2 numpy==2.4.6 pillow==13.0.0 \
    python-gdcm==3.2.6 pylibjpeg==2.1.0 pylibjpeg-libjpeg==2.5.0 imagecodecs==2026.3.6
"$folder/venv/bin/python" - <<'PYTHON'
import copy

import imagecodecs
import numpy as np
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import get_decoder

shipped = dcmread(get_testdata_file("JPEG-lossy.dcm", download=False))
written = copy.deepcopy(shipped)
rows, columns = np.mgrid[: shipped.Rows, : shipped.Columns]
ramp = (2 * rows + 4 * columns).astype(np.uint16)
written.PixelData = encapsulate([imagecodecs.jpeg_encode(ramp, level=100, bitspersample=12)])
assert get_frame(shipped.PixelData, 0, number_of_frames=1), "the shipped file has no frame"

seen = {}
for name, dataset in {"shipped by pydicom": shipped, "written by imagecodecs": written}.items():
    decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
    for plugin in sorted(decoder.available_plugins):
        try:
            array, _ = decoder.as_array(dataset, decoding_plugin=plugin)
            result = f"decoded, {array.min()} to {array.max()}"
        except RuntimeError as error:
            result = f"refused: {str(error).splitlines()[-1].strip()}"
        seen[name, plugin] = result.split(":")[0].split(",")[0]
        print(f"{name}, {plugin}: {result}")
    array = imagecodecs.jpeg_decode(get_frame(dataset.PixelData, 0, number_of_frames=1))
    print(f"{name}, imagecodecs: decoded, {array.min()} to {array.max()}")

assert seen == {
    ("shipped by pydicom", "gdcm"): "refused",
    ("shipped by pydicom", "pillow"): "refused",
    ("shipped by pydicom", "pylibjpeg"): "refused",
    ("written by imagecodecs", "gdcm"): "refused",
    ("written by imagecodecs", "pillow"): "refused",
    ("written by imagecodecs", "pylibjpeg"): "decoded",
}, f"this has changed: {seen}"
PYTHON
