"""`python -m eval day`: options in, a directory with a report and a JSON document on stdout out."""

import json
import sys
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer

from eval.day.day_run import DayOptions, DayRun
from eval.day.encoded_day import DROPPING, EncodedDay
from eval.day.report import document, page
from eval.progress import progress_bar
from eval.run.run_directory import RunDirectory
from eval.stream_benchmark.exam import MAX_SEED, day_seed
from eval.stream_world import WORLD_PX, Renderer, Script, write_script
from eval.stream_world.vocabulary import emoji_names
from memory import KVMemoryError
from vstream import VideoLLM, VStreamConfig, VStreamError, load_config, load_video_llm
from vstream.device.cpu_threads import choose_cpu_threads
from vstream.policy import policy_for


def day(
    out: Annotated[Path, typer.Option(help="Where blocks and reports are kept; a run goes on.")],
    hours: Annotated[float, typer.Option(min=0.01, max=24, help="Length of the stream.")] = 24,
    seed: Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Which stream.")] = 1,
    names: Annotated[
        Literal["core", "full"], typer.Option(help="The objects that may appear.")
    ] = "core",
    budget_share: Annotated[
        float,
        typer.Option(min=0.001, max=1, help="The budget, as a share of the raw bf16 keys, values."),
    ] = 0.05,
    questions: Annotated[int, typer.Option(min=1, help="At the end, about all ages.")] = 300,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; else measured.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON document.")] = False,
) -> None:
    """A day of stream through the embedded model, kept within a budget and asked about."""
    given = {} if threads is None else {"threads": threads}
    try:
        config = load_config(**given, source={"sample_fps": 1.0})
        if config.threads is None:
            choose_cpu_threads()
        else:
            torch.set_num_threads(config.threads)
        model = load_video_llm(None, config.device, config.dtype, sample_fps=1.0)
        script = write_script(
            day_seed(seed), round(hours * 3600), emoji=emoji_names(full=names == "full")
        )
        described = _described(seed, names, script, model)
        with RunDirectory(out, described), progress_bar() as progress:
            encoded = EncodedDay(out / "blocks", script, model, config, Renderer(WORLD_PX))
            task = progress.add_task("encoding", total=3 * encoded.length_s)
            encoded.encode(lambda frames: progress.update(task, advance=frames))
            run = DayRun(out, encoded, DayOptions(budget_share, questions), script)
            replayed = run.run(
                model,
                config,
                lambda name, n: progress.update(task, description=f"into {name}", advance=n),
            )
        found = document({**described, **run.described(replayed)}, replayed)
    except (VStreamError, KVMemoryError) as error:
        raise typer.BadParameter(str(error)) from error
    except OSError as error:
        raise typer.BadParameter(f"out: {error}; choose a directory with --out") from error
    as_text = json.dumps(found, allow_nan=False)
    (out / "report.json").write_text(f"{as_text}\n", encoding="utf-8")
    (out / "report.md").write_text(page(found), encoding="utf-8")
    sys.stdout.write(page(found))
    if as_json:
        sys.stdout.write(f"{as_text}\n")


def _described(seed: int, names: str, script: Script, model: VideoLLM) -> dict[str, object]:
    """All that must agree for blocks and answers to belong to one run."""
    policy = policy_for(VStreamConfig(policy_set=DROPPING), model)
    return {
        "seed": seed,
        "length_s": len(script.moments),
        "names": names,
        "script": sha256(repr(script.moments).encode()).hexdigest()[:16],
        "model": model.fingerprint,
        "dtype": str(model.decoder.dtype),
        "policy": policy.provenance(),
    }
