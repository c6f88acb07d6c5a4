"""Memory and throughput of a training step on random images, each case in a process of its own.

    python benchmarks/speed/training_step.py memory --json FILE        # peak memory: one backward per step, and one per part of the loss
    python benchmarks/speed/training_step.py throughput --json FILE    # images/s: plain, and with compiled backbones
    python benchmarks/speed/training_step.py norms --json FILE         # images/s: plain, and without any batch norm

Compared cases alternate within one call, because the load of a machine changes. Losses of the same steps are compared too.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from timm.optim import create_optimizer_v2
from torch import Tensor, nn

from fgvc_zoo._files import write_json
from fgvc_zoo._memory import keep_freed_memory
from fgvc_zoo.recipes import load_recipe, recipe_for
from fgvc_zoo.tasks import create_task
from fgvc_zoo.training.models import build_model
from fgvc_zoo.training.setup import parameter_groups, train_mode

BACKBONE = 'tf_efficientnet_lite0'
CLASSES = 200


def run_case(options: argparse.Namespace) -> dict[str, Any]:
    """Train for some steps; peak memory of the process and of the steps in MB, images/s (median after the first two steps), the losses."""
    keep_freed_memory()
    torch.manual_seed(0)
    changes = dict(input_size=options.size, frozen_below=options.frozen_below)
    if 'racnn' in options.model:
        changes['task_args.proposal_steps'] = 0  # measure the phase that trains the networks
    recipe = load_recipe(recipe_for(options.model)).replace(**changes)
    model = build_model(options.model, recipe, CLASSES, False).to(memory_format=torch.channels_last)
    task: Any = create_task(recipe.task, model, smoothing=recipe.smoothing, **recipe.task_args)
    optimizer = create_optimizer_v2(parameter_groups(model, recipe, task), opt='sgd', lr=1e-3, momentum=0.9)
    if options.no_norms:
        remove_norms(model)
    if options.compile:
        getattr(model, 'backbone', model).compile()
    train_mode(task, model, recipe)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    generator = torch.Generator().manual_seed(1)
    targets = torch.arange(options.batch) // 2 % CLASSES
    seconds, losses = [], []
    for step in range(options.steps):
        images = torch.randn(options.batch, 3, options.size, options.size, generator=generator).to(memory_format=torch.channels_last)
        torch.manual_seed(step)
        begun = time.monotonic()
        losses.append(_step(task, images, targets, options.together))
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.monotonic() - begun)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return dict(
        peak_mb=round(1.024e-3 * peak), step_mb=round(1.024e-3 * (peak - before)), losses=losses,  # of KiB
        images_per_second=round(options.batch / statistics.median(seconds[2:]), 2))


def remove_norms(model: nn.Module) -> None:
    """Leave only the activations of batch norms: how fast a step could be if they cost nothing."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, getattr(child, 'act', nn.Identity()))


def _step(task: Any, images: Tensor, targets: Tensor, together: bool) -> float:
    if together:
        loss = task(images, targets)['loss']
        loss.backward()
    else:
        loss = task.step(images, targets, backward=Tensor.backward)['loss']
    return loss.item()


def case(model: str, options: argparse.Namespace, **flags: bool) -> dict[str, Any]:
    """`run_case` in a process of its own."""
    words = [f"--{name.replace('_', '-')}" for name, on in flags.items() if on]
    if options.frozen_below is not None:
        words.append(f'--frozen-below={options.frozen_below}')
    command = [sys.executable, __file__, 'case', '--model', model, '--size', str(options.size), '--batch', str(options.batch),
               '--steps', str(options.steps), *words]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(result.stdout.splitlines()[-1])


def memory(options: argparse.Namespace) -> dict[str, Any]:
    """Peak memory of the process of each method, with one backward a step and with one for each part, beside the baseline's."""
    alone = case(BACKBONE, options)
    baseline = alone['peak_mb']
    table: dict[str, Any] = dict(baseline=dict(peak_mb=baseline, step_mb=alone['step_mb']))
    print(f'baseline {baseline} MB', flush=True)
    for method in options.methods:
        together, apart = (case(f'{method}_{BACKBONE}', options, together=flag) for flag in (True, False))
        difference = max(abs(a - b) for a, b in zip(together['losses'], apart['losses'], strict=True))
        table[method] = dict(
            together_mb=together['peak_mb'], parts_mb=apart['peak_mb'], step_mb=apart['step_mb'],
            ratio_to_baseline=round(apart['peak_mb'] / baseline, 2), largest_loss_difference=difference)
        print(method, table[method], flush=True)
    return table


def throughput(options: argparse.Namespace) -> dict[str, Any]:
    """Images/s plain and compiled, in turns."""
    table: dict[str, Any] = {}
    for model in (BACKBONE, *(f'{method}_{BACKBONE}' for method in options.methods)):
        plain, compiled = (case(model, options, compile=flag) for flag in (False, True))
        difference = max(abs(a - b) for a, b in zip(plain['losses'], compiled['losses'], strict=True))
        table[model] = dict(
            plain=plain['images_per_second'], compiled=compiled['images_per_second'],
            ratio=round(compiled['images_per_second'] / plain['images_per_second'], 2), largest_loss_difference=difference)
        print(model, table[model], flush=True)
    return table


def norms(options: argparse.Namespace) -> dict[str, Any]:
    """Images/s of the baseline with and without batch norms, in turns."""
    rates: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(3):
        for removed, values in rates.items():
            values.append(case(BACKBONE, options, no_norms=removed)['images_per_second'])
    return {BACKBONE: dict(plain=rates[False], without=rates[True], ratio=round(max(rates[True]) / max(rates[False]), 2))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', choices=['memory', 'throughput', 'norms', 'case'])
    parser.add_argument('--json', type=Path, help='write the figures to this file')
    parser.add_argument('--methods', nargs='+', default=['wsdan'])
    parser.add_argument('--size', type=int, default=224)
    parser.add_argument('--batch', type=int, default=32)
    parser.add_argument('--steps', type=int, default=4)
    parser.add_argument('--frozen-below', type=float, default=None, help='as in a recipe; nothing is frozen if not given')
    parser.add_argument('--model', help=argparse.SUPPRESS)
    parser.add_argument('--compile', action='store_true', help=argparse.SUPPRESS)
    parser.add_argument('--no-norms', action='store_true', help=argparse.SUPPRESS)
    parser.add_argument('--together', action='store_true', help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.what == 'case':
        print(json.dumps(run_case(options)))
        return
    table = dict(memory=memory, throughput=throughput, norms=norms)[options.what](options)
    settings = dict(input_size=options.size, batch_size=options.batch, steps=options.steps, frozen_below=options.frozen_below,
                    threads=torch.get_num_threads(), torch=torch.__version__)
    if options.json:
        write_json(options.json, dict(settings=settings, **table))


if __name__ == '__main__':
    main()
