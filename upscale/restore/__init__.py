"""Restoring: models on disk, arrays, streams, files and folders."""

from upscale.restore.restorer import Restorer

__all__ = ["Restorer"]
