"""docs/python.md: its code runs as it stands, from top to bottom."""

import re
import shutil
from pathlib import Path

from app.sample import SAMPLE_VIDEO

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


def test_the_code_of_the_page_runs(monkeypatch, tmp_path, capsys):
    shutil.copy(SAMPLE_VIDEO, tmp_path / "clip.mp4")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.M | re.S)
    assert len(blocks) == PAGE.read_text("utf-8").count("```python") > 4
    names, said = {}, []
    for number, block in enumerate(blocks):
        exec(compile(block, f"python.md, block {number}", "exec"), names)
        said.append(capsys.readouterr().out)
    answer, block = names["answer"], names["block"]
    assert said[0].startswith(f"{answer.text} Evidence(block_id=")
    assert 20 < answer.newest_frame_s <= 30
    assert said[1]
    assert names["door"].memory.num_blocks == 3
    assert len(said[3].splitlines()) == 15, "150 s at a tenth of a frame a second"
    assert block.keys.shape == block.values.shape
    assert block.keys.shape[0] == names["model"].decoder.num_layers
