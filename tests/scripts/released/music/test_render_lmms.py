"""Projects with other instruments hold nothing lossy."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("mido")
from scripts.released.music import render_lmms


def test_no_lossy_sample_is_left_in_a_rearranged_project(tmp_path: Path) -> None:
    preset = tmp_path / "preset.xpf"
    preset.write_text('<lmms-project><instrumenttrack><instrument name="sid"/></instrumenttrack></lmms-project>')
    for seed in range(20):
        project = ElementTree.fromstring(
            "<lmms-project><instrumenttrack><instrument name='audiofileprocessor'>"
            "<audiofileprocessor src='drums/rim01.ogg'/></instrument></instrumenttrack></lmms-project>"
        )
        render_lmms.arrange(project, ["drumsynth/kick.ds"], [preset], np.random.default_rng(seed))
        assert b".ogg" not in ElementTree.tostring(project)
