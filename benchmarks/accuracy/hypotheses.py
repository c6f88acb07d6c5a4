"""Try changes of the methods on the held-out fifth of a training split, side by side on one GPU or one after the other on a CPU.

    python benchmarks/accuracy/hypotheses.py --data cub200:PATH --backbone WEIGHTS.safetensors --output runs/hypotheses --json FILE
    python benchmarks/accuracy/hypotheses.py --data cub200:PATH --backbone WEIGHTS.safetensors --output runs/best --best FILE

The first call trains every experiment and what it is compared with on the split 'fit', and writes the accuracies on 'holdout' to FILE,
after each run; what OUTPUT already holds is not trained again. The second trains the best setting of each method on the whole training
split, unless that is the one that it had. Test photographs are not looked at. On a CPU: `--jobs 1 --amp '' --input-size 224`. See
`train_cub200.py` for the service that processes on one GPU need.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from train_cub200 import RUNS, command, halve, parser_of_runs, side_by_side

from fgvc_zoo._files import write_json
from fgvc_zoo.comparison import compare
from fgvc_zoo.evaluation import parts_of

EARLY = ['early_epochs=4']
SHORT = ['task_args.feature_length=4', 'task_args.mamc_weight=0.5']
# what is compared with, what differs
EXPERIMENTS: dict[str, tuple[str, list[str]]] = {
    'racnn-crops': ('racnn', ['augmentation.scale=[0.35, 1.0]']),
    'racnn-crops-448': ('racnn', ['augmentation.scale=[0.35, 1.0]', 'model_args.crop_size=448']),
    'racnn-224': ('racnn', ['model_args.crop_size=224']),
    'wsdan-unfrozen': ('wsdan', ['frozen_below=null']),
    'wsdan-stage': ('wsdan', ['model_args.stage=-2']),
    'wsdan-sharp': ('wsdan', ['model_args.pass_size=224']),
    'wsdan-early': ('wsdan', EARLY),
    'osme-max': ('osme', [*SHORT, 'model_args.branch_pool=max']),
    'osme-depthwise': ('osme', [*SHORT, 'model_args.branch_pool=depthwise']),
    'apinet-similar': ('apinet', ['similar_classes=4']),
    'baseline-early': ('baseline', EARLY),
}
# these answer a question about speed, and would not be comparable with the other rows of a table
NOT_FOR_THE_TABLE = ('wsdan-sharp', 'wsdan-early', 'baseline-early')


def settings(name: str) -> tuple[str, str, list[str]]:
    """Model, recipe and changes of an experiment or of what it is compared with."""
    reference, changes = EXPERIMENTS.get(name, (name, []))
    model, recipe, own = RUNS[reference]
    return model, recipe, own + changes


def summary(records: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The accuracies on the held-out fifth in percent, and the difference from the reference with its 95 % interval.

    Args:
        records: What `fgvc-zoo evaluate` wrote, by experiment.
    """
    rows = {}
    for name, record in records.items():
        metrics = record['metrics']
        row: dict[str, Any] = dict(changes=settings(name)[2], top1=metrics['top1'])
        row.update(parts={part: metrics[part]['top1'] for part in parts_of(metrics) if part != 'combined'})
        if 'localization' in metrics:
            row['localization'] = metrics['localization']
        reference = EXPERIMENTS.get(name, (name, []))[0]
        if reference != name and reference in records:
            comparison = compare(metrics['correct'], records[reference]['metrics']['correct'])
            row.update(reference=reference, difference=round(comparison.difference, 2),
                       interval=[round(comparison.low, 2), round(comparison.high, 2)], p_value=round(comparison.p_value, 4))
        rows[name] = row
    return rows


def best_settings(rows: dict[str, Any]) -> list[str]:
    """The experiments that are better than what they are compared with: the best one of each method."""
    best: dict[str, str] = {}
    for name, (reference, _) in EXPERIMENTS.items():
        if name in rows and reference in rows and name not in NOT_FOR_THE_TABLE:
            current = best.get(reference, reference)
            best[reference] = name if rows[name]['top1'] > rows[current]['top1'] else current
    return [name for reference, name in best.items() if name != reference]


def main() -> int:
    parser = parser_of_runs(__doc__)
    references = sorted({reference for reference, _ in EXPERIMENTS.values()})
    parser.add_argument('--runs', nargs='+', default=[*EXPERIMENTS, *references], choices=[*EXPERIMENTS, *references])
    parser.add_argument('--json', type=Path, help='write the accuracies to this file')
    parser.add_argument('--best', type=Path, help='train the best settings of this file on the whole training split')
    options = parser.parse_args()
    options.train_split = 'train' if options.best else 'fit'
    measured = options.output / 'measured'
    measured.mkdir(parents=True, exist_ok=True)
    runs = best_settings(json.loads(options.best.read_text(encoding='utf-8'))['results']) if options.best else options.runs
    commands = {name: command(name, settings(name), options) for name in runs if not (measured / f'{name}.json').exists()}

    def finish(name: str) -> None:
        halve(options.output / name / 'model.safetensors')
        if not options.best:
            subprocess.run(
                [sys.executable, '-m', 'fgvc_zoo_cli', 'evaluate', str(options.output / name), '--data', options.data, '--split', 'holdout',
                 '--workers', str(options.workers), '--json', str(measured / f'{name}.json')], check=True, stdout=subprocess.DEVNULL)
            write_summary(measured, runs, options)

    succeeded = side_by_side(commands, options.output, finish, options.jobs)
    if not options.best:
        write_summary(measured, runs, options)
    return int(not succeeded)


def write_summary(measured: Path, runs: list[str], options: argparse.Namespace) -> None:
    """What is measured so far, in the order of `runs`."""
    records = {name: json.loads((measured / f'{name}.json').read_text(encoding='utf-8')) for name in runs
               if (measured / f'{name}.json').exists()}
    if options.json and records:
        first = next(iter(records.values()))
        write_json(options.json, dict(
            data=first['data'], train_split='fit', split='holdout', epochs=options.epochs, input_size=options.input_size,
            seed=options.seed, versions=first['versions'], results=summary(records)))


if __name__ == '__main__':
    raise SystemExit(main())
