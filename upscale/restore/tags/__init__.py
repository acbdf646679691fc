"""Tags and cover art, from any format to a restored file. Broken tags never stop a file: what is lost is named."""

from upscale.restore.tags.form import Tags
from upscale.restore.tags.readers import read_tags
from upscale.restore.tags.writers import copy_tags

__all__ = ["Tags", "copy_tags", "read_tags"]
