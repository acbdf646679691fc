"""Bundles on the Hugging Face Hub, through its file API. A bundle's folder is uploaded; it holds no code."""

import os
from pathlib import Path
from typing import Any

from upscale.errors import UserError
from upscale.restore.restorer import Restorer

FILES = ["model.yaml", "weights.safetensors", "*.onnx", "README.md"]
CARD = """---
library_name: upscalemp3
tags: [audio, audio-to-audio, music-restoration]
---

# {name}

A model of [upscalemp3]: it restores music that was compressed to MP3.

```python
from upscale.restore.hub import from_pretrained

restored = from_pretrained("{repo_id}")(wav, sample_rate)
```
"""


def push(bundle: str | os.PathLike[str], repo_id: str, *, private: bool = False, token: str | None = None) -> str:
    """Upload a bundle's folder as the model `repo_id` (USER/NAME); returns the commit's address."""
    from upscale.restore.bundle import load_bundle

    huggingface_hub = _hub()
    folder = Path(bundle)
    if not folder.is_dir():
        raise UserError(f"{folder} is not a bundle's folder")
    load_bundle(folder)  # raises where it cannot be loaded
    api = huggingface_hub.HfApi(token=token)
    api.create_repo(repo_id, private=private, exist_ok=True)
    if not (folder / "README.md").exists():
        card = CARD.format(name=folder.name, repo_id=repo_id).encode()
        api.upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id=repo_id)
    return str(api.upload_folder(repo_id=repo_id, folder_path=folder, allow_patterns=FILES))


def from_pretrained(
    repo_id: str, *, revision: str | None = None, device: str = "auto", local_files_only: bool = False
) -> Restorer:
    """A restorer from the Hub, downloaded unless it is in the cache; `repo_id` may be a folder on disk."""
    if Path(repo_id).is_dir():
        return Restorer.load(repo_id, device=device)
    huggingface_hub = _hub()
    try:
        folder = huggingface_hub.snapshot_download(
            repo_id, revision=revision, allow_patterns=FILES, local_files_only=local_files_only
        )
    except (OSError, ValueError) as error:  # the Hub's own errors are kinds of these two
        raise UserError(f"no model {repo_id} on the Hub: {' '.join(str(error).split())[:200]}") from error
    return Restorer.load(folder, device=device)


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError("the Hub needs huggingface_hub: pip install 'upscalemp3[hub]'") from error
    return huggingface_hub
