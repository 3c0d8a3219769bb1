"""DICOM: display-ready images from every way of storing them; damage is a one-line error, never a crash."""

import io
import logging
import sys
import time
import warnings
from concurrent import futures

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import apply_windowing

from prism_jax.data import transforms
from prism_jax.data.dicom import read as dicom_read
from prism_jax.data.dicom import tags as dicom_tags
from prism_jax.data.dicom import windowing

NATIVE = uid.ExplicitVRLittleEndian


def ramp(height: int = 40, width: int = 60) -> np.ndarray:
    """Every grey level, uint8."""
    return np.linspace(0, 255, height * width).reshape(height, width).astype(np.uint8)


def dataset(
    pixels: np.ndarray, *, bits: int | None = None, syntax: str = uid.ExplicitVRLittleEndian, **tags
) -> Dataset:
    """A DICOM object with these stored values; tags by keyword, None takes one away."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = uid.SecondaryCaptureImageStorage
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = uid.generate_uid()
    allocated = 8 * pixels.dtype.itemsize
    made.Rows, made.Columns = pixels.shape[:2]
    made.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    made.BitsAllocated, made.BitsStored = allocated, bits or allocated
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    made.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        made.PlanarConfiguration = 0
    made.PixelData = pixels.tobytes()
    made["PixelData"].VR = "OB" if allocated == 8 else "OW"
    for name, value in tags.items():
        if value is None:
            delattr(made, name)
        else:
            setattr(made, name, value)
    return made


def encoded(made: Dataset) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that are wrong on purpose
        buffer = io.BytesIO()
        pydicom.dcmwrite(buffer, made, enforce_file_format=True)
    return buffer.getvalue()


def malformed(made: Dataset, **values: str) -> Dataset:
    """Tags with text that pydicom would not write."""
    for name, value in values.items():
        tag = pydicom.datadict.tag_for_keyword(name)
        made.add(pydicom.DataElement(tag, pydicom.datadict.dictionary_VR(tag), value, validation_mode=0))
    return made


def tags_of(made: Dataset) -> dicom_tags.Tags:
    return dicom_read.read(encoded(made)).tags


def shown(made: Dataset) -> np.ndarray:
    return dicom_read.read(encoded(made)).pixels


def table(values: np.ndarray, first: int, bits: int) -> Dataset:
    item = Dataset()
    item.LUTDescriptor = [len(values) % 65536, first, bits]
    item["LUTDescriptor"].VR = "US"
    item.add_new("LUTData", "OW", values.astype("<u2").tobytes())
    return item


@pytest.mark.parametrize("kind", ["uint8", "uint16", "int16"])
def test_both_photometric_interpretations_show_the_same(kind):
    stored = (ramp().astype(np.int64) * (1 if kind == "uint8" else 257) - (32768 if kind == "int16" else 0)).astype(
        kind
    )
    inverted = ~stored  # the highest value for the lowest, signed or not
    np.testing.assert_array_equal(shown(dataset(stored)), ramp())
    np.testing.assert_array_equal(shown(dataset(inverted, PhotometricInterpretation="MONOCHROME1")), ramp())


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["<u2", "<i2"])
def test_the_number_of_bits_does_not_change_the_image(bits, kind):
    low = -(2 ** (bits - 1)) if kind == "<i2" else 0
    stored = (np.round(ramp() / 255 * (2**bits - 1)) + low).astype(kind)
    assert np.abs(shown(dataset(stored, bits=bits)).astype(int) - ramp()).max() <= 1


def test_overlay_bits_are_ignored():
    stored = np.round(ramp() / 255 * 4095).astype(np.uint16)
    plain = shown(dataset(stored, bits=12))
    np.testing.assert_array_equal(shown(dataset(stored | 0x8000, bits=12)), plain)
    np.testing.assert_array_equal(shown(dataset((stored << 4) | 3, bits=12, HighBit=15)), plain)


def test_rescaling_without_a_window_changes_nothing():
    stored = np.round(ramp() / 255 * 4095).astype(np.uint16)
    rescaled = dataset(stored, bits=12, RescaleSlope="0.25", RescaleIntercept="-1024")
    np.testing.assert_array_equal(shown(rescaled), shown(dataset(stored, bits=12)))


def test_a_window_is_of_rescaled_values():
    stored = np.array([[0, 999, 1000, 1500, 2000, 4095]], np.uint16)
    made = dataset(stored, bits=12, WindowCenter="500", WindowWidth="1000", VOILUTFunction="LINEAR_EXACT")
    made.RescaleSlope, made.RescaleIntercept = "1", "-1000"
    assert shown(made).tolist() == [[0, 0, 0, 128, 255, 255]]


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("center", "width"), [(2048.0, 4096.0), (1000.0, 500.0), (3000.5, 7.0)])
def test_windows_are_those_of_the_standard(function, center, width):
    values = np.arange(4096)[None]
    header = dataset(values.astype(np.uint16), bits=12, WindowCenter=center, WindowWidth=width, VOILUTFunction=function)
    with np.errstate(over="ignore"):
        theirs = apply_windowing(values, header) / 4095
    np.testing.assert_allclose(windowing.windowed(values, center, width, function), theirs, atol=1e-6)


def test_the_first_of_several_windows_counts_and_a_table_goes_before_it():
    stored = np.array([[0, 50, 100]], np.uint8)
    two = dataset(stored, WindowCenter=["50.5", "9"], WindowWidth=["101", "2"])
    assert shown(two).tolist() == [[0, 128, 255]]
    two.VOILUTSequence = [table(np.arange(100, -1, -1) * 40, 0, 12)]
    assert shown(two).tolist() == [[249, 125, 0]]


def test_values_beyond_a_table_take_its_ends():
    made = dataset(np.array([[0, 10, 11, 12, 200]], np.uint8))
    made.ModalityLUTSequence = [table(np.array([0, 32768, 65535]), 10, 16)]
    made.ModalityLUTSequence[0].ModalityLUTType = "US"
    assert shown(made).tolist() == [[0, 0, 128, 255, 255]]


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian])
def test_native_transfer_syntaxes_show_the_same(syntax):
    np.testing.assert_array_equal(shown(dataset(ramp(), syntax=syntax)), ramp())


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("syntax", [uid.RLELossless, uid.JPEG2000Lossless])
def test_lossless_compression_shows_the_same(syntax, kind):
    stored = ramp().astype(kind) * (257 if kind == np.uint16 else 1)
    made = dataset(stored)
    if syntax == uid.RLELossless:
        made.compress(syntax)
    else:
        buffer = io.BytesIO()
        Image.fromarray(stored).save(buffer, "JPEG2000", no_jp2=True)
        made.PixelData, made.file_meta.TransferSyntaxUID = encapsulate([buffer.getvalue()]), syntax
        made["PixelData"].VR = "OB"
    np.testing.assert_array_equal(shown(made), ramp())


def jpeg(pixels: np.ndarray, **tags) -> Dataset:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    made = dataset(pixels, syntax=uid.JPEGBaseline8Bit, **tags)
    made.PixelData = encapsulate([buffer.getvalue()])
    return made


def test_jpeg_shows_nearly_the_same_and_a_cut_one_is_refused():
    whole = encoded(jpeg(ramp()))
    assert np.abs(dicom_read.read(whole).pixels.astype(int) - ramp()).max() <= 4
    with pytest.raises(ValueError, match=r"cannot be decoded|damaged|cut off"):
        dicom_read.read(whole[: len(whole) - 300])


def extended_jpeg(frame: bytes) -> Dataset:
    made = dataset(np.zeros((40, 60), np.uint16), bits=12, syntax=uid.JPEGExtended12Bit)
    made.PixelData = encapsulate([frame])
    return made


def test_jpeg_of_12_bits_names_the_decoder_that_reads_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(ValueError, match="JPEG Extended of 12 bits needs a decoder: pip install imagecodecs"):
        shown(extended_jpeg(b"\xff\xd8\xff\xd9"))


def test_jpeg_of_12_bits_shows_nearly_the_same_and_a_cut_one_is_refused():
    imagecodecs = pytest.importorskip("imagecodecs", reason="optional: reads JPEG Extended of 12 bits")
    stored = np.round(ramp() / 255 * 4095).astype(np.uint16)
    frame = imagecodecs.jpeg8_encode(stored, level=98, bitspersample=12)
    assert np.abs(shown(extended_jpeg(frame)).astype(int) - ramp()).max() <= 2
    with pytest.raises(ValueError, match="cut off"):
        shown(extended_jpeg(frame[:-200]))


def test_colour_becomes_luminance():
    colours = np.array([[[255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    assert shown(dataset(colours)).tolist() == [[255, 76, 150, 29]]


@pytest.mark.parametrize(
    ("said", "turn"),
    [
        (["L", "F"], lambda x: x),
        (["R", "F"], lambda x: x[:, ::-1]),
        (["L", "H"], lambda x: x[::-1]),
        (["R", "H"], lambda x: x[::-1, ::-1]),
        (["F", "L"], lambda x: x.T),
        (["H", "R"], lambda x: x[::-1, ::-1].T),
        (["A", "F"], lambda x: x),
        (["P", "FL"], lambda x: x),
    ],
)
def test_an_image_is_turned_upright_by_its_orientation(said, turn):
    stored = turn(ramp())
    spacing = ["0.1", "0.2"] if stored.shape == ramp().shape else ["0.2", "0.1"]
    read = dicom_read.read(encoded(dataset(stored, PatientOrientation=said, PixelSpacing=spacing)))
    np.testing.assert_array_equal(read.pixels, ramp())
    assert (read.tags.height, read.tags.width, read.tags.spacing) == (*ramp().shape, (0.1, 0.2))


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("062Y", 62.0),
        ("62", 62.0),
        ("62y ", 62.0),
        ("018M", 1.5),
        ("052W", 364 / 365.25),
        ("000D", 0.0),
        ("", None),
        ("Y062", None),
        ("6.2Y", None),
        ("sixty", None),
        ("-05Y", None),
        ("250Y", None),
        ("٠٦٢Y", None),
    ],
)
def test_ages_are_years_or_unknown(text, years):
    assert dicom_tags.parse_age(text) == (None if years is None else pytest.approx(years))


def test_missing_and_malformed_tags_are_unknown():
    tags = tags_of(dataset(ramp()))
    assert (tags.age, tags.sex, tags.view, tags.spacing, tags.orientation) == (None,) * 5
    assert (tags.study, tags.modality) == ("", "")
    odd = malformed(dataset(ramp(), ViewPosition="AP"), PatientAge="unknown", PatientSex="O", PixelSpacing="0.1")
    tags = tags_of(odd)
    assert (tags.age, tags.sex, tags.view, tags.spacing) == (None, None, "AP", None)
    assert dicom_read.read(encoded(odd)).pixels.shape == ramp().shape


def test_spacing_at_the_detector_serves_where_no_other_is_known():
    made = dataset(ramp(), ImagerPixelSpacing=["0.2", "0.1"])
    assert tags_of(made).spacing == (0.2, 0.1)
    made.PixelSpacing = ["0.15", "0.15"]
    assert tags_of(made).spacing == (0.15, 0.15)


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"NumberOfFrames": 2, "Rows": 20}, "holds 2 frames; export the one you want"),
        ({"PixelData": None}, "holds no image"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "got 'PALETTE COLOR'"),
        ({"PhotometricInterpretation": None}, "photometric interpretation must be .*got ''"),
        ({"SamplesPerPixel": 3}, "MONOCHROME2 has 1 samples per pixel, not 3"),
        ({"Rows": 0}, "is 0 x 60 pixels"),
        ({"Rows": 65535, "Columns": 65535}, "is 65535 x 65535 pixels"),
        ({"Rows": 41}, "cannot be decoded"),
        ({"BitsStored": 0}, "cannot be decoded"),
        ({"BitsStored": None}, "cannot be decoded"),
        ({"HighBit": 3}, "high bit 3 is too low for 8 stored bits"),
        ({"WindowCenter": "5", "WindowWidth": "0"}, "width 0.0"),
        ({"WindowCenter": "5", "WindowWidth": "9", "VOILUTFunction": "CURVE"}, "got 'CURVE'"),
        ({"RescaleSlope": "0", "RescaleIntercept": "0"}, "slope 0.0"),
    ],
)
def test_a_file_without_a_single_image_is_refused_with_the_reason(tags, said):
    with pytest.raises(ValueError, match=said) as caught:
        shown(dataset(ramp(), **tags))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"DICM", bytes(128) + b"DICM", bytes(128) + b"DICM" + bytes(range(256))])
def test_bytes_that_are_no_file_are_refused(data):
    with pytest.raises(ValueError, match=r"not a DICOM file|damaged|no image"):
        dicom_read.read(data)


def test_a_dicom_file_is_an_image_like_any_other():
    data = encoded(dataset(np.round(ramp() / 255 * 4095).astype(np.uint16), bits=12))
    assert np.abs(transforms.decode(data).astype(int) - ramp()).max() <= 1
    file = transforms.decode_file(data)
    assert file.pixels.shape == ramp().shape
    assert transforms.decode(file.stored(max_side=30)).shape == (20, 30)
    assert file.dicom.tags.height == 40
    assert file.dicom.dataset.Columns == 60


def test_reading_in_threads_leaves_warnings_as_they_were():
    odd = encoded(malformed(dataset(ramp()), PatientAge="unknown", PatientBirthDate="yesterday"))
    before = list(warnings.filters)
    with futures.ThreadPoolExecutor(8) as pool:
        pictures = list(pool.map(lambda _: dicom_read.read(odd).pixels, range(100)))
    assert all(np.array_equal(picture, ramp()) for picture in pictures)
    assert warnings.filters == before
    assert not logging.getLogger("pydicom").disabled


def mutated(data: bytes, draw: np.random.Generator) -> bytes:
    """A copy with bytes changed, cut out, put in or cut off, in the header (tags and lengths) or anywhere."""
    copy = bytearray(data)
    reach = len(copy) if draw.random() < 0.3 else min(len(copy), 2500)
    place, count = int(draw.integers(reach)), int(draw.integers(1, 100))
    match draw.integers(5):
        case 0:
            for where in draw.integers(reach, size=count):
                copy[where] = draw.integers(256)
        case 1:
            del copy[int(draw.integers(len(copy))) :]
        case 2:
            copy[place : place + 4] = draw.bytes(4)
        case 3:
            del copy[place : place + count]
        case 4:
            copy[place:place] = draw.bytes(count)
    return bytes(copy)


def assert_survives(data: bytes, copies: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    slowest = 0.0
    for _ in range(copies):
        copy, said, start = mutated(data, draw), "", time.perf_counter()
        try:
            pixels = dicom_read.read(copy).pixels
            assert (pixels.dtype, pixels.ndim) == (np.uint8, 2)
        except ValueError as error:
            said = str(error)
        assert "\n" not in said
        assert len(said) < 400
        slowest = max(slowest, time.perf_counter() - start)
    assert slowest < 5


@pytest.mark.parametrize("kind", ["native", "windowed", "jpeg", "rle"])
def test_no_damage_to_a_file_is_worse_than_one_line(kind):
    made = jpeg(ramp()) if kind == "jpeg" else dataset(ramp())
    if kind == "windowed":
        made.WindowCenter, made.WindowWidth, made.RescaleSlope, made.RescaleIntercept = 100, 50, 2, -5
        made.VOILUTSequence = [table(np.arange(256) * 16, 0, 12)]
    if kind == "rle":
        made.compress(uid.RLELossless)
    assert_survives(encoded(made), copies=500, seed=1)
