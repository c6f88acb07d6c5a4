"""Damage images, weights and configurations at random, stop trainings, and see what the package makes of it.

    python benchmarks/faults/attack.py --images 10000 --models 2000 --runs 20 --json benchmarks/results/checks/attack.json
    python benchmarks/faults/attack.py --table benchmarks/results/checks/attack.json      # draws docs/faults.md

Every outcome must be the right answer or a UserError, which is one sentence, within 20 seconds and 4 GiB. A training that is stopped must
go on and end with the weights of one that was not. Anything else is a fault of this package; the script then fails and prints the seed.
The damage depends on the seed alone; the moment at which a training is stopped also depends on the machine.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

from fgvc_zoo import UserError
from fgvc_zoo._files import write_json, write_text
from fgvc_zoo.data import load_image
from fgvc_zoo.loading import eval_transform_for, load_model
from fgvc_zoo.saving import save_model

SECONDS, BYTES = 20.0, 4 << 30
FORMATS = ('JPEG', 'PNG', 'GIF', 'BMP', 'TIFF', 'WEBP', 'PPM')
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 10**30, 0.5, float('inf'), float('nan'), '',
    'x' * 300, 'bicubic', '\x1b[31m', [], [1], [[1]] * 3, {}, {'a': {}})
ROOT = Path(__file__).parents[2]


def cut(content: bytearray, draw: random.Random) -> bytes:
    return bytes(content[:draw.randrange(len(content))])


def flip(content: bytearray, draw: random.Random) -> bytes:
    for _ in range(draw.choice([1, 1, 2, 8, 64])):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    return bytes(content)


def flip_head(content: bytearray, draw: random.Random) -> bytes:
    for _ in range(draw.randrange(1, 5)):
        content[draw.randrange(min(64, len(content)))] = draw.randrange(256)
    return bytes(content)


def overwrite(content: bytearray, draw: random.Random) -> bytes:
    start, length = draw.randrange(len(content)), draw.randrange(1, 200)
    content[start:start + length] = draw.randbytes(length)
    return bytes(content)


def repeat(content: bytearray, draw: random.Random) -> bytes:
    start = draw.randrange(len(content))
    return bytes(content[:start] + content[start // 2:])


DAMAGES: dict[str, Callable[[bytearray, random.Random], bytes]] = {
    'cut off': cut, 'bits flipped': flip, 'first bytes changed': flip_head, 'part overwritten': overwrite, 'part repeated': repeat}


class Record:
    """Counts outcomes by kind of fault."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.faults: list[str] = []

    def run(self, kind: str, seed: str, act: Callable[[], Any]) -> None:
        """Run one attempt. `act` returns normally only with a right answer; otherwise it raises."""
        row = self.rows.setdefault(kind, dict(injected=0, answer=0, sentence=0, other=0, slowest_seconds=0.0))
        begun = time.monotonic()
        try:
            act()
            outcome = 'answer'
        except UserError as error:
            outcome = 'sentence' if str(error).strip() and '\n' not in str(error) else 'other'
            if outcome == 'other':
                self.faults.append(f'{kind}, {seed}: the sentence has several lines: {error!r}')
        except BaseException as error:  # whatever it is, it is a fault
            if isinstance(error, KeyboardInterrupt):
                raise
            outcome = 'other'
            self.faults.append(f'{kind}, {seed}: {traceback.format_exc(limit=-3)}')
        seconds = time.monotonic() - begun
        if seconds > SECONDS and not kind.startswith('training'):
            outcome = 'other'
            self.faults.append(f'{kind}, {seed}: took {seconds:.0f} s')
        row['injected'] += 1
        row[outcome] += 1
        row['slowest_seconds'] = round(max(row['slowest_seconds'], seconds), 2)


def attack_images(record: Record, count: int, seed: int) -> None:
    """Damaged image files: an RGB image, or a sentence."""
    pixels = np.random.default_rng(seed).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    photo = Image.fromarray(pixels).resize((160, 120))
    originals = {}
    for name in FORMATS:
        file = io.BytesIO()
        photo.save(file, name)
        originals[name] = file.getvalue()
    for number in range(count):
        draw = random.Random(f'{seed} image {number}')
        name, kind = draw.choice(FORMATS), draw.choice([*DAMAGES, 'odd metadata', 'huge size'])
        content = damaged_image(originals, name, kind, draw)

        def act(content: bytes = content) -> None:
            image = load_image(io.BytesIO(content))
            assert image.mode == 'RGB' and min(image.size) >= 1
            image.tobytes()

        record.run(f'image: {kind}', f'seed {seed}, number {number}', act)


