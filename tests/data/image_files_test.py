import io
import os
import threading

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data import pictures
from tff_cnn.core.errors import FailedRunError, UsageError
from tff_cnn.data import image_files
from tff_cnn.data.image_files import (
    DamagedImageError,
    Header,
    ImageFiles,
    ImageSpec,
    decode,
    read_header,
    survey,
)

GREY = pictures.pixels((6, 4))
COLOR = pictures.pixels((6, 4, 3))
DEEP = pictures.pixels((6, 4), np.uint16)


def spec(height=6, width=4, channels=1, bits=8, fit="resize"):
    return ImageSpec(height, width, channels, bits, fit)


LOSSLESS = [".png", ".bmp", ".gif"]


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_grey_images_are_read_bit_for_bit(tmp_path, suffix):
    path = pictures.write(tmp_path / f"a{suffix}", GREY)
    assert read_header(path) == Header(6, 4, 1, 8, False)
    np.testing.assert_array_equal(decode(path, spec())[..., 0], GREY)
    colored = decode(path, spec(channels=3))
    np.testing.assert_array_equal(colored, np.stack([GREY] * 3, -1))


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_colors_are_read_bit_for_bit(tmp_path, suffix):
    path = pictures.write(tmp_path / f"a{suffix}", COLOR)
    assert read_header(path) == Header(6, 4, 3, 8, False)
    np.testing.assert_array_equal(decode(path, spec(channels=3)), COLOR)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpegs_are_read_nearly_so(tmp_path, mode):
    smooth = np.full((16, 12, 3), (200, 100, 50), np.uint8)
    image = PIL.Image.fromarray(smooth).convert(mode)
    path = pictures.write(tmp_path / "a.jpg", image, quality=95)
    channels = 1 if mode == "L" else 3
    assert read_header(path) == Header(16, 12, channels, 8, False)
    found = decode(path, spec(16, 12, channels))
    expected = np.asarray(image.convert("L" if mode == "L" else "RGB"))
    expected = expected.reshape(16, 12, channels)
    np.testing.assert_allclose(found, expected, atol=4)


def test_a_palette_is_color_and_one_bit_is_grey(tmp_path):
    palette = PIL.Image.fromarray(COLOR).quantize(256)
    path = pictures.write(tmp_path / "a.png", palette)
    assert read_header(path).channels == 3
    expected = np.asarray(palette.convert("RGB"))
    np.testing.assert_array_equal(decode(path, spec(channels=3)), expected)
    path = pictures.write(tmp_path / "b.png", PIL.Image.fromarray(GREY > 99))
    assert read_header(path).channels == 1
    expected = 255 * (GREY > 99)
    np.testing.assert_array_equal(decode(path, spec())[..., 0], expected)


def test_only_the_first_frame_of_a_gif_counts(tmp_path):
    frames = [PIL.Image.fromarray(GREY), PIL.Image.fromarray(255 - GREY)]
    path = tmp_path / "a.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(decode(path, spec())[..., 0], GREY)


def test_what_is_transparent_is_shown_on_white(tmp_path):
    image = np.zeros((6, 4, 4), np.uint8)  # Black ink, which alpha draws.
    image[:3, :, 3] = 255
    path = pictures.write(tmp_path / "a.png", image)
    assert read_header(path) == Header(6, 4, 3, 8, True)
    found = decode(path, spec(channels=3))
    assert (found[:3] == 0).all() and (found[3:] == 255).all()
    path = pictures.write(
        tmp_path / "b.png", PIL.Image.fromarray(image).convert("LA")
    )
    assert read_header(path) == Header(6, 4, 1, 8, True)
    found = decode(path, spec())
    assert (found[:3] == 0).all() and (found[3:] == 255).all()


