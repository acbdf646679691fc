"""The on-disk contract: WebDataset shards of clean clips, their manifests, and reading them clip by clip."""

from upscale.shards.clip import ClipReader
from upscale.shards.index import ClipIndex, index_shards
from upscale.shards.manifest import Manifest, read_manifest
from upscale.shards.remote import local_shards

__all__ = ["ClipIndex", "ClipReader", "Manifest", "index_shards", "local_shards", "read_manifest"]