def damaged_image(originals: dict[str, bytes], name: str, kind: str, draw: random.Random) -> bytes:
    """The bytes of one damaged file."""
    if kind == 'odd metadata':
        entries = b''.join(struct.pack('>HHI', draw.choice([0x0112, 0x011A, 0x8769, draw.randrange(65536)]), draw.randrange(14),
                                       draw.randrange(5)) + draw.randbytes(4) for _ in range(draw.randrange(1, 6)))
        exif = b'Exif\0\0MM\0*' + struct.pack('>IH', 8, len(entries) // 12) + entries + bytes(4)
        file = io.BytesIO()
        Image.new('RGB', (16, 12)).save(file, draw.choice(['JPEG', 'PNG', 'WEBP']), exif=exif)
        return file.getvalue()
    if kind == 'huge size':  # in the header alone
        width, height = draw.choice([(1, 99_999_999), (99_999_999, 1), (60_000, 60_000), (2**31 - 1, 2**31 - 1), (9_000, 9_000)])
        return originals['PNG'][:16] + struct.pack('>II', width, height) + originals['PNG'][24:]
    return DAMAGES[kind](bytearray(originals[name]), draw)


def attack_models(record: Record, count: int, seed: int) -> None:
    """Damaged weights and configurations: a model with the undamaged logits, a model of another size that works, or a sentence."""
    with tempfile.TemporaryDirectory() as scratch:
        healthy, folder = Path(scratch, 'healthy'), Path(scratch, 'damaged')
        torch.manual_seed(seed)
        save_model(timm.create_model('wsdan', backbone='test_resnet', num_classes=3, num_maps=4), healthy, ['a', 'b', 'c'])
        images = torch.rand(1, 3, 64, 64)
        with torch.inference_mode():
            expected = load_model(str(healthy))(images)
        shutil.copytree(healthy, folder)
        config = json.loads((healthy / 'config.json').read_text(encoding='utf-8'))
        weights = (healthy / 'model.safetensors').read_bytes()
        places = [(key,) for key in config] + [(parent, key) for parent in ('pretrained_cfg', 'model_args') for key in config[parent]]
        for number in range(count):
            draw = random.Random(f'{seed} model {number}')
            kind = draw.choice([*(f'weights: {name}' for name in DAMAGES), 'weights: header changed', 'config: value changed',
                                'config: bits flipped'])
            (folder / 'model.safetensors').write_bytes(weights)
            shutil.copy(healthy / 'config.json', folder)
            if kind == 'weights: header changed':
                (folder / 'model.safetensors').write_bytes(changed_header(weights, draw))
            elif kind.startswith('weights'):
                (folder / 'model.safetensors').write_bytes(DAMAGES[kind.partition(': ')[2]](bytearray(weights), draw))
            elif kind == 'config: value changed':
                changed = json.loads(json.dumps(config))
                *parents, last = draw.choice(places)
                place = changed[parents[0]] if parents else changed
                place[last] = draw.choice(VALUES)
                (folder / 'config.json').write_text(json.dumps(changed), encoding='utf-8')
            else:
                (folder / 'config.json').write_bytes(flip(bytearray((healthy / 'config.json').read_bytes()), draw))

            def act(kind: str = kind) -> None:
                model = load_model(str(folder))
                eval_transform_for(model)(Image.new('RGB', (9, 9)))
                with torch.inference_mode():
                    logits = model(images)
                assert not kind.startswith('weights') or torch.equal(logits, expected), 'damaged weights were used'

            record.run(kind, f'seed {seed}, number {number}', act)


def changed_header(weights: bytes, draw: random.Random) -> bytes:
    """Another type, shape or place of one tensor, in a header that is well formed."""
    length, = struct.unpack('<Q', weights[:8])
    header = json.loads(weights[8:8 + length])
    entry = header[draw.choice([name for name in header if name != '__metadata__'])]
    change = draw.choice(['dtype', 'shape', 'offsets'])
    if change == 'dtype':
        entry['dtype'] = draw.choice(['F64', 'I32', 'U8', 'BF16', 'F16', 'BOOL', 'F8_E4M3', 'X9'])
    elif change == 'shape':
        entry['shape'] = draw.choice([[], [0], entry['shape'][::-1], [2**40], [-1], [*entry['shape'], 1]])
    else:
        entry['data_offsets'] = draw.choice([[0, 0], [0, 2**50], entry['data_offsets'][::-1], [1, entry['data_offsets'][1]]])
    text = json.dumps(header).encode()
    return struct.pack('<Q', len(text)) + text + weights[8 + length:]


TRAINING = '''
import sys
from pathlib import Path
import torch
from fgvc_zoo.recipes import load_recipe
from fgvc_zoo.training import TrainConfig, train, trainer
torch.set_num_threads(1)
trainer.CHECKPOINT_SECONDS = 0.05  # so that a run is also stopped between two checkpoints of an epoch
data, output = sys.argv[1:]
recipe = load_recipe('wsdan').replace(epochs=4, batch_size=4, input_size=48, model_args=dict(backbone='test_resnet', num_maps=4))
resume = any((Path(output) / name).exists() for name in ('checkpoint.safetensors', 'checkpoint.previous.safetensors'))
train(TrainConfig('wsdan', data, output, recipe, pretrained_backbone=False, workers=0, resume=resume, device='cpu', progress=False))
'''


def attack_runs(record: Record, count: int, seed: int) -> None:
    """Trainings that are stopped, or whose checkpoint is damaged, and then go on: the weights of one that was not stopped."""
    with tempfile.TemporaryDirectory() as scratch:
        generator = np.random.default_rng(seed)
        for name in ('ant', 'bee', 'yak'):
            folder = Path(scratch, 'photos', name)
            folder.mkdir(parents=True)
            for number in range(20):
                Image.fromarray(generator.integers(0, 256, (56, 64, 3), dtype=np.uint8)).save(folder / f'{number}.png')
        whole = Path(scratch, 'whole')
        start_training(Path(scratch, 'photos'), whole).wait()
        expected = load_file(whole / 'model.safetensors')
        for number in range(count):
            draw = random.Random(f'{seed} run {number}')
            kind = ('SIGKILL', 'SIGTERM', 'SIGINT', 'SIGKILL, checkpoint damaged')[number % 4]
            output = Path(scratch, f'run{number}')

            def act(kind: str = kind, output: Path = output, draw: random.Random = draw) -> None:
                stop_and_go_on(Path(scratch, 'photos'), output, kind, draw)
                found = load_file(output / 'model.safetensors')
                assert found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected), 'work was lost'

            record.run(f'training: {kind}', f'seed {seed}, number {number}', act)