def test_sixteen_bits_are_kept(tmp_path):
    path = pictures.write(tmp_path / "a.png", DEEP)
    assert read_header(path) == Header(6, 4, 1, 16, False)
    found = decode(path, spec(bits=16))
    assert found.dtype == np.uint16 and spec(bits=16).pixel_max == 65535
    np.testing.assert_array_equal(found[..., 0], DEEP)


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_sixteen_bits_of_colors_are_kept_too(tmp_path, channels):
    import tensorflow as tf

    image = pictures.pixels((6, 4, channels), np.uint16)
    (tmp_path / "a.png").write_bytes(tf.io.encode_png(image).numpy())
    colors = channels - 1 + channels % 2
    found = read_header(tmp_path / "a.png")
    assert found == Header(6, 4, colors, 16, channels % 2 == 0)
    expected = image
    if channels % 2 == 0:
        alpha = image[..., -1:] / 65535
        expected = image[..., :-1] * alpha + 65535 * (1 - alpha)
    found = decode(tmp_path / "a.png", spec(channels=colors, bits=16))
    np.testing.assert_allclose(found, expected, atol=0.51)


def test_photos_are_turned(tmp_path):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # The camera was held upright.
    image = np.zeros((8, 16), np.uint8)
    image[:, :8] = 255
    path = pictures.write(tmp_path / "a.jpg", image, exif=exif)
    assert read_header(path)[:2] == (16, 8)
    found = decode(path, spec(16, 8))[..., 0]
    assert (found[:8] > 250).all() and (found[8:] < 5).all()


def test_a_file_is_what_it_holds_and_not_what_it_is_called(tmp_path):
    path = pictures.write(tmp_path / "a.jpg", GREY, format="PNG")
    np.testing.assert_array_equal(decode(path, spec())[..., 0], GREY)


def test_resizing_takes_means_and_padding_keeps_proportions(tmp_path):
    image = np.zeros((8, 4), np.uint8)
    image[:, 2:] = 200
    path = pictures.write(tmp_path / "a.png", image)
    found = decode(path, spec(4, 4))[..., 0]
    assert found.shape == (4, 4) and found.mean() == 100
    padded = decode(path, spec(4, 4, fit="pad"))[..., 0]
    assert (padded[:, [0, 3]] == 0).all()
    np.testing.assert_allclose(padded[:, 1:3].mean(0), [25, 175], atol=5)


@settings(deadline=None, max_examples=30)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    st.sampled_from([1, 3]),
    st.sampled_from([8, 16]),
    st.sampled_from(["resize", "pad"]),
)
def test_any_size_becomes_any_other(
    tmp_path_factory, size, wanted, channels, bits, fit
):
    dtype = np.uint16 if bits == 16 else np.uint8
    white = np.full((*size, channels), np.iinfo(dtype).max, dtype)
    found = image_files._fitted(white, ImageSpec(*wanted, channels, bits, fit))
    assert found.shape == (*wanted, channels) and found.dtype == dtype
    assert found.max() == np.iinfo(dtype).max
    if fit == "resize":
        assert (found == white.max()).all()
    rows = (found.reshape(*wanted, -1).max((1, 2)) > 0).sum()
    columns = (found.reshape(*wanted, -1).max((0, 2)) > 0).sum()
    assert rows == wanted[0] or columns == wanted[1]


