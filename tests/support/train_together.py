"""Work of several training processes, in a file that imports no more than they need."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from eval.training.parallel import Share
from eval.training.presets import PRESETS
from eval.training.train import Trainer


@dataclass(frozen=True)
class TrainTogether:
    """A step of each phase; each process then writes its weights to `out`."""

    out: Path

    def __call__(self, share: Share) -> None:
        preset = replace(PRESETS["tiny"], vision_steps=1, stream_steps=1, save_every=1)
        trainer = Trainer(preset, seed=0, out=self.out / str(share.rank), share=share)
        trainer.run(5.0, lambda log: None)
        torch.save(trainer.model.state_dict(), self.out / f"{share.rank}.pt")
