"""upscalemp3: restore music that was compressed to MP3."""

from importlib.metadata import version

__version__ = version("upscalemp3")
