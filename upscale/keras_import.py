"""Weights of upscalemp3_v2 (`.weights.h5` or `.keras`) -> OriginalUNet.

Keras keeps the tensors of a layer in `PATH/vars/0, 1`. The paths are not reliable (every list of layers lands under
`layers/`), but each `vars` group carries the layer's name, which is unique; so layers are found by name, and all of the
architecture is read from their shapes. Convolution kernels are [taps, in, out] there and [out, in, taps] here.
"""

import io
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pywt
import torch
from torch import Tensor

from upscale.errors import UserError
from upscale.models.original import OriginalUNet
from upscale.restore.bundle import save_bundle

if TYPE_CHECKING:
    import h5py

Layers = dict[str, dict[str, np.ndarray]]


def load_keras_weights(path: str | os.PathLike[str]) -> OriginalUNet:
    """The original's network with the weights of `path`, float32, in eval mode. It computes what the original computes.

    Raises UserError for a file that is no Keras file and for a missing, extra or misshapen tensor, by its name.
    """
    model, _ = read_model(Path(path))
    return model


def import_bundle(path: str | os.PathLike[str], out: str | os.PathLike[str], normalize_peak: bool = False) -> Path:
    """Write the weights of `path` as a bundle into the folder `out`; `normalize_peak` as in OriginalUNet."""
    model, arguments = read_model(Path(path))
    bitrates = (64, 96, 128, 160, 192, 256)  # what upscalemp3_v2 was trained on
    return save_bundle(out, model, arguments={**arguments, "normalize_peak": normalize_peak}, bitrates=bitrates)


def read_model(path: Path) -> tuple[OriginalUNet, dict[str, Any]]:
    """The model, and its constructor arguments as read from the file."""
    layers = read_layers(path)
    try:
        arguments = read_arguments(layers)
        model = OriginalUNet(**arguments)
        model.load_state_dict(convert(layers, model))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    return model.eval(), arguments


def read_layers(path: Path) -> Layers:
    """Layer name -> its tensors by their key ("0", "1"); layers without tensors and the optimizer are left out."""
    try:
        import h5py
    except ImportError as error:
        raise UserError("reading Keras weights needs h5py: pip install 'upscalemp3[keras]'") from error
    if not path.is_file():
        raise UserError(f"{path} does not exist; give a .weights.h5 or .keras file")
    layers: Layers = {}

    def collect(name: str, node: "h5py.Group | h5py.Dataset") -> None:
        if name.split("/")[-1] != "vars" or not isinstance(node, h5py.Group) or name.startswith("optimizer/"):
            return
        tensors = {key: np.asarray(value) for key, value in node.items() if isinstance(value, h5py.Dataset)}
        layer = str(node.attrs.get("name", name))
        if layer in layers:
            raise UserError(f"{path} holds two layers named {layer}")
        if tensors:
            layers[layer] = tensors

    try:
        with h5py.File(open_weights(path)) as file:
            file.visititems(collect)
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} is not a Keras weights file (.weights.h5 or .keras)") from error
    if "initial_conv" not in layers:
        raise UserError(f"{path} is not a weights file of upscalemp3_v2: it holds no layer named initial_conv")
    return layers


def open_weights(path: Path) -> Any:
    """The h5 file itself, out of a `.keras` archive where it is one."""
    if not zipfile.is_zipfile(path):
        return path
    with zipfile.ZipFile(path) as archive:
        if "model.weights.h5" not in archive.namelist():
            raise UserError(f"{path} is an archive without model.weights.h5: not saved by Keras")
        return io.BytesIO(archive.read("model.weights.h5"))


def read_arguments(layers: Layers) -> dict[str, Any]:
    """The constructor arguments of OriginalUNet, from the shapes of the tensors in the file."""
    kernel_size, _, num_filters = kernel_shape(layers, "initial_conv")
    num_layers = sum(name.startswith("ds_conv_ds_block_") for name in layers)
    if num_layers == 0:
        raise UserError("no layer named ds_conv_ds_block_1")
    return {
        "num_layers": num_layers,
        "num_filters": num_filters,
        "kernel_size": kernel_size,
        "merge_kernel_size": kernel_shape(layers, "up_conv1_1")[0],
        "wavelet": wavelet_of(tensor_of(layers, "dwt_1", "0")),
    }


def wavelet_of(lowpass: np.ndarray) -> str:
    """The PyWavelets wavelet with this decomposition filter; for any other filter, a wavelet with as many taps.

    The filters themselves are loaded like every other tensor, so only their length matters here.
    """
    for name in pywt.wavelist(kind="discrete"):
        taps = np.asarray(pywt.Wavelet(name).dec_lo, dtype=np.float32)
        if taps.shape == (lowpass.size,) and np.array_equal(taps, lowpass.ravel()):
            return name
    name = f"db{lowpass.size // 2}"
    if lowpass.size % 2 or name not in pywt.wavelist("db"):
        raise UserError(f"dwt_1/vars/0 has shape {lowpass.shape}: no wavelet has that many taps")
    return name


