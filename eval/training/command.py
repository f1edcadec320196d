"""Command: the options of `python -m eval.training` in, a training run with its log out.

What its processes are given has to be importable by name, which nothing in `__main__` is.
"""

import argparse
import json
import math
import sys
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

import psutil
import torch

from eval.stream_world.seeds import MAX_TRAINING_SEED
from eval.training.parallel import Share, run_parallel
from eval.training.presets import PRESETS
from eval.training.train import StepLog, Trainer
from vstream.models.weight_files import checkpoint_fingerprint

REPORT_EVERY = 20
CURVES = "curves.jsonl"
RUN = "run.json"
LEG_MINUTES = 7.5
"""Of a preset for a card: it takes two legs."""


def main() -> None:
    """Train, print the losses now and then and write them all to `curves.jsonl`."""
    parser = argparse.ArgumentParser(
        prog="python -m eval.training", description="Train the embedded model, or go on training."
    )
    has_card = torch.cuda.is_available()
    parser.add_argument("--preset", choices=list(PRESETS), default="gpu" if has_card else "cpu")
    parser.add_argument(
        "--minutes",
        type=float,
        default=LEG_MINUTES if has_card else math.inf,
        help="of this leg: the same command goes on with the next (default: %(default)s)",
    )
    parser.add_argument(
        "--seed", type=int, choices=range(MAX_TRAINING_SEED + 1), metavar="N", default=0
    )
    parser.add_argument("--out", type=Path, required=True, help="new, or a run to go on with")
    parser.add_argument("--start-from", type=Path, help="a checkpoint to tune instead of nothing")
    parser.add_argument("--heads-from", type=Path, help="a run whose heads to begin with")
    parser.add_argument("--device", default="cuda" if has_card else "cpu")
    parser.add_argument(
        "--processes",
        type=int,
        default=1 if has_card else psutil.cpu_count(logical=False) or 1,
        help="on the CPU, one thread each; the result depends on how many",
    )
    given = parser.parse_args()
    run_parallel(given.processes, partial(train, given))


def train(given: argparse.Namespace, share: Share) -> None:
    preset = PRESETS[given.preset]
    if share.is_first:
        _require_same_run(given)
    trainer = Trainer(
        preset, given.seed, given.out, given.device, given.start_from, share, given.heads_from
    )
    begun = time.monotonic()

    def report(log: StepLog) -> None:
        if not share.is_first:
            return
        with (given.out / CURVES).open("a", encoding="utf-8") as curves:
            curves.write(json.dumps(asdict(log)) + "\n")
        if log.step % REPORT_EVERY == 0 or log.step == trainer.num_steps:
            losses = {name: loss for name, loss in asdict(log).items() if name != "step"}
            told = " ".join(f"{name} {loss:.3f}" for name, loss in losses.items())
            passed = (time.monotonic() - begun) / 60
            sys.stdout.write(f"step {log.step}/{trainer.num_steps} {told} ({passed:.1f} min)\n")
            sys.stdout.flush()

    trainer.run(given.minutes, report)


def _require_same_run(given: argparse.Namespace) -> None:
    """A folder belongs to one run, which is a function of these."""
    run = {name: getattr(given, name) for name in ("preset", "seed", "processes")}
    for name in ("start_from", "heads_from"):
        folder: Path | None = getattr(given, name)
        if folder is not None and not folder.is_dir():
            sys.exit(f"--{name.replace('_', '-')}: there is no folder {folder}")
        if folder is not None:  # the same checkpoint, or run's state, wherever it lies
            run[name] = checkpoint_fingerprint(folder)
    described = given.out / RUN
    if described.exists() and (stored := json.loads(described.read_text("utf-8"))) != run:
        sys.exit(f"{given.out} holds the run {stored}, not {run}: give another --out")
    given.out.mkdir(parents=True, exist_ok=True)
    described.write_text(json.dumps(run) + "\n", encoding="utf-8")
