"""How often a property is tried of which one example takes long: `make soak` sets EXAMPLES."""

import os


def examples(few):
    """`few` in ordinary runs; EXAMPLES times as many where that is set."""
    return few * int(os.environ.get("EXAMPLES", "1"))
