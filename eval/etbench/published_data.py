"""PublishedData: the folder of the data set in, its samples and the path of each video out.

Nothing is downloaded. What is not there is named, with the place where it is published.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.etbench.files import read_samples
from eval.etbench.sample import Sample
from vstream import SettingsError

PUBLISHED_AT = "https://huggingface.co/datasets/PolyU-ChenLab/ETBench"
ANNOTATIONS = Path("annotations/etbench_txt_v1.0.json")
TASK_ANNOTATIONS = Path("annotations/txt")
SUBSET = Path("evaluation/subset.json")
VIDEO_FOLDERS = (Path("videos"), Path("videos_compressed"))
_MOST_NAMED = 10


@dataclass(frozen=True)
class PublishedData:
    """A folder as published, its archives of videos extracted."""

    root: Path

    def samples(self) -> list[Sample]:
        """Of the merged file, else of the files by task. Raises SettingsError if there is none."""
        return [sample for path in self._annotations() for sample in read_samples(path)]

    def entries(self) -> list[dict[str, Any]]:
        """What the samples were read from, with all that is published of them."""
        return [
            entry
            for path in self._annotations()
            for entry in json.loads(path.read_text(encoding="utf-8"))
        ]

    def _annotations(self) -> list[Path]:
        merged = self.root / ANNOTATIONS
        if merged.is_file():
            return [merged]
        by_task = sorted((self.root / TASK_ANNOTATIONS).glob("*.json"))
        if not by_task:
            raise SettingsError(
                f"E.T. Bench has no annotations in {self.root}: neither {ANNOTATIONS} nor "
                f"{TASK_ANNOTATIONS}/*.json is there; they are published at {PUBLISHED_AT}"
            )
        return by_task

    def subset(self) -> Path:
        """The file that names the 470 samples of the commercial models."""
        path = self.root / SUBSET
        if not path.is_file():
            raise SettingsError(
                f"E.T. Bench has no {SUBSET} in {self.root}; it is published at {PUBLISHED_AT}"
            )
        return path

    def video(self, sample: Sample) -> Path | None:
        """As published, else the compressed one, else None."""
        places = (self.root / folder / sample.video for folder in VIDEO_FOLDERS)
        return next((place for place in places if place.is_file()), None)

    def missing_videos(self, samples: Sequence[Sample]) -> list[str]:
        """Their names under `videos/`, each once, in order."""
        return sorted({one.video for one in samples if one.video and self.video(one) is None})

    def require_videos(self, samples: Sequence[Sample]) -> None:
        """Raises SettingsError that names the videos that are not there."""
        missing = self.missing_videos(samples)
        if missing:
            named = ", ".join(f"{VIDEO_FOLDERS[0]}/{name}" for name in missing[:_MOST_NAMED])
            more = f" and {len(missing) - _MOST_NAMED} more" if len(missing) > _MOST_NAMED else ""
            raise SettingsError(
                f"E.T. Bench lacks {len(missing)} videos in {self.root}: {named}{more}; they are "
                f"published in the archives {VIDEO_FOLDERS[0]}/*.tar.gz at {PUBLISHED_AT}"
            )
