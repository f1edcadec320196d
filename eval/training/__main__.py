"""`python -m eval.training --preset cpu --minutes 2 --out DIR`: train, or go on training."""

from eval.training.command import main

if __name__ == "__main__":
    main()
