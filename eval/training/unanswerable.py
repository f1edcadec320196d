"""Unanswerable: chance in, a question that no frame answers out.

The honest answer is always the same. Half of the questions are sensible but about what cannot be
seen, half are words thrown together, so that the model learns to say so when it is at a loss.
"""

from collections.abc import Sequence
from random import Random

ANSWER = "i cannot tell"
TEMPLATES = (
    "how old is the {n}?",
    "how much does the {n} cost?",
    "what does the {n} eat?",
    "who owns the {n}?",
    "why is the {n} here?",
    "what is the name of the {n}?",
    "how heavy is the {n}?",
    "what does the {n} think?",
    "is the {n} happy?",
    "is the {n} real?",
    "what sound does the {n} make?",
    "how fast is the {n} in kilometers an hour?",
    "where was the {n} made?",
    "who brought the {n}?",
    "can the {n} swim?",
    "do you like the {n}?",
    "what will the {n} do next?",
    "will the {n} come back?",
    "when will the {n} come back?",
    "is the {n} better than the {m}?",
    "does the {n} know the {m}?",
    "what is the weather like?",
    "what is the temperature?",
    "what day is it?",
    "who are you?",
    "what is your name?",
    "how are you?",
    "who made this video?",
    "where does the camera stand?",
    "what music is playing?",
    "what was said?",
    "what is the capital of france?",
    "how much is seven times six?",
    "tell me a joke.",
    "write a poem about the {n}.",
    "translate {n} into french.",
    "what is a {n} good for?",
    "what should i buy?",
    "open the door.",
    "stop.",
    "thank you.",
    "good morning.",
    "what will happen tomorrow?",
    "did the {n} do that on purpose?",
    "is the {n} dangerous?",
    "how many people live in the {n}?",
    "what is inside the {n}?",
    "what is the {n} made of?",
)
JUMBLED_SHARE = 0.5


def unanswerable(rng: Random, names: Sequence[str], words: Sequence[str]) -> str:
    """`names` fill the templates, `words` (of proper questions) are what is thrown together."""
    name, other = rng.sample(list(names), 2)
    if rng.random() >= JUMBLED_SHARE:
        return rng.choice(TEMPLATES).format(n=name, m=other)
    jumbled = rng.choices(words, k=rng.randint(3, 8))
    if rng.random() < 0.5:
        jumbled.insert(rng.randrange(len(jumbled)), name)
    return " ".join(jumbled) + rng.choice(("", "?", "."))
