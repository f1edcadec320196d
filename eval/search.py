"""`python -m eval search` searches made-up streams for everything they show, by name.

Tries every layer alone, those that vstream compares together, and all layers; each by the five
blocks most like the words. The last row is the product's: the best blocks of its five moments. A
block that shows the object is right, so the truth is exact.

`found` is the share of searches with the object among the best. `recall` is how many sightings the
best five hold, of those they could hold: five, or all if there are fewer. A sighting is a second
that shows the object for blocks, a stretch of them for moments.
"""

from collections.abc import Mapping, Sequence
from math import comb
from statistics import fmean
from typing import Annotated, Any

import typer

from eval.command_line import AsJson
from eval.result_table import ResultTable, show, show_document
from eval.speed.past import queries_of, show_script, world_model, world_scripts
from eval.stream_world import Script
from eval.stream_world.seeds import SEARCH
from eval.stream_world.vocabulary import with_article
from memory import MomentIndex
from vstream import MomentSearch, Session, VStreamConfig, load_config, open_session
from vstream.search.moment_search import PHRASE

TOP = 5
FORMS = ("{n}", "{a}", "find {n}", "find {a}", "when was there {a}?")
"""What the model reads: `{n}` is a name such as `red star`, `{a}` the same with its article."""
MOMENTS = "moments"
_BEFORE = PHRASE.removesuffix("{words}")


def search(
    seed: Annotated[int, typer.Option(min=0, max=1 << 20, help="Which streams.")] = 0,
    streams: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 4,
    minutes: Annotated[float, typer.Option(min=1, help="Length of each.")] = 10,
    as_json: AsJson = False,
) -> None:
    """How often a search for what a made-up stream shows finds it, by layer and by wording."""
    figures, chance = measure_search(load_config(), seed, streams, minutes)
    table = ResultTable(
        "A search for what was shown",
        ("layers", "words", "found in the best 5", "recall of sightings", "searches"),
        tuple(
            (layers, form, f"{found:.1%}", f"{recall:.1%}", str(searches))
            for layers, form, found, recall, searches in (one.values() for one in figures)
        ),
    )
    show([table], f"found by chance: {chance:.1%}")
    if as_json:
        show_document({"chance": chance, "figures": figures})


def measure_search(
    config: VStreamConfig, seed: int, streams: int, minutes: float
) -> tuple[list[dict[str, Any]], float]:
    """Return figures by choice of layers and form, and chance: how often five blocks show it."""
    model = world_model(config)
    scores: dict[tuple[str, str], list[tuple[bool, float]]] = {}
    chances: list[float] = []
    for script in world_scripts(SEARCH, seed, streams, minutes):
        with open_session(config, model, f"search-{script.seed}") as session:
            show_script(session, script)
            sightings = _sightings(script)
            blocks = len(script.moments)
            chances += [
                1 - comb(blocks - len(shown), TOP) / comb(blocks, TOP)
                for shown in sightings.values()
            ]
            for key, found in _tried(session, sightings).items():
                scores.setdefault(key, []).extend(found)
    figures = [
        {
            "layers": layers,
            "form": form,
            "found": round(fmean(hit for hit, _ in found), 4),
            "recall": round(fmean(recall for _, recall in found), 4),
            "searches": len(found),
        }
        for (layers, form), found in scores.items()
    ]
    return figures, sum(chances) / len(chances)


def _sightings(script: Script) -> dict[str, set[int]]:
    """Return the seconds that show each object; coloured ones also under their colour."""
    seen: dict[str, set[int]] = {}
    for moment in script.moments:
        for item in moment.items:
            seen.setdefault(item.name, set()).add(moment.time_s)
            if item.color:
                seen.setdefault(f"{item.color} {item.name}", set()).add(moment.time_s)
    return seen


def _tried(
    session: Session, sightings: Mapping[str, set[int]]
) -> dict[tuple[str, str], list[tuple[bool, float]]]:
    model, memory = session.model, session.memory
    search = MomentSearch(model)
    search.add("stream", memory)
    count = model.decoder.num_layers
    choices = [*([layer] for layer in range(count)), search.layers, list(range(count))]
    indexes = [
        (layers, MomentIndex(layers, model.decoder.kv_heads * model.decoder.head_dim))
        for layers in choices
    ]
    for _, index in indexes:
        index.update(memory)
    found: dict[tuple[str, str], list[tuple[bool, float]]] = {}
    for name, shown in sightings.items():
        asked = [form.replace("{n}", name).replace("{a}", with_article(name)) for form in FORMS]
        for form, words, queries in zip(FORMS, asked, queries_of(model, asked), strict=True):
            for layers, index in indexes:
                best = index.search(queries[layers], TOP)
                label = "all" if len(layers) == count else " and ".join(map(str, layers))
                one_by_one = [{second} for second in shown]
                scored = _score([hit.block_id for hit in best], one_by_one)
                found.setdefault((label, form), []).append(scored)
            if words.startswith(_BEFORE):
                moments = search.search(words.removeprefix(_BEFORE), top=TOP)
                best_blocks = [one.block_id for one in moments if one.block_id is not None]
                found.setdefault((MOMENTS, form), []).append(_score(best_blocks, _stretches(shown)))
    return found


def _stretches(seconds: set[int]) -> list[set[int]]:
    runs: list[set[int]] = []
    for second in sorted(seconds):
        if runs and second - 1 in runs[-1]:
            runs[-1].add(second)
        else:
            runs.append({second})
    return runs


def _score(blocks: Sequence[int], sightings: Sequence[set[int]]) -> tuple[bool, float]:
    held = sum(not sighting.isdisjoint(blocks) for sighting in sightings)
    return held > 0, held / min(TOP, len(sightings))
