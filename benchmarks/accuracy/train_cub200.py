"""Train every method and both baselines on CUB-200-2011 at 448 px, side by side on one GPU.

    python benchmarks/accuracy/train_cub200.py --data cub200:PATH --backbone tf_efficientnet_lite0.safetensors --output runs/cub200

Each run is a plain `fgvc-zoo train` in a process of its own; its log is OUTPUT/NAME.log and its half precision weights are
OUTPUT/NAME/model.safetensors. Processes that share a GPU take turns unless the Multi-Process Service runs (`nvidia-cuda-mps-control -d`).
On one H200 with 16 cores and that service, all seven take six minutes for 8 epochs; preparing the images is then the limit.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from safetensors.torch import load_file, save_file

from fgvc_zoo._files import atomic_write, half_precision
from fgvc_zoo.training.checkpoint import CHECKPOINT

BACKBONE = 'tf_efficientnet_lite0'
# model, recipe, what differs from the recipe
RUNS: dict[str, tuple[str, str, list[str]]] = {
    'racnn': (f'racnn_{BACKBONE}', 'racnn', ['model_args.proposal_channels=32', 'model_args.crop_size=320']),
    'wsdan': (f'wsdan_{BACKBONE}', 'wsdan', ['model_args.refine_threshold=0.4']),
    'wsban': (f'wsban_{BACKBONE}', 'wsban', ['model_args.refine_threshold=0.3']),
    'plain': (BACKBONE, 'baseline-paper', []),
    'osme': (f'osme_{BACKBONE}', 'osme', []),
    'apinet': (f'apinet_{BACKBONE}', 'apinet', ['batch_size=64', 'lr=0.014', 'new_lr_scale=1', 'head_lr_scale=10']),
    'baseline': (BACKBONE, 'baseline', []),
}


def command(name: str, run: tuple[str, str, list[str]], options: argparse.Namespace) -> list[str]:
    """The `fgvc-zoo train` of one run."""
    model, recipe, changes = run
    words = [
        sys.executable, '-m', 'fgvc_zoo_cli', 'train', '--model', model, '--recipe', recipe,
        '--data', options.data, '--output', str(options.output / name),
        '--pretrained-backbone', str(options.backbone), '--input-size', str(options.input_size), '--epochs', str(options.epochs),
        '--seed', str(options.seed), '--workers', str(options.workers), '--train-split', options.train_split]
    if options.train_split == 'fit':
        words += ['--eval-split', 'holdout', '--eval-every', str(options.epochs)]
    words += ['--amp', options.amp] if options.amp else []
    words += ['--resume'] if (options.output / name / CHECKPOINT).exists() else []
    return words + [word for change in changes + options.changes for word in ('--set', change)]


def parser_of_runs(description: str | None) -> argparse.ArgumentParser:
    """The options that `command` reads, but for the training split."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', required=True, help='cub200:PATH')
    parser.add_argument('--backbone', type=Path, required=True, help=f'ImageNet weights of {BACKBONE}, with keys as in timm')
    parser.add_argument('--output', type=Path, required=True)
    parser.add_argument('--epochs', type=int, default=8)
    parser.add_argument('--input-size', type=int, default=448)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--amp', default='bf16')
    parser.add_argument('--workers', type=int, default=3, help='processes that load images, for each run')
    parser.add_argument('--jobs', type=int, default=0, help='runs at the same time; 0 for all')
    parser.add_argument('--set', dest='changes', action='append', default=[], help='key=value of every recipe')
    return parser


def main() -> int:
    parser = parser_of_runs(__doc__)
    parser.add_argument('--train-split', default='train', choices=['train', 'fit'], help="'fit' measures on the held-out fifth")
    parser.add_argument('--runs', nargs='+', default=list(RUNS), choices=list(RUNS))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    commands = {name: command(name, RUNS[name], options) for name in options.runs}
    return int(not side_by_side(commands, options.output, lambda name: halve(options.output / name / 'model.safetensors'), options.jobs))


def side_by_side(commands: dict[str, list[str]], logs: Path, finish: Callable[[str], None], jobs: int = 0) -> bool:
    """Run commands, `jobs` at the same time (0 for all), each with the log LOGS/NAME.log, and call `finish(name)` after each that
    succeeds. Returns whether all do."""
    def run(item: tuple[str, list[str]]) -> bool:
        name, words = item
        with open(logs / f'{name}.log', 'w', encoding='utf-8') as log:
            succeeded = subprocess.run(words, stdout=log, stderr=subprocess.STDOUT, check=False).returncode == 0
        if succeeded:
            finish(name)
        print(f'{name} {"done" if succeeded else "failed"}', flush=True)
        return succeeded

    with ThreadPoolExecutor(jobs or len(commands) or 1) as pool:
        return all(list(pool.map(run, commands.items())))


def halve(path: Path) -> None:
    """Rewrite weights in half precision."""
    weights = half_precision(load_file(path))
    atomic_write(path, lambda part: save_file(weights, part))


if __name__ == '__main__':
    raise SystemExit(main())
