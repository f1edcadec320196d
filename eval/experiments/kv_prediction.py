"""`python -m eval.experiments.kv_prediction` has a stream's last layers guessed from its first.

Source: KV Prediction (Horton et al. 2024, https://arxiv.org/abs/2410.08391): a small auxiliary
model reads the prompt, and linear maps make the base model's keys and values of its own,

    K[l] = A[l] K_aux[m(l)],    V[l] = B[l] V_aux[m(l)].

Here the auxiliary model is the base's own first layers (as KVP-LP, pruned by layers), the prompt
is the stream, and what is predicted are blocks, keys before RoPE, so that ingest runs few layers.
Its own layers it has exactly. `own` are the paper's maps, from its last layer; `all` let each
layer see keys and values of all its layers at once.

Differs from the paper: the maps are fitted by ridge regression, not by gradients through the base
model's answers, and the auxiliary model is not trained.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import torch
import typer
from jaxtyping import Float
from torch import Tensor

from eval.experiments.answers import Compared, Seen, answers_of
from eval.experiments.ingest_cost import costs
from eval.result_table import ResultTable, show
from eval.speed.past import show_script
from eval.stream_benchmark.exam import ExamOptions, ExamStream, draw_exam
from memory import KVBlock
from vstream import VideoLLM, VStreamConfig, load_config, load_video_llm, open_session
from vstream.engine.decoder import Decoder

Kind = Literal["own", "all"]
_RIDGE = 1e-4
"""Of the mean square of what is regressed on."""


@dataclass(frozen=True, eq=False)
class Maps:
    """What makes all layers of the first `aux` ones; `by_layer` are those of the others, keys and
    values, each [features + 1, kv_heads * head_dim].
    """

    aux: int
    kind: Kind
    by_layer: Sequence[tuple[Tensor, Tensor]]

    @classmethod
    def fit(cls, seen: Sequence[Seen], aux: int, kind: Kind) -> "Maps":
        solve = [_solver(seen, aux, kind, is_keys) for is_keys in (True, False)]
        found = []
        for layer in range(aux, len(seen[0].keys)):
            keys = torch.cat([_rows(one.keys[layer]) for one in seen])
            values = torch.cat([_rows(one.values[layer]) for one in seen])
            found.append((solve[0](keys), solve[1](values)))
        return cls(aux, kind, found)

    def predict(self, seen: Seen) -> Seen:
        """What would be kept if only the first layers were run."""
        keys, values = seen.keys.clone(), seen.values.clone()
        of_keys, of_values = (_features(seen, self.aux, self.kind, one) for one in (True, False))
        for layer, (to_keys, to_values) in enumerate(self.by_layer, self.aux):
            keys[layer] = _like(of_keys @ to_keys, keys[layer])
            values[layer] = _like(of_values @ to_values, values[layer])
        return replace(seen, keys=keys, values=values)

    def cost(self, decoder: Decoder) -> float:
        """Weights that a token meets, as a share of those of all layers."""
        layers: Any = decoder._decoder.layers
        one = sum(weights.numel() for weights in layers[0].parameters())
        maps = sum(part.numel() for pair in self.by_layer for part in pair)
        return float((self.aux * one + maps) / (len(layers) * one))


def _features(seen: Seen, aux: int, kind: Kind, is_keys: bool) -> Float[Tensor, "tokens features"]:
    parts = [seen.keys, seen.values] if kind == "all" else [seen.keys if is_keys else seen.values]
    first = 0 if kind == "all" else aux - 1
    rows = [_rows(part[layer]) for part in parts for layer in range(first, aux)]
    return torch.cat([*rows, torch.ones(len(rows[0]), 1)], dim=1)


def _solver(
    seen: Sequence[Seen], aux: int, kind: Kind, is_keys: bool
) -> Callable[[Tensor], Tensor]:
    """What finds the map from the features to a target, both by token."""
    features = torch.cat([_features(one, aux, kind, is_keys) for one in seen]).double()
    gram = features.mT @ features
    gram += _RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    factor = torch.linalg.cholesky(gram)
    return lambda target: torch.cholesky_solve(features.mT @ target.double(), factor).float()


def _rows(one: Float[Tensor, "heads blocks tokens dims"]) -> Float[Tensor, "all features"]:
    rows: Tensor = one.permute(1, 2, 0, 3).flatten(2).flatten(0, 1)
    return rows


def _like(rows: Tensor, one: Float[Tensor, "heads blocks tokens dims"]) -> Tensor:
    heads, blocks, tokens, dims = one.shape
    back: Tensor = rows.view(blocks, tokens, heads, dims).permute(2, 0, 1, 3)
    return back


def errors(both: Sequence[tuple[Seen, Seen]], part: Literal["keys", "values"]) -> list[float]:
    """Of what is predicted, second, by layer, relative to how tokens deviate from their mean:
    0 is exact, 1 is what the mean token itself would be.
    """
    wanted, found = (
        torch.cat([getattr(one, part) for one in of], dim=2) for of in zip(*both, strict=True)
    )
    spread = (wanted - wanted.mean(dim=(2, 3), keepdim=True)).flatten(1).norm(dim=1)
    off: Tensor = (found - wanted).flatten(1).norm(dim=1) / spread
    return [float(one) for one in off]


class Trial:
    """One stream and its questions, answered from blocks as they are and from others."""

    def __init__(self, config: VStreamConfig, model: VideoLLM, stream: ExamStream) -> None:
        self._config, self._model, self._stream = config, model, stream
        with open_session(config, model, stream.name) as session:
            show_script(session, stream.script)
            self.seen = Seen.of(session)
            self.exact = answers_of(session, stream.questions)

    def take(self, seen: Seen, compared: Compared) -> None:
        """Answer from these blocks, found by their own keys."""
        with open_session(self._config, self._model, "predicted") as session:
            for at, info in enumerate(seen.infos):
                block = KVBlock(info, seen.keys[:, :, at], seen.values[:, :, at])
                with self._model.turn:
                    session.memory.append(block)
            compared.take(self.exact, answers_of(session, self._stream.questions))

    def take_every(self, nth: int, compared: Compared) -> None:
        """Answer from every nth frame, seen by the whole model."""
        script = replace(self._stream.script, moments=self._stream.script.moments[::nth])
        with open_session(self._config, self._model, "thinned") as session:
            show_script(session, script)
            compared.take(self.exact, answers_of(session, self._stream.questions))


def measure(
    seed: Annotated[int, typer.Option(min=1, help="Of the exam; maps are fitted on seed - 1.")],
    minutes: Annotated[float, typer.Option(min=1, help="Length of each stream.")] = 10,
    streams: Annotated[int, typer.Option(min=1)] = 2,
    questions: Annotated[int, typer.Option(min=2, help="Of all streams together.")] = 160,
    fitted: Annotated[int, typer.Option(min=1, help="Streams that the maps are fitted on.")] = 4,
) -> None:
    """What predicted keys and values cost in answers, and what they save of ingest."""
    torch.set_num_threads(1)
    config = load_config(memory={"codec": "exact"})
    model = load_video_llm(config.model, config.device, config.dtype, 1.0)
    options = ExamOptions(seed, round(60 * minutes), streams, questions)
    exam = draw_exam(options)[:streams]
    learnt = []
    for stream in draw_exam(replace(options, seed=seed - 1, num_streams=fitted))[:fitted]:
        with open_session(config, model, stream.name) as session:
            show_script(session, stream.script)
            learnt.append(Seen.of(session))
    layers = model.decoder.num_layers
    sizes = [layers - 1, layers * 3 // 4, layers // 2, layers // 4]
    kinds: tuple[Kind, ...] = ("own", "all")
    maps = [Maps.fit(learnt, aux, kind) for aux in sizes for kind in kinds]
    trials = [Trial(config, model, stream) for stream in exam]
    rows, by_layer = [("all layers", "1", *_itself(trials).cells())], []
    for one in maps:
        compared, both = Compared(), []
        for trial in trials:
            predicted = one.predict(trial.seen)
            trial.take(predicted, compared)
            both.append((trial.seen, predicted))
        name = f"{one.aux} of {layers} layers, {one.kind}"
        rows.append((name, f"{one.cost(model.decoder):.2f}", *compared.cells()))
        found = zip(errors(both, "keys"), errors(both, "values"), strict=True)
        by_layer.append((name, *(f"{key:.2f}, {value:.2f}" for key, value in found)))
    for nth in (2, 4):
        compared = Compared()
        for trial in trials:
            trial.take_every(nth, compared)
        rows.append((f"every {nth}. frame, all layers", f"{1 / nth:.2f}", *compared.cells()))
    columns = ("", "of the decoder's weights", *Compared.COLUMNS)
    numbers = ("", *(f"layer {number}" for number in range(layers)))
    answers = ResultTable("Answers from predicted blocks", columns, tuple(rows))
    off = ResultTable("Errors of keys, of values", numbers, tuple(by_layer))
    show([answers, off, *costs(model, exam[0].script)])


def _itself(trials: Sequence[Trial]) -> Compared:
    compared = Compared()
    for trial in trials:
        compared.take(trial.exact, trial.exact)
    return compared


if __name__ == "__main__":
    typer.run(measure)
