"""`python -m eval.training.own_world`: fits what the embedded model treats as not of its world.

Fits the direction in its vision tower's features that leads from pictures of the made-up world to
others: those of `--pictures`, crops of them, and test sources of ffmpeg. The threshold is set on
made-up streams not used in the fit, half of them in the style that no training saw: `MARGIN` times
the distance of their farthest picture. `--check` names folders of clips that neither has seen. All
pictures are thumbnails, as vstream keeps them.
"""

import argparse
import io
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import av
import numpy as np
import torch
import torch.nn.functional as F
import typer
from jaxtyping import Float, UInt8
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from encoders import Frame, thumbnail
from encoders.families.embedded import Embedded
from encoders.own_world import FILE, OwnWorld
from eval.stream_world import SEEN_STYLES, Renderer, write_script
from eval.stream_world.vocabulary import HELD_OUT_STYLE
from vstream import load_video_llm
from vstream.models.weights import embedded_weights

Picture = UInt8[np.ndarray, "h w 3"]
MARGIN = 1.1
SOURCES = (
    "testsrc testsrc2 mandelbrot smptebars smptehdbars rgbtestsrc yuvtestsrc cellauto gradients "
    "pal75bars sierpinski"
)
_SIDES = (96, 128, 240, 384)
_AT_ONCE = 32
_CROPS = 10
_PENALTY = 1e-3


def main() -> None:
    """Fit it, write it beside the weights, and print how well it does."""
    parser = argparse.ArgumentParser(prog="python -m eval.training.own_world")
    parser.add_argument("--pictures", type=Path, nargs="+", required=True, help="folders")
    parser.add_argument("--check", type=Path, nargs="*", default=[], help="folders of clips")
    parser.add_argument("--out", type=Path, default=embedded_weights() / FILE)
    given = parser.parse_args()
    family = load_video_llm(None, "cpu", "float32", 1.0).family
    assert isinstance(family, Embedded)
    own = features_of(family, world_pictures(range(24), SEEN_STYLES, 60))
    others = [one for folder in given.pictures for one in pictures_in(folder)]
    drawn = np.random.default_rng(1)
    others += [crop for one in others for crop in crops(one, drawn)]
    others += [frame for source in SOURCES.split() for frame in test_source(source, 8)]
    world = fitted(own, features_of(family, others))
    seen = features_of(family, world_pictures(range(40, 48), SEEN_STYLES, 60))
    unseen = features_of(family, world_pictures(range(60, 68), (HELD_OUT_STYLE,), 60))
    bound = MARGIN * float(world.distances(torch.cat([seen, unseen])).max())
    world = OwnWorld(world.centre, world.spread, world.direction, bound)
    world.write(given.out)
    told = {"other pictures": others}
    told |= {clip.name: list(frames_of(clip)) for folder in given.check for clip in clips(folder)}
    fresh = world_pictures(range(80, 88), (*SEEN_STYLES, HELD_OUT_STYLE), 60)
    for name, pictures in {"its own, fresh": fresh, **told}.items():
        far = world.distances(features_of(family, pictures))
        strange = (far > bound).float().mean()
        typer.echo(
            f"{name}: {len(far)} pictures, {strange:.1%} strange, nearest {far.min():.1f}, "
            f"median {far.median():.1f}, farthest {far.max():.1f}"
        )
    typer.echo(f"threshold {bound:.2f}")


def fitted(own: Tensor, others: Tensor) -> OwnWorld:
    """Fit by logistic regression with equal class weights; the threshold is its boundary."""
    centre, spread = own.mean(0), own.std(0) + 1e-4
    scale = OwnWorld(centre, spread, torch.zeros_like(centre), 0.0).scaled
    features = torch.cat([scale(own), scale(others)])
    is_other = torch.cat([torch.zeros(len(own)), torch.ones(len(others))])
    weight = torch.where(is_other > 0, 0.5 / len(others), 0.5 / len(own))
    direction = torch.zeros(features.shape[1], requires_grad=True)
    shift = torch.zeros(1, requires_grad=True)
    search = torch.optim.LBFGS([direction, shift], max_iter=150, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        said = features @ direction + shift
        lost = F.binary_cross_entropy_with_logits(said, is_other, weight, reduction="sum")
        lost = lost + _PENALTY * direction.square().sum()
        lost.backward()
        return lost

    search.step(loss)
    return OwnWorld(centre, spread, direction.detach(), -float(shift.detach()))


def features_of(
    family: Embedded, pictures: Sequence[Picture]
) -> Float[Tensor, "pictures features"]:
    kept = []
    for pixels in pictures:
        jpeg = thumbnail(Frame(np.ascontiguousarray(pixels), 0.0, 0.0))
        kept.append(np.asarray(Image.open(io.BytesIO(jpeg))))
    parts = [kept[at : at + _AT_ONCE] for at in range(0, len(kept), _AT_ONCE)]
    return torch.cat([family.world_features(part) for part in parts])


def world_pictures(seeds: range, styles: Sequence[str], seconds: int) -> list[Picture]:
    """Return a picture a second of streams in several sizes, from the seeds of shown streams."""
    return [
        Renderer(_SIDES[seed % len(_SIDES)]).frame(moment)
        for seed in seeds
        for moment in write_script(1000 + seed, seconds, styles).moments
    ]


def pictures_in(folder: Path) -> Iterator[Picture]:
    for path in sorted(folder.iterdir()):
        try:
            with Image.open(path) as image:
                whole = image.convert("RGB")
        except (UnidentifiedImageError, IsADirectoryError):
            continue
        whole.thumbnail((640, 640))
        yield np.asarray(whole)


def crops(picture: Picture, rng: np.random.Generator) -> Iterator[Picture]:
    height, width = picture.shape[:2]
    for _ in range(_CROPS):
        share = rng.uniform(0.4, 1)
        tall = min(height, max(24, int(height * share)))
        wide = min(width, max(24, int(width * share * rng.uniform(0.6, 1.6))))
        top, left = rng.integers(0, height - tall + 1), rng.integers(0, width - wide + 1)
        part = picture[top : top + tall, left : left + wide]
        part = part[:, ::-1] if rng.random() < 0.5 else part
        lit = part * rng.uniform(0.4, 1.3) + rng.uniform(-20, 20)
        yield np.clip(lit, 0, 255).astype(np.uint8)


def test_source(name: str, count: int) -> list[Picture]:
    """Return the first pictures of an ffmpeg source, one per second."""
    with av.open(f"{name}=r=1", format="lavfi") as container:
        frames = islice(container.decode(video=0), count)
        return [frame.to_ndarray(format="rgb24") for frame in frames]


def clips(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix == ".mp4")


def frames_of(clip: Path) -> Iterator[Picture]:
    with av.open(str(clip)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number % 12 == 0:
                yield frame.to_ndarray(format="rgb24")


if __name__ == "__main__":
    main()
