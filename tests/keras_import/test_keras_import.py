"""Weights in Keras' layout compute what the original computes; what does not fit is named."""

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from keras_layout import random_weights, run, write_h5

from upscale.errors import UserError
from upscale.keras_import import import_bundle, load_keras_weights
from upscale.restore.bundle import load_bundle

pytest.importorskip("h5py")

FIXTURE = Path(__file__).parent / "keras_small.weights.h5"
# FIXTURE was written by write_h5(FIXTURE, random_weights(**SMALL)).
SMALL = {
    "seed": 0,
    "num_layers": 2,
    "num_filters": 4,
    "kernel_size": 6,
    "merge_kernel_size": 3,
    "wavelet": "db4",
}


def difference(model, weights, length):
    wav = np.clip(0.3 * np.random.default_rng(1).normal(size=length), -1, 1)
    expected = run(weights, len(model.downs), wav)["output"][:, 0]
    with torch.no_grad():
        found = model.double()(torch.tensor(wav)[None, None])[0, 0].numpy()
    return np.abs(found - expected).max()


def test_the_fixture_equals_the_numpy_form():
    model = load_keras_weights(FIXTURE)
    assert difference(model, random_weights(**SMALL), length=301) < 1e-9


@pytest.mark.parametrize(
    "changes",
    [
        {"num_layers": 1, "num_filters": 3, "kernel_size": 5},
        {"num_layers": 3, "num_filters": 6, "merge_kernel_size": 8},
        {"num_filters": 5, "wavelet": "db2"},
        {"wavelet": "haar"},
        {"wavelet": "sym8"},
    ],
)
@pytest.mark.parametrize("length", [256, 301])
def test_sizes_and_wavelets_are_read_from_the_tensor_shapes(tmp_path, changes, length):
    weights = random_weights(**{**SMALL, **changes})
    write_h5(tmp_path / "other.weights.h5", weights)
    assert difference(load_keras_weights(tmp_path / "other.weights.h5"), weights, length) < 1e-9


def test_a_keras_archive_loads_like_its_weights_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.write(FIXTURE, "model.weights.h5")
        archive.writestr("config.json", "{}")
    ours, theirs = load_keras_weights(tmp_path / "model.keras"), load_keras_weights(FIXTURE)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())


def broken(change):
    weights = random_weights(**SMALL)
    change(weights)
    return weights


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("approx_norm_up_process_2"), "missing tensor approx_norm_up_process_2/vars/0"),
        (lambda weights: weights["final_conv2"].pop(), "missing tensor final_conv2/vars/1"),
        (lambda weights: weights.update(more=[np.zeros(3)]), "extra tensor more/vars/0"),
        (lambda weights: weights["final_norm1"].append(np.zeros(4)), "extra tensor final_norm1/vars/2"),
        (
            lambda weights: weights.update(final_norm1=[np.zeros(5), np.zeros(5)]),
            r"final_norm1/vars/0 has shape \(5,\) where the original has \(4,\)",
        ),
    ],
)
def test_missing_extra_and_misshapen_tensors_are_named(tmp_path, change, message):
    write_h5(tmp_path / "broken.weights.h5", broken(change))
    with pytest.raises(UserError, match=message):
        load_keras_weights(tmp_path / "broken.weights.h5")


def test_files_that_are_not_keras_are_refused(tmp_path):
    (tmp_path / "text.h5").write_text("no h5")
    with pytest.raises(UserError, match="not a Keras weights file"):
        load_keras_weights(tmp_path / "text.h5")
    write_h5(tmp_path / "empty.h5", {})
    with pytest.raises(UserError, match="no layer named initial_conv"):
        load_keras_weights(tmp_path / "empty.h5")
    buffer = io.BytesIO()
    zipfile.ZipFile(buffer, "w").close()
    (tmp_path / "empty.keras").write_bytes(buffer.getvalue())
    with pytest.raises(UserError, match=r"without model\.weights\.h5"):
        load_keras_weights(tmp_path / "empty.keras")
    with pytest.raises(UserError, match="does not exist"):
        load_keras_weights(tmp_path / "nowhere.h5")


def test_the_bundle_holds_the_same_model(tmp_path):
    model, description = load_bundle(import_bundle(FIXTURE, tmp_path / "bundle"))
    assert description.arguments["merge_kernel_size"] == 3
    wav = torch.randn(1, 1, 200)
    with torch.no_grad():
        torch.testing.assert_close(model(wav), load_keras_weights(FIXTURE)(wav))


@pytest.mark.slow
def test_import_keras_on_a_wrong_file_is_one_line(tmp_path):
    script = Path(__file__).parents[2] / "scripts" / "import_keras.py"
    (tmp_path / "text.h5").write_text("no h5")
    command = [sys.executable, script, f"weights={tmp_path / 'text.h5'}", f"out={tmp_path / 'bundle'}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_peak_normalisation_follows_the_level():
    model = load_keras_weights(FIXTURE)
    model.normalize_peak = True
    wav = torch.randn(1, 1, 200).clamp(-1, 1)
    with torch.no_grad():
        torch.testing.assert_close(model(0.25 * wav), 0.25 * model(wav), atol=1e-4, rtol=0)
        assert torch.isfinite(model(torch.zeros(1, 1, 200))).all()
