"""How well scores of a photograph tell photographs of a model's classes from photographs of other things.

    python benchmarks/accuracy/strangers.py RUN --data grocery:PATH --strangers cub200:PATH --json FILE

The score of `fgvc_zoo.calibration` was chosen so, on photographs that the model was not trained on and that are no test photographs
(the held-out split of the one and the training split of the other data set). For each score: the area under the ROC curve in percent (the
share of pairs of a known photograph and a stranger in which the known one is higher), and the strangers below the thresholds that keep
99 and 95 % of the known photographs. Scores of logits themselves are missing: those of models with several forward passes are log
probabilities.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from fgvc_zoo._device import choose_device
from fgvc_zoo._files import write_json
from fgvc_zoo.calibration import familiarity
from fgvc_zoo.data import open_dataset
from fgvc_zoo.evaluation import collect_answers
from fgvc_zoo.loading import TimmModel, eval_transform_for, load_model

KEPT = (99, 95)
SCORES: dict[str, Callable[[Tensor], Tensor]] = {
    'highest probability': lambda logits: logits.softmax(1).amax(1),
    'sum of the five highest probabilities': lambda logits: logits.softmax(1).topk(5).values.sum(1),
    'sum of the highest probabilities of a tenth of the classes, at most ten': familiarity,
    'negative entropy': lambda logits: (logits.softmax(1) * logits.log_softmax(1)).sum(1),
    'difference of the two highest probabilities': lambda logits: -logits.softmax(1).topk(2).values.diff(dim=1)[:, 0],
}


def roc_area(known: Tensor, strangers: Tensor) -> float:
    """The share of pairs in which the known photograph has the higher score, ties half, in percent.

    Args:
        known: Scores (N,).
        strangers: Scores (M,).
    """
    ranked = strangers.sort().values
    below = torch.searchsorted(ranked, known) + torch.searchsorted(ranked, known, right=True)
    return 100 * (below.double().mean() / (2 * len(strangers))).item()


def caught(known: Tensor, strangers: Tensor, kept: float) -> float:
    """The share of strangers below the threshold that keeps `kept` percent of the known photographs, in percent."""
    threshold = known.sort().values[round((100 - kept) / 100 * len(known))]
    return 100 * (strangers < threshold).double().mean().item()


def measure(known: Tensor, strangers: Tensor) -> dict[str, float]:
    """The figures of one score: `known` (N,), `strangers` (M,)."""
    shares = {f'caught_at_{kept}': round(caught(known, strangers, kept), 1) for kept in KEPT}
    return dict(roc_area=round(roc_area(known, strangers), 2), **shares)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('run', help='a model that was not trained on these photographs')
    parser.add_argument('--data', required=True, help='photographs of its classes')
    parser.add_argument('--split', default='holdout')
    parser.add_argument('--strangers', required=True, help='photographs of other things')
    parser.add_argument('--strangers-split', default='train')
    parser.add_argument('--json', type=Path, help='write the figures to this file')
    options = parser.parse_args()
    model = load_model(options.run, choose_device(None))
    known = logits_of(model, options.data, options.split)
    strangers = logits_of(model, options.strangers, options.strangers_split)
    table = dict(
        model=model.pretrained_cfg['architecture'], data=options.data.partition(':')[0], split=options.split, photographs=len(known),
        strangers=options.strangers.partition(':')[0], strangers_split=options.strangers_split, strange_photographs=len(strangers),
        results={name: measure(score(known), score(strangers)) for name, score in SCORES.items()})
    print(table)
    if options.json:
        write_json(options.json, table)


def logits_of(model: TimmModel, data: str, split: str) -> Tensor:
    """The model's answers (N, num_classes) to a split."""
    dataset = open_dataset(data, split, transform=eval_transform_for(model))
    return collect_answers(model, dataset, 32, 1, next(model.parameters()).device).scores['combined']


if __name__ == '__main__':
    main()
