"""Recommended: what a family was built or trained for, where a user leaves a setting open."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Recommended:
    """Settings that a family (or one checkpoint of it) was built or trained for.

    They are used where the user's configuration leaves a value open. Counts are in frames, but
    `retrieve_blocks`, which is in blocks.

    `describe_prompt` asks for a description of a clip, for memories of text, `say_prompt` for a
    sentence about a moment of which an alert has told. `judge_prompt` makes a question of the
    condition of an alert, which takes the place of `{condition}`; an answer that opens with one of
    `yes_words` says that it is the case now, with one of `no_words` that it is not. It is told when
    the probability of yes has been over `alert_threshold` in the last `alert_confirmations`
    judgements, and again only after it has fallen to `alert_release` (None: to the threshold). Of a
    single block of the past it is so from `find_threshold` on, see `vstream.search.hunter`.
    `recap_prompt` has all that a block shows said, with `recap_separator` in between; each part
    takes the place of `{said}` in `recap_statement`. `recap_unsaid` are patterns in what is said,
    and what stands for them in a statement: details of which it cannot say yes or no. It is so from
    `recap_threshold` on (None: from `find_threshold` on). A model that was trained to be silent
    until there is something to say opens with one of `silence_words` then; with others there are
    none. Where the words of an answer looked is told by the attention of the layers that lie at
    `cited_depths`: 0 is the first layer, 1 the last. One that `reads_context` or `reads_dialogue`
    can be given what stands before a question. One that `reads_stream_time` was trained to find
    moments by that, and knows of no other clock. A question about time is answered from
    spans that are found, unless its yes and no about single blocks are worth nothing: then it does
    not `plans_times`. `knows` says what it was trained to see where that
    is not the world: readers of its answers are told.
    """

    sample_fps: float = 1.0
    window_frames: int = 64
    window_stride: int = 16
    recent_frames: int = 16
    retrieve_blocks: int = 64
    similarity: str = "inner_product"
    describe_prompt: str = (
        "Describe what happens in this part of the video: who and what is there, what they do, "
        "how things look, and any text that can be read."
    )
    say_prompt: str = "Say in one short sentence what is happening right now."
    judge_prompt: str = "{condition}\nIs this the case right now? Answer only yes or no."
    yes_words: tuple[str, ...] = ("yes",)
    no_words: tuple[str, ...] = ("no",)
    alert_threshold: float = 0.5
    alert_confirmations: int = 2
    alert_release: float | None = None
    find_threshold: float = 0.5
    recap_prompt: str = (
        "List what there is and what happens in this part of the video: one short sentence a line, "
        "and nothing else."
    )
    recap_separator: str = "\n"
    recap_unsaid: tuple[tuple[str, str], ...] = ()
    recap_statement: str = "{said}"
    recap_threshold: float | None = None
    cited_depths: tuple[float, ...] = (0.45, 0.7)  # measured: docs/stream_world.md
    silence_words: tuple[str, ...] = ()
    reads_context: bool = True
    reads_dialogue: bool = True
    reads_stream_time: bool = False
    plans_times: bool = True
    knows: str | None = None


_COLOR = "(?:red|orange|yellow|green|blue|purple|pink|white|black|brown)"
EMBEDDED = Recommended(
    sample_fps=1.0,
    window_frames=16,
    window_stride=8,
    recent_frames=8,
    retrieve_blocks=32,
    similarity="cosine",
    describe_prompt="what appeared in the last minute?",  # of what is trained, most of a clip
    say_prompt="what is happening now?",
    judge_prompt="{condition}",  # trained on the bare wording: "now" or "not yet", "yes" or "no"
    yes_words=("yes", "now"),
    no_words=("no", "not"),
    alert_threshold=0.96,  # measured: 124 of 136 arrivals told, 4 alarms for nothing in 6 h
    alert_confirmations=2,
    alert_release=0.9,
    find_threshold=0.98,  # measured: docs/find.md
    recap_prompt="what do you see now?",
    recap_separator=", ",
    recap_unsaid=(  # it says yes to other colours and numbers, too: docs/recap.md
        (rf"\ban? {_COLOR} (?=[aeiou])", "an "),
        (rf"\ban? {_COLOR} (?=\w)", "a "),
        (r" with \d+", ""),
    ),
    recap_statement="{said} is there now",
    recap_threshold=0.985,  # measured: docs/recap.md
    reads_context=False,
    reads_dialogue=False,
    reads_stream_time=True,
    knows="drawings only",
)
"""What the embedded model was trained for."""

REAL = Recommended(
    judge_prompt="{condition}",
    say_prompt="What do you see now?",
    plans_times=False,
    knows="a thousand words, and print",
)
"""Of lines about pictures."""

TEXT = Recommended(
    plans_times=False, window_frames=1024, window_stride=256, recent_frames=512, retrieve_blocks=16
)
"""Of a stream of text, in tokens."""
