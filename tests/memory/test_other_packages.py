"""A codec and a tier of another package are as good as ours, from the moment it is installed."""

import os
import subprocess
import sys

CODE = '''
import torch
from memory.codecs.codec import BlockCodec
from memory.tiers.memory import HostTier
from memory.tiers.tier import Tier

class Doubles(BlockCodec):
    """Every number as a float64."""

    name = "doubles"

    def row_bytes(self, layout):
        return 16 * layout.numel

    def encode(self, keys, values):
        return torch.stack((keys, values), dim=1).double().flatten(1).view(torch.uint8)

    def decode(self, rows, layout, dtype):
        both = rows.view(torch.float64)
        both = both.view(-1, 2, layout.kv_heads, layout.tokens, layout.head_dim).to(dtype)
        return tuple(part.transpose(0, 1).flatten(1, 2) for part in both.unbind(1))

class Drawer(Tier):
    """Streams in the drawer of that name."""

    name = "drawer"

    def blocks(self, entry, config):
        store = HostTier(config.host_bytes)
        store.name = self.store
        return store
'''
USE = """
import sys, torch
from kv_blocks import CPU, kv_stream, memory_of
from memory.codecs.codec import CODECS
from memory.tiers.tier import TIERS

print(CODECS.names(), TIERS.names(), "other_codecs" in sys.modules)
with memory_of("drawer://upper", "doubles") as memory, memory_of(codec="exact") as ours:
    for block in kv_stream(5):
        assert memory.append(block) == ours.append(block)
    for one, other in zip(*(kept.read(1, [4, 0], torch.float32, CPU) for kept in (memory, ours))):
        assert torch.equal(one, other)
    print(memory.stats().blocks_by_codec, list(memory.stats().bytes_by_tier))
"""


def test_a_codec_and_a_tier_of_another_package_are_used_by_their_names(tmp_path):
    (tmp_path / "other_codecs.py").write_text(CODE)
    told = tmp_path / "other-1.0.dist-info"
    told.mkdir()
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (told / "entry_points.txt").write_text(
        "[vstream.codecs]\ndoubles = other_codecs:Doubles\n"
        "[vstream.tiers]\ndrawer = other_codecs:Drawer\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    run = subprocess.run(
        [sys.executable, "-c", USE], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [
        "['bf16', 'doubles', 'exact', 'fp4', 'int2', 'int2_token', 'int4', 'int4_token', "
        "'int8'] "
        "['drawer', 'file', 'gs', 'memory', 'object', 'redis', 'rediss', 's3', 'sentinel', "
        "'unix'] False",
        "{'doubles': 5} ['drawer://upper']",
    ]
