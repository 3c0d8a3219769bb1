"""Decoding and resizing: one scale for all bit depths, shapes kept, bad files named."""

import io

import numpy as np
import pytest
from PIL import Image

from prism_jax.data import transforms
from prism_jax.pixels import to_uint8


def encoded(pixels: np.ndarray, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def ramp(height: int = 40, width: int = 60) -> np.ndarray:
    """Every grey level, uint8."""
    return np.linspace(0, 255, height * width).reshape(height, width).astype(np.uint8)


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_a_16_bit_file_shows_the_same_image_as_an_8_bit_file(bits):
    deep = np.round(ramp() / 255 * (2**bits - 1)).astype(np.uint16)
    shallow = transforms.decode(encoded(ramp())).astype(int)
    assert np.abs(transforms.decode_file(encoded(deep), bit_depth=bits).pixels - shallow).max() <= 1


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tiff_shows_the_same_image_as_a_png(dtype, compression):
    pixels = ramp().astype(dtype) * (257 if dtype == np.uint16 else 1)
    np.testing.assert_array_equal(transforms.decode(encoded(pixels, "TIFF", compression=compression)), ramp())


def test_a_16_bit_tiff_in_which_white_is_zero_is_inverted():
    inverse = {transforms.PHOTOMETRIC: transforms.WHITE_IS_ZERO}
    data = encoded(ramp().astype(np.uint16) * 257, "TIFF", tiffinfo=inverse)
    np.testing.assert_array_equal(transforms.decode(data), 255 - ramp())


def test_a_32_bit_tiff_is_read_as_far_as_its_values_fit():
    pixels = np.array([[0, 65535]], np.int32)
    assert transforms.decode(encoded(pixels, "TIFF")).tolist() == [[0, 255]]
    for beyond in (pixels + 1, pixels - 1):
        with pytest.raises(ValueError, match=r"grey value (65536|-1) exceeds bit_depth 16"):
            transforms.decode(encoded(beyond, "TIFF"))


def test_floating_point_and_several_images_are_refused():
    with pytest.raises(ValueError, match="floating-point"):
        transforms.decode(encoded(ramp().astype(np.float32), "TIFF"))
    pages = Image.fromarray(ramp())
    with pytest.raises(ValueError, match="holds 2 images"):
        transforms.decode(encoded(ramp(), "TIFF", save_all=True, append_images=[pages]))


def test_what_is_no_png_or_jpeg_is_stored_as_png():
    file = transforms.decode_file(encoded(ramp(), "TIFF"))
    assert file.pixels.shape == ramp().shape
    data = file.stored()
    assert data.startswith(transforms.STORED)
    np.testing.assert_array_equal(transforms.decode(data), ramp())


def test_grey_values_beyond_the_bit_depth_are_refused():
    with pytest.raises(ValueError, match="grey value 4096 exceeds bit_depth 12"):
        transforms.decode_file(encoded(np.full((4, 4), 4096, np.uint16)), bit_depth=12)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "1"])
def test_every_png_mode_decodes_to_its_grey_image(mode):
    black_and_white = np.where(ramp() > 127, 255, 0).astype(np.uint8)
    data = io.BytesIO()
    Image.fromarray(black_and_white).convert(mode).save(data, "PNG")
    np.testing.assert_array_equal(transforms.decode(data.getvalue()), black_and_white)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5, 0.97])
def test_a_truncated_file_is_refused(kind, kept):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    data = encoded(noise, kind)
    with pytest.raises(ValueError, match=r"is corrupt|is not a PNG, JPEG"):
        transforms.decode(data[: int(len(data) * kept)])


def test_a_render_images_on_its_side_is_turned_upright():
    exif = Image.Exif()
    exif[274] = 6  # turn by 90 degrees to view
    data = encoded(ramp(), "JPEG", exif=exif, quality=95)
    assert transforms.decode(data).shape == (60, 40)


def test_an_image_that_needs_no_change_is_stored_byte_for_byte():
    data = encoded(ramp(), "JPEG")
    assert transforms.decode_file(data).stored(max_side=60) == data


def test_large_and_deep_images_are_stored_smaller_with_their_shape():
    deep = ramp(100, 200).astype(np.uint16) * 257
    file = transforms.decode_file(encoded(deep))
    assert file.pixels.shape == (100, 200)
    assert transforms.decode(file.stored(max_side=50)).shape == (25, 50)