def start_training(photos: Path, output: Path) -> subprocess.Popen[bytes]:
    """A training in a process of its own."""
    return subprocess.Popen([sys.executable, '-W', 'ignore', '-c', TRAINING, f'folder:{photos}', str(output)],
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, 'PYTHONPATH': str(ROOT)})


def stop_and_go_on(photos: Path, output: Path, kind: str, draw: random.Random) -> None:
    """Stop a training some time after its first two checkpoints, then let it go on to its end."""
    with start_training(photos, output) as process:
        while process.poll() is None and not (output / 'checkpoint.previous.safetensors').exists():
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.5))
        assert process.poll() is None, 'it was over before it could be stopped'
        process.send_signal(getattr(signal, kind.partition(',')[0]))
        _, message = process.communicate(timeout=60)
    if kind in ('SIGTERM', 'SIGINT'):
        assert process.returncode in (130, 143) and b'saved in' in message, message
    if 'damaged' in kind:
        path = output / 'checkpoint.safetensors'
        path.write_bytes(flip(bytearray(path.read_bytes()), draw))
    with start_training(photos, output) as process:
        _, message = process.communicate(timeout=120)
    assert process.returncode == 0, message


def draw_table(result: dict[str, Any]) -> str:
    """docs/faults.md."""
    lines = [
        '# Faults', '',
        'What the package makes of files that are damaged on purpose. Each is either answered as the undamaged file is, or refused in one',
        'sentence; a damaged photograph that can still be decoded is answered as it is. Nothing is ever unpickled or fetched. A training',
        'that is stopped goes on, from the checkpoint before if the last one is damaged, and ends with the weights of one that was not',
        'stopped, bit for bit. Its time is that of both parts, with other work on the machine.', '',
        '| fault | injected | right answer | one sentence | anything else | work lost | slowest |', '|---|---|---|---|---|---|---|']
    for kind, row in sorted(result['faults'].items()):
        counts = ' | '.join(str(row[name]) for name in ('injected', 'answer', 'sentence', 'other'))
        lines.append(f"| {kind} | {counts} | {'none' if row['other'] == 0 else 'yes'} | {row['slowest_seconds']:.2f} s |")
    lines += ['', f"Largest memory: {result['peak_bytes'] / 2**30:.1f} GiB. Drawn by `python benchmarks/faults/attack.py --table` from",
              f"`benchmarks/results/checks/attack.json` (seed {result['seed']}).", '']
    return '\n'.join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=int, default=1000)
    parser.add_argument('--models', type=int, default=200)
    parser.add_argument('--runs', type=int, default=4, help='trainings to stop')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--json', type=Path, help='write the counts to this file')
    parser.add_argument('--table', type=Path, help='draw docs/faults.md from this file, and attack nothing')
    options = parser.parse_args()
    if options.table:
        write_text(ROOT / 'docs' / 'faults.md', draw_table(json.loads(options.table.read_text(encoding='utf-8'))))
        return 0
    warnings.simplefilter('ignore')
    record = Record()
    attack_images(record, options.images, options.seed)
    attack_models(record, options.models, options.seed)
    attack_runs(record, options.runs, options.seed)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if peak > BYTES:
        record.faults.append(f'{peak / 2**30:.1f} GiB of memory were needed')
    for fault in record.faults:
        print(fault)
    print(json.dumps(record.rows, indent=2))
    if options.json:
        write_json(options.json, dict(seed=options.seed, peak_bytes=peak, faults=record.rows))
    return int(bool(record.faults))


if __name__ == '__main__':
    sys.exit(main())