LARGE = pictures.pixels((30, 20, 3))
WHOLE = {
    "a.png": (LARGE, {}),
    "deep.png": (pictures.pixels((30, 20), np.uint16), {}),
    "a.bmp": (LARGE, {}),
    "a.gif": (LARGE[..., 0], {}),
    "a.jpg": (LARGE, {}),
    "progressive.jpg": (LARGE, {"progressive": True}),
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("part", [0, 3, 20, 0.3, 0.6, 0.9])
def test_what_is_cut_off_is_found(tmp_path, name, part):
    image, options = WHOLE[name]
    path = pictures.write(tmp_path / name, image, **options)
    read_header(path)
    pictures.cut(path, part)
    with pytest.raises(DamagedImageError):
        read_header(path)


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("behind", [b"\n", b"\0" * 64, b"more of it" * 9])
def test_what_stands_behind_an_image_is_no_damage(tmp_path, name, behind):
    path = pictures.write(tmp_path / name, WHOLE[name][0])
    whole = read_header(path)
    path.write_bytes(path.read_bytes() + behind)
    assert read_header(path) == whole


def test_damage_has_a_reason(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("<html>not found</html>" * 20)
    (tmp_path / "link.gif").symlink_to(tmp_path / "nowhere")
    pictures.write(tmp_path / "good.bmp", GREY)
    names = sorted(os.listdir(tmp_path))
    assert survey(tmp_path, names) == [
        "0 bytes",
        Header(6, 4, 1, 8, False),
        "not there, or a link to nothing",
        "no PNG, JPEG, BMP or GIF",
    ]


def inner_damage(path):
    """An image whose header and end are well."""
    pictures.write(path, GREY)
    content = bytearray(path.read_bytes())
    content[45:50] = b"\xff" * 5
    path.write_bytes(content)


def test_inner_damage_is_found_by_decoding(tmp_path):
    inner_damage(tmp_path / "a.png")
    (found,) = survey(tmp_path, ["a.png"])
    assert isinstance(found, Header)
    (found,) = survey(tmp_path, ["a.png"], decodes=True)
    assert isinstance(found, str)


def test_files_that_may_not_be_read_are_told(tmp_path, monkeypatch):
    pictures.write(tmp_path / "a.png")

    def refuse(path, *arguments, **named):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(image_files, "open", refuse, raising=False)
    with pytest.raises(UsageError, match=r"a\.png cannot be read \(Perm"):
        survey(tmp_path, ["a.png"])


def test_images_are_read_in_any_order_by_many_threads(tmp_path):
    images = [pictures.pixels((6, 4), seed=i) for i in range(30)]
    for number, image in enumerate(images):
        pictures.write(tmp_path / f"{number}.png", image)
    files = ImageFiles(tmp_path, [f"{i}.png" for i in range(30)], spec())
    wrong = []

    def read(seed):
        indices = np.random.default_rng(seed).integers(0, 30, 50)
        expected = np.stack([images[i] for i in indices])
        if not np.array_equal(files.read(indices)[..., 0], expected):
            wrong.append(seed)

    threads = [threading.Thread(target=read, args=[s]) for s in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_damage_that_is_found_while_training_names_all(tmp_path):
    names = [f"{number}.png" for number in range(12)]
    for name in names:
        pictures.write(tmp_path / name, GREY)
    for number in (3, 11):
        inner_damage(tmp_path / f"{number}.png")
    files = ImageFiles(tmp_path, names, spec())
    with pytest.raises(FailedRunError) as caught:
        files.part(np.arange(8))(np.array([0, 3]))
    told = str(caught.value)
    assert "2 of 12 images are damaged: 3.png (" in told and "11.png (" in told
    assert "dataset.skip_damaged" in told and told.endswith(".")


def test_sizes_are_counted_where_they_differ():
    headers = [Header(6, 4, 1, 8, False)] * 3 + [Header(4, 6, 3, 8, False)]
    with pytest.raises(UsageError) as caught:
        image_files.spec_of(headers, None, "resize")
    told = str(caught.value)
    assert "2 sizes, height x width: 6x4 (3), 4x6 (1): choose one" in told
    assert "dataset.image_size=6,4" in told
    found = image_files.spec_of(headers, (5, 7), "pad")
    assert found == ImageSpec(5, 7, 3, 8, "pad")
    assert image_files.spec_of(headers[:3], None, "resize").shape == (6, 4, 1)


def test_eight_and_sixteen_bits_do_not_mix():
    headers = [Header(6, 4, 1, 8, False)] * 3 + [Header(6, 4, 1, 16, False)]
    with pytest.raises(UsageError, match="1 images have 16 bits .* and 3"):
        image_files.spec_of(headers, None, "resize")


def test_large_photos_are_decoded_smaller(tmp_path):
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (8, 8, 3), np.uint8)
    image = PIL.Image.fromarray(small).resize((512, 512))
    path = pictures.write(tmp_path / "a.jpg", image, quality=95)
    found = decode(path, spec(32, 32, 3)).astype(int)
    content = io.BytesIO(path.read_bytes())
    whole = np.asarray(PIL.Image.open(content).convert("RGB"))
    expected = image_files._resized(whole, np.array((32, 32)))
    assert np.abs(found - expected).mean() < 3
