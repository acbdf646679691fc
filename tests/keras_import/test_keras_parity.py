"""Stage by stage beside the original: its own outputs where they are at hand, an independent NumPy form otherwise.

`../shared/keras_parity` holds what upscalemp3_v2 itself computed. Every activation of the network is compared in double
precision, so that an error is found in the layer that makes it.
"""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from keras_layout import random_weights, run, write_h5

from upscale.errors import UserError
from upscale.keras_import import convert, load_keras_weights, read_arguments
from upscale.models import OriginalUNet

pytest.importorskip("h5py")

FIXTURE = Path(__file__).parent / "keras_small.weights.h5"
SMALL = {"seed": 0, "num_layers": 2, "num_filters": 4, "kernel_size": 6, "merge_kernel_size": 3, "wavelet": "db4"}
FULL = {**SMALL, "num_layers": 10, "num_filters": 16, "kernel_size": 16, "merge_kernel_size": 16}
ORIGINAL = Path(__file__).parents[3] / "shared" / "keras_parity"
needs_the_original = pytest.mark.skipif(not ORIGINAL.is_dir(), reason="the original's outputs are not at hand")


def stages_of(model, wav):
    """[B, 1, T] -> stage -> [B, N, channels], by the names of the original's layers."""
    stages = {}

    def keep(name):
        def hook(module, inputs, output):
            stages[name] = torch.cat(output, dim=-1) if isinstance(output, tuple) else output

        return hook

    num_layers = len(model.downs)
    modules = {"initial_conv": model.head.conv, "initial_gelu": model.head, "bottleneck": model.bottleneck}
    modules["final"] = model.tail
    for level, down in enumerate(model.downs, start=1):
        modules |= {f"ds_{level}": down.conv, f"dwt_{level}": down.dwt, f"down_process_{level}": down.bands}
    for level, up in zip(range(num_layers, 0, -1), model.ups, strict=True):
        modules |= {f"idwt_{level}": up.idwt, f"up_process_{level}": up.bands, f"align_{level}": up.fit}
        modules |= {f"skip_{level}": up.skip, f"up_{level}": up.convs}
    handles = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    with torch.no_grad():
        stages["output"] = model(wav).transpose(1, 2)
    for handle in handles:
        handle.remove()
    return {name: value.numpy() for name, value in stages.items()}


def noise(length):
    return np.clip(0.3 * np.random.default_rng(1).normal(size=length), -1, 1)


@pytest.mark.parametrize("length", [301, 512, 1023])
def test_every_stage_equals_the_numpy_form(length):
    weights, wav = random_weights(**SMALL), noise(length)
    expected = run(weights, SMALL["num_layers"], wav)
    found = stages_of(load_keras_weights(FIXTURE).double(), torch.tensor(wav)[None, None])
    assert len(found) == len(expected) - 1  # the first normalisation alone is no module of ours
    for name, value in found.items():
        np.testing.assert_allclose(value[0], expected[name], atol=1e-9, err_msg=name)


@needs_the_original
@pytest.mark.parametrize("name", ["tiny.weights.h5", "tiny.keras"])
def test_the_output_equals_the_original_in_double_precision(name):
    x, y64 = np.load(ORIGINAL / "tiny_io.npz")["x"], np.load(ORIGINAL / "tiny_y64.npz")["y64"]
    model = load_keras_weights(ORIGINAL / name).double()
    with torch.no_grad():
        found = model(torch.tensor(x, dtype=torch.float64).transpose(1, 2)).transpose(1, 2).numpy()
    assert np.abs(found - y64).max() < 1e-5


@needs_the_original
def test_the_output_equals_the_original_in_single_precision():
    values = np.load(ORIGINAL / "tiny_io.npz")
    with torch.no_grad():
        found = load_keras_weights(ORIGINAL / "tiny.weights.h5")(torch.tensor(values["x"]).transpose(1, 2))
    error = np.abs(found.transpose(1, 2).numpy() - values["y"])
    assert error.max() < 1e-3
    assert error.mean() < 3e-5


@needs_the_original
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_stage_equals_the_original(dtype):
    """Its activations are float32; LayerNorm over two channels amplifies their rounding to some 1e-3 deep inside."""
    expected = np.load(ORIGINAL / "tiny_intermediates.npz")
    x = torch.tensor(np.load(ORIGINAL / "tiny_io.npz")["x"], dtype=dtype).transpose(1, 2)
    found = stages_of(load_keras_weights(ORIGINAL / "tiny.weights.h5").to(dtype), x)
    assert len(found) == len(expected.files) - 1
    for name, value in found.items():
        assert value.shape == expected[name].shape, name
        error, size = np.abs(value - expected[name]), np.abs(expected[name]).max()
        assert error.max() < 1e-3 * size, f"{name}: {error.max()}"
        assert error.mean() < 3e-5 * size, f"{name}: {error.mean()}"


@pytest.mark.slow
@needs_the_original
def test_the_full_size_has_the_names_and_shapes_of_the_original():
    """Its h5's tree against our layout, and against the network that is built from it."""
    layer, tree = "", {}
    for line in (ORIGINAL / "full_h5_tree.txt").read_text().splitlines():
        if group := re.fullmatch(r"G \S+vars attrs=\{'name': '(.*)'\}", line):
            layer = group[1]
        if data := re.fullmatch(r"D \S+/vars/(\d+) \(([\d, ]*)\) float32", line):
            tree[layer, data[1]] = tuple(int(size) for size in data[2].split(",") if size.strip())
    ours = random_weights(**FULL)
    shapes = {(name, str(key)): tensor.shape for name, pair in ours.items() for key, tensor in enumerate(pair)}
    assert tree == shapes
    assert sum(np.prod(shape) for shape in tree.values()) == 12_652_594
    layers = {}
    for (name, key), shape in tree.items():
        layers.setdefault(name, {})[key] = np.zeros(shape, dtype=np.float32)
    model = OriginalUNet(**{**read_arguments(layers), "wavelet": "db4"})
    state = convert(layers, model)
    assert {name: value.shape for name, value in state.items()} == {
        name: value.shape for name, value in model.state_dict().items()
    }
    assert sum(parameter.numel() for parameter in model.parameters()) == 12_652_274


@pytest.mark.slow
@pytest.mark.parametrize("name", ["initial_conv", "dwt_3", "up_conv1_7", "bottleneck_norm2", "output_conv"])
def test_a_missing_layer_is_named(tmp_path, name):
    weights = random_weights(**FULL)
    del weights[name]
    write_h5(tmp_path / "broken.weights.h5", weights)
    with pytest.raises(UserError, match=name):
        load_keras_weights(tmp_path / "broken.weights.h5")


@pytest.mark.parametrize("whole", [3000, 3001])
def test_a_chunk_with_context_equals_the_whole(whole):
    """In double precision: what differs in single precision is rounding that small LayerNorms amplify."""
    model = load_keras_weights(FIXTURE).double()
    wav = torch.tensor(noise(whole))[None, None]
    context = -(-model.context // model.stride) * model.stride
    start = context + 3 * model.stride
    with torch.no_grad():
        expected = model(wav)[..., start : start + 500]
        found = model(wav[..., start - context : start + 500 + context])[..., context : context + 500]
        single = model.float()(wav.float())[..., start : start + 500]
    assert (found - expected).abs().max() < 1e-11
    assert (single - expected).abs().max() < 1e-3
