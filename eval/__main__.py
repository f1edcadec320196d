"""`python -m eval BENCHMARK`: run one benchmark; with --json its last line is one document."""

import os


def main() -> None:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # see app.cli
    from eval.commands import cli

    cli()


if __name__ == "__main__":
    main()