@pytest.mark.parametrize("shape", [(50, 100), (100, 50), (64, 64), (31, 90)])
@pytest.mark.parametrize("size", [64, (48, 80)])
def test_a_disc_stays_round(shape, size):
    y, x = np.mgrid[: shape[0], : shape[1]]
    radius = min(shape) / 4
    disc = np.hypot(y - (shape[0] - 1) / 2, x - (shape[1] - 1) / 2) < radius
    for fit in ("pad", "crop"):
        image = transforms.to_input(disc.astype(np.uint8) * 255, size, fit)
        height, width = transforms.frame(size)
        assert image.shape == (height, width, 3)
        rows, columns = np.nonzero(image[..., 0] > 0)
        if fit == "crop" and max(np.ptp(rows), np.ptp(columns)) >= min(height, width) - 1:
            continue  # the disc itself is cut
        assert abs(np.ptp(rows) - np.ptp(columns)) <= 2
        assert abs(rows.mean() - (height - 1) / 2) <= 1
        assert abs(columns.mean() - (width - 1) / 2) <= 1


def test_pad_shows_everything_and_crop_fills_the_frame():
    white = np.full((32, 64), 255, np.uint8)
    assert np.mean(transforms.to_input(white, 64, "pad") > 0) == pytest.approx(0.5, abs=0.02)
    assert np.all(transforms.to_input(white, 64, "crop") == 1)


def test_a_crop_holds_the_mask_and_its_margin():
    mask = np.zeros((40, 60), np.uint8)
    mask[10:30, 5:25] = 255
    assert transforms.crop_to(mask, mask, margin=0.0).shape == (20, 20)
    assert transforms.crop_to(mask, mask, margin=0.0).all()
    assert transforms.crop_to(mask, mask, margin=0.1).shape == (24, 24)
    assert transforms.crop_to(mask, mask, margin=0.5).shape == (40, 35)  # as far as the picture reaches


def test_a_mask_of_another_shape_or_without_content_is_refused():
    with pytest.raises(ValueError, match="draw masks on the image"):
        transforms.crop_to(ramp(), ramp(20, 30))
    with pytest.raises(ValueError, match="mask is empty"):
        transforms.crop_to(ramp(), np.zeros_like(ramp()))


def test_bytes_survive_the_way_to_the_network_and_back():
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = transforms.to_input(pixels, 16)
    assert image.dtype == np.float32
    assert (image.min(), image.max()) == (-1, 1)
    np.testing.assert_array_equal(to_uint8(image)[..., 2], pixels)


@pytest.mark.parametrize(
    ("size", "remedy"), [(130, "128 or 136"), ((128, 100), "96 or 104"), (5, "use 8"), (0, "use 8")]
)
def test_a_size_the_vae_cannot_take_is_refused_with_the_next_ones(size, remedy):
    with pytest.raises(ValueError, match=f"not divisible by the VAE's factor 8; .*{remedy}"):
        transforms.to_input(ramp(), size)


def test_an_unknown_fit_is_refused():
    with pytest.raises(ValueError, match="fit must be 'pad' or 'crop', got 'stretch'"):
        transforms.to_input(ramp(), 64, "stretch")


def test_a_file_that_cannot_be_used_is_named_in_one_line(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "scan.gif").write_bytes(encoded(ramp(), "GIF"))
    (tmp_path / "cut.png").write_bytes(encoded(ramp())[:-40])
    reasons = {
        "empty.png": "is empty",
        "text.png": "not a PNG, JPEG, TIFF or DICOM",
        "scan.gif": "not a PNG, JPEG, TIFF or DICOM",
    }
    reasons |= {"cut.png": "is corrupt", "absent.png": "No such file", ".": "Is a directory"}
    for name, reason in reasons.items():
        with pytest.raises(ValueError, match=reason) as caught:
            transforms.read_file(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_good_file_loads(tmp_path):
    (tmp_path / "good.png").write_bytes(encoded(ramp()))
    file = transforms.read_file(tmp_path / "good.png")
    np.testing.assert_array_equal(file.pixels, ramp())
    assert file.dicom is None
