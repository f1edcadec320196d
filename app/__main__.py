"""`python -m app COMMAND`: the same as the console script `vstream`."""

from app.cli import main

if __name__ == "__main__":
    main()
