"""Do several processes train what one process trains? Every task, with the same images in a step.

    python benchmarks/processes/parity.py --json FILE           # 1, 2 and 4 processes on this machine
    python benchmarks/processes/parity.py --hosts --json FILE   # and two network namespaces with one process each (Linux, root)

Trains each task for six steps on small noise pictures, with a global batch of eight, on the CPU with gloo, and compares the history's
losses and the final weights with those of one process. Fails if a loss differs by more than 1e-5 or a weight by more than 1e-4. The numbers
are float64: in float32 a difference in the last digit can move the edge of a box by a pixel, or make another image the nearest, and then
grows.
"""

from __future__ import annotations

import argparse
import csv
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from fgvc_zoo._files import write_json

BATCH, CLASSES, PER_CLASS = 8, 8, 6
LOSS_BOUND, WEIGHT_BOUND = 1e-5, 1e-4
SMALL = {'model_args.backbone': 'test_efficientnet'}
# Batch norms train, also the backbone's, so that their statistics are compared. WS-BAN drops no map and no backbone has dropout, since each
# process draws its own.
TASKS: dict[str, dict[str, Any]] = dict(
    baseline={},
    wsdan=SMALL | {'model_args.num_maps': 4},
    wsban=SMALL | {'model_args.num_maps': 4, 'model_args.attention_drop_rate': 0.0},
    apinet=SMALL | {'images_per_class': 2},
    osme=SMALL | {'images_per_class': 2},
    racnn=SMALL | {'model_args.num_scales': 2, 'task_args.proposal_steps': 2, 'task_args.classification_steps': 2,
                   'task_args.ranking_steps': 2})
SHARED = dict(epochs=1, input_size=64, lr=0.001, freeze_bn=False, frozen_below=None, smoothing=0.0, clip_grad=None, warmup_epochs=0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--hosts', action='store_true', help='two network namespaces that stand for two hosts too')
    parser.add_argument('--tasks', nargs='+', choices=TASKS, default=list(TASKS), help='only these')
    parser.add_argument('--json', type=Path, help='write the table to this file')
    parser.add_argument('--worker', nargs=4, help=argparse.SUPPRESS)  # task, data, output, number of processes
    options = parser.parse_args()
    if options.worker:
        train_one(*options.worker)
        return 0
    table: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        work = Path(folder)
        draw_pictures(work / 'photos')
        layouts: dict[str, list[list[str]]] = {'2 processes': [[]] * 2, '4 processes': [[]] * 4}
        if options.hosts:
            layouts['2 hosts'] = stack.enter_context(two_hosts())
        for task in options.tasks:
            run(task, work, '1 process', [[]])
            table[task] = {name: compare(work / task / '1 process', run(task, work, name, prefixes)) for name, prefixes in layouts.items()}
            print(task, table[task], flush=True)
    if options.json:
        write_json(options.json, dict(
            tasks=table, global_batch=BATCH, bounds=dict(loss=LOSS_BOUND, weights=WEIGHT_BOUND), dtype='float64',
            versions=dict(torch=torch.__version__), command='python benchmarks/processes/parity.py --hosts --json FILE'))
    return int(any(row['loss'] > LOSS_BOUND or row['weights'] > WEIGHT_BOUND for rows in table.values() for row in rows.values()))


def draw_pictures(root: Path) -> None:
    """Noise pictures whose classes differ in their colours."""
    generator = np.random.default_rng(0)
    for label in range(CLASSES):
        folder = root / 'train' / f'class{label}'
        folder.mkdir(parents=True)
        for index in range(PER_CLASS):
            pixels = generator.integers(0, 120, (72, 80, 3))
            pixels[..., label % 3] += 15 * label
            Image.fromarray(pixels.astype('uint8')).save(folder / f'{index}.png')


def train_one(task: str, data: str, output: str, world: str) -> None:
    """What one process does."""
    from fgvc_zoo.recipes import load_recipe
    from fgvc_zoo.training import TrainConfig, train

    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    recipe = load_recipe(task).replace(**{**SHARED, **TASKS[task]}, batch_size=BATCH // int(world))
    model = 'test_efficientnet' if task == 'baseline' else task
    train(TrainConfig(model, f'folder:{data}', output, recipe, seed=3, pretrained_backbone=False, workers=0, device='cpu', progress=False))


def run(task: str, work: Path, name: str, prefixes: list[list[str]]) -> Path:
    """Train on one process for each prefix of a command; returns the run folder."""
    output, world = work / task / name, len(prefixes)
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        port = listener.getsockname()[1]
    processes = []
    for rank, prefix in enumerate(prefixes):
        env = dict(os.environ, OMP_NUM_THREADS='1', ACCELERATE_USE_CPU='true', RANK=str(rank), TORCH_CPP_LOG_LEVEL='ERROR')
        if world > 1:
            hosts = bool(prefix)
            env.update(WORLD_SIZE=str(world), MASTER_ADDR='10.77.0.1' if hosts else '127.0.0.1', MASTER_PORT=str(port),
                       LOCAL_RANK='0' if hosts else str(rank), LOCAL_WORLD_SIZE='1' if hosts else str(world))
            if hosts:
                env['GLOO_SOCKET_IFNAME'] = f'parity{rank}'
        command = [*prefix, sys.executable, __file__, '--worker', task, str(work / 'photos'), str(output), str(world)]
        processes.append(subprocess.Popen(command, env=env))
    try:
        codes = [process.wait(timeout=600) for process in processes]
    finally:
        for process in processes:
            process.kill()
    if any(codes):
        raise SystemExit(f'{task} on {name}: the processes ended with {codes}')
    return output


def compare(one: Path, other: Path) -> dict[str, float]:
    """Largest differences: of the losses, relative where they are above 1, and of the weights and statistics."""
    rows = [next(csv.DictReader((folder / 'history.csv').open(encoding='utf-8'))) for folder in (one, other)]
    losses = [(float(rows[0][key]), float(rows[1][key])) for key in rows[0] if key.startswith('loss')]
    first, second = (load_file(folder / 'model.safetensors') for folder in (one, other))
    return dict(
        loss=max(abs(a - b) / max(1.0, abs(a)) for a, b in losses),
        weights=max((first[name].double() - second[name].double()).abs().max().item() for name in first))


@contextmanager
def two_hosts() -> Iterator[list[list[str]]]:
    """Two network namespaces joined by a pair of virtual interfaces; yields the prefix that runs a command in each."""
    names = [f'fgvc-parity-{os.getpid()}-{index}' for index in range(2)]
    script = [
        *(f'netns add {name}' for name in names),
        f'link add parity0 netns {names[0]} type veth peer name parity1 netns {names[1]}',
        *(f'-n {name} addr add 10.77.0.{index + 1}/24 dev parity{index}' for index, name in enumerate(names)),
        *(f'-n {name} link set {device} up' for index, name in enumerate(names) for device in ('lo', f'parity{index}'))]
    try:
        for line in script:
            subprocess.run(['ip', *line.split()], check=True)
        yield [['ip', 'netns', 'exec', name] for name in names]
    finally:
        for name in names:
            subprocess.run(['ip', 'netns', 'del', name], check=False)


if __name__ == '__main__':
    raise SystemExit(main())
