"""The Hub, offline: a fake server that is a folder, and the real client's cache."""

import shutil
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest

from upscale.errors import UserError
from upscale.restore.bundle import save_bundle
from upscale.restore.hub import from_pretrained, push

COMMIT = "a" * 40


def test_a_pushed_bundle_loads_from_the_hub_cache(halver, noise, tmp_path, monkeypatch):
    """What `push` uploads is laid into the client's own cache, and `from_pretrained` reads it there without a net."""
    cache = tmp_path / "cache"
    repo = cache / "models--me--tiny"
    snapshot = repo / "snapshots" / COMMIT

    class Server:
        def __init__(self, token: str | None = None) -> None: ...

        def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
            assert (repo_id, private, exist_ok) == ("me/tiny", True, True)
            (repo / "refs").mkdir(parents=True)
            (repo / "refs/main").write_text(COMMIT)
            snapshot.mkdir(parents=True)

        def upload_file(self, *, path_or_fileobj: bytes, path_in_repo: str, repo_id: str) -> None:
            (snapshot / path_in_repo).write_bytes(path_or_fileobj)

        def upload_folder(self, *, repo_id: str, folder_path: Path, allow_patterns: list[str]) -> str:
            for pattern in allow_patterns:
                for path in Path(folder_path).glob(pattern):
                    shutil.copy(path, snapshot)
            return f"https://hub/{repo_id}/commit/{COMMIT}"

    bundle = save_bundle(tmp_path / "tiny", halver(level=0.3), arguments={}, bitrates=[128])
    (bundle / "notes.txt").write_text("mine")
    monkeypatch.setattr(huggingface_hub, "HfApi", Server)
    assert push(bundle, "me/tiny", private=True).endswith(COMMIT)
    assert sorted(path.name for path in snapshot.iterdir()) == ["README.md", "model.yaml", "weights.safetensors"]
    assert "me/tiny" in (snapshot / "README.md").read_text()

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    real = huggingface_hub.snapshot_download
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda *names, **options: real(*names, cache_dir=cache, **options)
    )
    loaded = from_pretrained("me/tiny", device="cpu", local_files_only=True)
    wav = noise(1, 1_000)
    np.testing.assert_array_equal(loaded(wav, 44_100), from_pretrained(str(bundle), device="cpu")(wav, 44_100))
    with pytest.raises(UserError, match="no model me/other on the Hub"):
        from_pretrained("me/other", local_files_only=True)


def test_push_refuses_a_folder_that_does_not_load(tmp_path):
    (tmp_path / "model.yaml").write_text("class: os.system")
    with pytest.raises(UserError, match="no model bundle"):
        push(tmp_path, "me/bad")
