"""`python -m eval.training --preset cpu --minutes 2 --out DIR`: train, or go on training."""

import argparse
import sys
from pathlib import Path

import torch

from eval.training.presets import PRESETS
from eval.training.train import StepLog, Trainer

REPORT_EVERY = 20


def main() -> None:
    """Train and print the losses now and then."""
    parser = argparse.ArgumentParser(prog="python -m eval.training", description=__doc__)
    parser.add_argument("--preset", choices=list(PRESETS), default="cpu")
    parser.add_argument("--minutes", type=float, default=60.0, help="stop and save after these")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="new, or a run to go on with")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    given = parser.parse_args()
    trainer = Trainer(PRESETS[given.preset], given.seed, given.out, given.device)

    def report(log: StepLog) -> None:
        if log.step % REPORT_EVERY == 0 or log.step == trainer.num_steps:
            sys.stdout.write(
                f"step {log.step}/{trainer.num_steps} auxiliary {log.auxiliary:.3f} "
                f"answer {log.answer:.3f} retrieval {log.retrieval:.3f}\n"
            )
            sys.stdout.flush()

    trainer.run(given.minutes, report)


if __name__ == "__main__":
    main()
