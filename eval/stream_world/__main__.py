"""`python -m eval.stream_world --seed 2003 --out DIR`: write a sample stream and its questions."""

import argparse
from pathlib import Path

from eval.stream_world.sample import write_sample


def main() -> None:
    """Read the options and write the two files."""
    parser = argparse.ArgumentParser(prog="python -m eval.stream_world", description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--seconds", type=int, default=150)
    parser.add_argument("--fps", type=int, default=4)
    parser.add_argument("--side", type=int, default=384, help="of the picture, in pixels")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    write_sample(given.out, given.seed, given.seconds, given.fps, given.side)


if __name__ == "__main__":
    main()
