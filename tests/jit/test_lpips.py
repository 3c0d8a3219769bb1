import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from prism_jax.models.lpips import LPIPS, SCALE, SHIFT, LPIPSConfig
from prism_jax.weights import pretrained
from prism_jax.weights.lpips import LAYERS, fill, load_lpips
from tests import tiny_configs


def state_dict(config):
    """Random tensors under the names of torchvision's `features` and of the lpips package."""
    rng = np.random.default_rng(0)
    inputs, found = 3, {}
    for place, conv in zip(LAYERS, config.convs, strict=True):
        shape = (conv.channels, inputs, conv.side, conv.side)
        found[f"features.{place}.weight"] = rng.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32)
        found[f"features.{place}.bias"] = rng.normal(0, 0.1, conv.channels).astype(np.float32)
        inputs = conv.channels
    lins = {
        f"lin{i}.model.1.weight": rng.random((1, n, 1, 1)).astype(np.float32)
        for i, n in enumerate(conv.channels for conv in config.convs)
    }
    return found | lins


TINY = tiny_configs.lpips()
IMAGES = np.random.default_rng(1).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)


@pytest.mark.parity
def test_lpips_is_that_of_the_paper_computed_with_pytorch():
    torch = pytest.importorskip("torch")
    config = tiny_configs.lpips()
    tensors = state_dict(config)
    weights = {name: torch.from_numpy(value) for name, value in tensors.items()}

    def maps(images):
        x = torch.from_numpy(images.transpose(0, 3, 1, 2)) - torch.from_numpy(SHIFT)[:, None, None]
        x, found = x / torch.from_numpy(SCALE)[:, None, None], []
        for place, conv in zip(LAYERS, config.convs, strict=True):
            x = torch.nn.functional.max_pool2d(x, conv.pool, 2) if conv.pool else x
            weight, bias = (weights[f"features.{place}.{leaf}"] for leaf in ("weight", "bias"))
            x = torch.relu(torch.nn.functional.conv2d(x, weight, bias, stride=conv.stride, padding=conv.padding))
            found.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return found

    pairs = zip(maps(IMAGES), maps(IMAGES[::-1].copy()), strict=True)
    expected = sum(
        torch.nn.functional.conv2d((x - y) ** 2, weights[f"lin{i}.model.1.weight"]).mean((1, 2, 3))
        for i, (x, y) in enumerate(pairs)
    )
    np.testing.assert_allclose(fill(config, tensors.items())(IMAGES, IMAGES[::-1]), expected, rtol=1e-5)


def test_equal_images_have_no_distance_and_the_order_does_not_matter():
    config = tiny_configs.lpips()
    network = fill(config, state_dict(config).items())
    there, back, same = (network(IMAGES, other) for other in (IMAGES[::-1], IMAGES[::-1], IMAGES))
    np.testing.assert_array_equal(same, 0.0)
    np.testing.assert_allclose(there, back[::-1], rtol=1e-5)
    assert (np.asarray(there) > 0).all()
    with pytest.raises(ValueError, match="must have one shape"):
        network(IMAGES, IMAGES[:1])


def test_the_network_has_the_published_size():
    network = pretrained.abstract(LPIPS, LPIPSConfig.alex())
    assert sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(network)) == 2_469_696 + 1152


def test_the_usual_files_are_read_and_the_classifier_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(LPIPSConfig, "alex", classmethod(lambda cls: TINY))
    tensors = state_dict(TINY)
    backbone = {name: value for name, value in tensors.items() if name.startswith("features")}
    unused = {"classifier.1.weight": np.zeros((2, 2), np.float32), "classifier.1.bias": np.zeros(2, np.float32)}
    save_file(backbone | unused, tmp_path / "backbone.safetensors")
    with pytest.raises(ValueError, match=r"lins.safetensors is weights/v0.1/alex.pth of the lpips package; convert"):
        load_lpips(tmp_path)
    # The whole module's spelling.
    lins = {f"lins.{name[3]}{name[4:]}": value for name, value in tensors.items() if name.startswith("lin")}
    save_file(lins, tmp_path / "lins.safetensors")
    kernel = load_lpips(tmp_path).convs[1].kernel[...]
    np.testing.assert_array_equal(kernel, tensors["features.3.weight"].transpose(2, 3, 1, 0))


def test_missing_files_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"torchvision's alexnet .*; lins.safetensors is .*torch.load"):
        load_lpips(tmp_path)
    with pytest.raises(ValueError, match=r"never filled \['lin0.model.1.weight'\]"):
        fill(TINY, [item for item in state_dict(TINY).items() if not item[0].startswith("lin0")])