def convert(layers: Layers, model: OriginalUNet) -> dict[str, Tensor]:
    """The state dict of `model`, every tensor of the file used exactly once."""
    expected = model.state_dict()
    state = dict[str, Tensor]()
    unused = {(layer, key) for layer, tensors in layers.items() for key in tensors}
    for prefix, layer in layer_names(len(model.downs)).items():
        if f"{prefix}.filters" in expected:
            values = {"filters": stacked_filters(layers, layer, num_taps=expected[f"{prefix}.filters"].shape[-1])}
        else:
            shapes = {name: tuple(expected[f"{prefix}.{name}"].shape) for name in ("weight", "bias")}
            values = weight_and_bias(layers, layer, shapes)
        state |= {f"{prefix}.{name}": torch.from_numpy(value.copy()) for name, value in values.items()}
        unused -= {(layer, "0"), (layer, "1")}
    if unused:
        layer, key = min(unused)
        raise UserError(f"extra tensor {layer}/vars/{key}, which the original does not have")
    return state


def layer_names(num_layers: int) -> dict[str, str]:
    """Submodule of OriginalUNet -> name of the layer in Keras, for every layer that has tensors."""
    names = {"head.conv": "initial_conv", "head.norm": "initial_norm", "output": "output_conv"}
    names |= {"bottleneck.conv": "bottleneck_conv1", "bottleneck.norm": "bottleneck_norm2"}
    for i in (0, 1):
        names |= {f"tail.{i}.conv": f"final_conv{i + 1}", f"tail.{i}.norm": f"final_norm{i + 1}"}
    for i in range(num_layers):
        down, level = f"downs.{i}", i + 1
        names |= {f"{down}.conv.conv": f"ds_conv_ds_block_{level}", f"{down}.conv.norm": f"layer_norm_ds_block_{level}"}
        names |= {f"{down}.dwt": f"dwt_{level}", **band_names(f"{down}.bands", f"down_process_{level}")}
        up = f"ups.{num_layers - level}"
        names |= {f"{up}.idwt": f"idwt_{level}", **band_names(f"{up}.bands", f"up_process_{level}")}
        for side in ("decoder", "encoder"):
            names[f"{up}.skip.{side}_gate.conv"] = f"{side}_gate_skip_connection_{level}"
        names[f"{up}.skip.norm"] = f"skip_norm_skip_connection_{level}"
        for j in (0, 1):
            names |= {
                f"{up}.convs.{j}.conv": f"up_conv{j + 1}_{level}",
                f"{up}.convs.{j}.norm": f"up_norm{j + 1}_{level}",
            }
    return names


def band_names(prefix: str, block: str) -> dict[str, str]:
    names = {f"{prefix}.merge.conv": f"output_conv_{block}", f"{prefix}.merge.norm": f"output_norm_{block}"}
    for band in ("approx", "detail"):
        names |= {f"{prefix}.{band}.0.conv": f"{band}_conv_{block}", f"{prefix}.{band}.0.norm": f"{band}_norm_{block}"}
        names[f"{prefix}.{band}.1.conv"] = f"{band}_gate_{block}"
    return names


def stacked_filters(layers: Layers, layer: str, num_taps: int) -> np.ndarray:
    """Lowpass and highpass [taps, 1, 1] of a transform as [2, taps]."""
    pair = [tensor_of(layers, layer, key, shape=(num_taps, 1, 1)) for key in ("0", "1")]
    return np.stack([taps[:, 0, 0] for taps in pair])


def weight_and_bias(layers: Layers, layer: str, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Kernel and bias of a convolution, gamma and beta of a normalisation, in the shapes of PyTorch."""
    return {
        name: tensor_of(layers, layer, str(key), shape=shape[::-1]).transpose()
        for key, (name, shape) in enumerate(shapes.items())
    }


def kernel_shape(layers: Layers, layer: str) -> tuple[int, ...]:
    """[taps, in, out]."""
    shape = tensor_of(layers, layer, "0").shape
    if len(shape) != 3:
        raise UserError(f"{layer}/vars/0 has shape {shape} where the original has [taps, in, out]")
    return shape


def tensor_of(layers: Layers, layer: str, key: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
    if key not in layers.get(layer, {}):
        raise UserError(f"missing tensor {layer}/vars/{key}")
    value = layers[layer][key]
    if shape is not None and value.shape != shape:
        raise UserError(f"{layer}/vars/{key} has shape {value.shape} where the original has {shape}")
    return value.astype(np.float32)
