"""Photographs a second of `fgvc-zoo predict FOLDER` beside a plain loop of timm, and its memory with few and with many photographs.

    python benchmarks/speed/predict.py --photos FOLDER --json FILE

The plain loop does what timm's inference.py does, whose script is not in timm's package: `create_dataset`, `create_loader` with the model's
data config, `model(images)`, softmax and topk in inference mode, and a CSV at the end. Both run in processes of their own, in turns, with
the same model, photographs, batch size, workers and threads. A rate is of the whole process less a run with one batch, so that imports and
loading do not count; the whole times are given too. The memory is the largest proportional size (PSS) of all processes together, read from
/proc (Linux only). glibc's settings (MALLOC_...) are passed on to both and written to the file. Photographs are links to the first ones of
the folder, repeated.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import time
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from fgvc_zoo._files import write_json
from fgvc_zoo.data import find_images

ROOT = Path(__file__).parents[2]


def plain_loop(folder: str, model_name: str, batch_size: int, workers: int, output: str) -> None:
    """timm's inference.py without its options."""
    import csv

    import timm
    from timm.data import create_dataset, create_loader, resolve_data_config

    import fgvc_zoo  # noqa: F401  (registers the models)

    model = timm.create_model(model_name, pretrained=True).eval()
    config = resolve_data_config({}, model=model)
    dataset = create_dataset(name='', root=folder)
    loader = create_loader(
        dataset, batch_size=batch_size, use_prefetcher=True, num_workers=workers, device=torch.device('cpu'), **config)
    values, indices = [], []
    with torch.inference_mode():
        for images, _ in loader:
            best = model(images).softmax(-1).topk(5)
            values.append(best.values.numpy())
            indices.append(best.indices.numpy())
    names = dataset.filenames(basename=False)
    with open(output, 'w', newline='', encoding='utf-8') as file:
        rows = ((row, chosen) for part, best in zip(values, indices, strict=True) for row, chosen in zip(part, best, strict=True))
        csv.writer(file).writerows([name, *chosen, *row] for name, (row, chosen) in zip(names, rows, strict=True))


def commands(options: argparse.Namespace, folder: Path) -> dict[str, list[str]]:
    """The two command lines for a folder; each writes a file beside it."""
    shared = ['--batch-size', str(options.batch_size), '--workers', str(options.workers), '--model', options.model]
    return {
        'fgvc-zoo': [sys.executable, '-m', 'fgvc_zoo_cli', 'predict', str(folder), '--csv', f'{folder}.csv', '--device', 'cpu', *shared],
        'plain': [sys.executable, __file__, '--plain', f'{folder}.plain.csv', '--photos', str(folder), *shared]}


def seconds(command: list[str]) -> float:
    """Wall time of a process."""
    begun = time.perf_counter()
    subprocess.run(command, env=dict(os.environ, PYTHONPATH=str(ROOT)), stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


def peak_megabytes(command: list[str]) -> float:
    """The largest sum of the proportional sizes of a process and its descendants, read every quarter of a second."""
    peak = 0
    with subprocess.Popen(command, env=dict(os.environ, PYTHONPATH=str(ROOT)), stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, sum(map(_proportional, _with_children(process.pid))))
            time.sleep(0.25)
    return round(1.024e-3 * peak, 1)


def _with_children(pid: int) -> list[int]:
    try:
        children = Path(f'/proc/{pid}/task/{pid}/children').read_text(encoding='ascii').split()
    except OSError:
        return []
    return [pid, *(number for child in children for number in _with_children(int(child)))]


def _proportional(pid: int) -> int:
    """In KiB; 0 if the process has ended."""
    try:
        lines = Path(f'/proc/{pid}/smaps_rollup').read_text(encoding='ascii').splitlines()
    except OSError:
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith('Pss:'))


def link(photos: list[Path], count: int, folder: Path) -> Path:
    """A folder with links to `count` photographs, repeated if there are fewer."""
    folder.mkdir()
    for index, photo in enumerate(islice(cycle(photos), count)):
        (folder / f'{index:06}{photo.suffix}').symlink_to(photo.resolve())
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--photos', required=True, help='a folder of photographs')
    parser.add_argument('--model', default='wsdan_tf_efficientnet_lite0.grocery81')
    parser.add_argument('--batch-size', type=int, default=16)
    parser.add_argument('--workers', type=int, default=2)
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--count', type=int, default=500, help='photographs of a timed run')
    parser.add_argument('--memory', type=int, nargs='*', default=[500, 5000], help='numbers of photographs whose memory is measured')
    parser.add_argument('--json', type=Path, help='write the figures to this file')
    parser.add_argument('--plain', help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain:
        plain_loop(options.photos, options.model, options.batch_size, options.workers, options.plain)
        return
    found = find_images([options.photos])
    photos = found[::max(1, len(found) // options.count)][:options.count]
    with TemporaryDirectory() as temporary:
        work = Path(temporary)
        few = commands(options, link(photos, options.batch_size, work / 'few'))
        many = commands(options, link(photos, options.count, work / 'many'))
        started: dict[str, list[float]] = {name: [] for name in many}
        whole: dict[str, list[float]] = {name: [] for name in many}
        for _ in range(options.repeats):
            for name in many:
                started[name].append(seconds(few[name]))
                whole[name].append(seconds(many[name]))
                print(name, round(started[name][-1], 2), round(whole[name][-1], 2), flush=True)
        memory = {}
        for count in options.memory:
            folder = link(photos, count, work / f'memory{count}')
            memory[count] = peak_megabytes(commands(options, folder)['fgvc-zoo'])
            print(count, memory[count], 'MB', flush=True)
    rates = {name: [(options.count - options.batch_size) / (end - begin) for begin, end in zip(started[name], whole[name], strict=True)]
             for name in many}
    table = dict(
        model=options.model, photographs=options.count, batch_size=options.batch_size, workers=options.workers,
        images_per_second={name: round(statistics.median(values), 1) for name, values in rates.items()},
        images_per_second_of_each_run={name: [round(value, 1) for value in values] for name, values in rates.items()},
        seconds={name: round(statistics.median(values), 2) for name, values in whole.items()},
        seconds_with_one_batch={name: round(statistics.median(values), 2) for name, values in started.items()},
        peak_megabytes_of_all_processes={str(count): value for count, value in memory.items()},
        environment={key: value for key, value in os.environ.items() if key.startswith('MALLOC_')},  # of glibc's allocator
        cores=os.cpu_count(), threads=torch.get_num_threads(), torch=torch.__version__, python=platform.python_version())
    print(table)
    if options.json:
        write_json(options.json, table)


if __name__ == '__main__':
    main()
