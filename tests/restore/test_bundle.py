"""Bundles: what is stored comes back, and nothing that could run code is ever loaded."""

import pickle
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from upscale.errors import UserError
from upscale.models import SpectralFill, SpectralGain
from upscale.restore import Restorer
from upscale.restore.bundle import load_bundle, save_bundle


def test_a_saved_bundle_loads_the_same_model(halver, noise, tmp_path):
    model = halver(channels=2, num_layers=2, level=0.7)
    arguments = {"channels": 2, "num_layers": 2}
    folder = save_bundle(tmp_path / "m", model, arguments=arguments, bitrates=[64, 128], metrics={"si_sdr": 0.4})
    loaded, description = load_bundle(folder)
    wav = torch.from_numpy(noise(1, 2, 1_001))
    assert torch.equal(loaded(wav), model(wav)) and not loaded.training
    assert description.arguments == arguments and description.bitrates == (64, 128)
    assert description.metrics == {"si_sdr": 0.4}
    assert sorted(path.name for path in folder.iterdir()) == ["model.yaml", "weights.safetensors"]
    assert Restorer.load(folder, device="cpu").traits.bitrates == (64, 128)


def test_a_half_precision_bundle_is_half_as_large_and_loads_as_float32(tmp_path):
    model = SpectralGain(num_blocks=1)
    torch.nn.init.normal_(model.equaliser, std=0.1)
    folders = [
        save_bundle(tmp_path / name, model, arguments={"num_blocks": 1}, dtype=dtype)
        for name, dtype in (("whole", None), ("half", torch.float16))
    ]
    whole, half = ((folder / "weights.safetensors").stat().st_size for folder in folders)
    assert half < 0.6 * whole
    loaded, _ = load_bundle(folders[1])
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    torch.testing.assert_close(loaded.equaliser, model.equaliser, atol=1e-3, rtol=0)


def test_a_training_checkpoint_loads_like_a_bundle(halver, tmp_path):
    model = halver(channels=1, level=0.3)
    path = tmp_path / "best.ckpt"
    state = {f"net.{name}": value for name, value in model.state_dict().items()}
    described = {"class": "upscale.models.Halver", "arguments": {"channels": 1}}
    torch.save({"upscale_model": described, "state_dict": {**state, "loss.window": torch.ones(3)}}, path)
    loaded, description = load_bundle(path)
    assert loaded.level == model.level and description.arguments == {"channels": 1}


def _edit(folder: Path, **changes: object) -> None:
    values = yaml.safe_load((folder / "model.yaml").read_text())
    (folder / "model.yaml").write_text(yaml.safe_dump({**values, **changes}))


def test_an_older_bundle_loads_without_the_parts_that_are_no_longer_there(tmp_path):
    tiny = {"width": 4, "num_blocks": 1, "num_bands": 16, "frame_width": 4, "level_width": 4, "level_frame_width": 4}
    tiny |= {"num_level_blocks": 1, "fine_window_size": 4096, "num_iterations": 3, "period": 8192}
    model = SpectralFill(**tiny)
    folder = save_bundle(tmp_path / "m", model, arguments=tiny)
    former = {"num_rounds": 3, "num_alike": 256, "num_steps": 24, "repeat_levels": True}
    _edit(folder, arguments={name: value for name, value in tiny.items() if name != "num_iterations"} | former)
    state = load_file(folder / "weights.safetensors")
    save_file({**state, "repeat.tail.bias": torch.ones(1)}, folder / "weights.safetensors")
    loaded, description = load_bundle(folder)
    assert loaded.num_iterations == 3 and description.arguments["num_alike"] == 256
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    save_file({**state, "unknown.bias": torch.ones(1)}, folder / "weights.safetensors")
    with pytest.raises(UserError, match="do not fit"):
        load_bundle(folder)


@pytest.mark.parametrize(
    "name", ["os.system", "torch.nn.Linear", "upscale.models.nn", "upscale.models.torch.nn.Linear"]
)
def test_a_class_outside_upscale_models_is_refused(halver, tmp_path, name):
    folder = save_bundle(tmp_path / "m", halver(), arguments={})
    _edit(folder, **{"class": name})
    with pytest.raises(UserError, match=r"not a model of upscale\.models"):
        load_bundle(folder)


def test_yaml_that_builds_objects_is_refused(halver, tmp_path):
    folder = save_bundle(tmp_path / "m", halver(), arguments={})
    (folder / "model.yaml").write_text("class: !!python/object/apply:os.getcwd []")
    with pytest.raises(UserError, match="plain YAML"):
        load_bundle(folder)


def test_checkpoint_that_runs_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (Path(tmp_path / "ran"),)

    path = tmp_path / "evil.ckpt"
    torch.save({"upscale_model": Evil(), "state_dict": {}}, path, pickle_module=pickle)
    with pytest.raises(UserError, match="read safely"):
        load_bundle(path)
    assert not (tmp_path / "ran").exists()


def test_a_damaged_bundle_is_refused_with_what_is_wrong(halver, tmp_path):
    folder = save_bundle(tmp_path / "m", halver(), arguments={})
    with pytest.raises(UserError, match="refuses its arguments"):
        _edit(folder, arguments={"colour": 3})
        load_bundle(folder)
    with pytest.raises(UserError, match="do not fit"):
        _edit(folder, arguments={"channels": 2})
        load_bundle(folder)
    (folder / "weights.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(UserError, match="damaged"):
        load_bundle(folder)
    (folder / "weights.safetensors").unlink()
    with pytest.raises(UserError, match=r"has no weights\.safetensors"):
        load_bundle(folder)


def test_failed_save_keeps_the_old_bundle(halver, tmp_path, monkeypatch):
    folder = save_bundle(tmp_path / "m", halver(level=0.1), arguments={})
    monkeypatch.setattr("upscale.restore.bundle.save_file", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_bundle(folder, halver(level=0.9), arguments={})
    assert load_file(folder / "weights.safetensors")["level"] == pytest.approx(0.1)
    assert len(list(folder.iterdir())) == 2
