"""Turn a finished run into a checkpoint of the zoo: half precision weights, measured accuracy, golden logits, one manifest entry.

    python hub/add_checkpoint.py runs/cub200/apinet --tag cub200 --data cub200:PATH --license 'MIT' --about 'CUB ...'
    python hub/add_checkpoint.py runs/grocery-wsdan --tag grocery81 ... --default --in-package

Without `--in-package` the weights go to `hub/checkpoints/NAME/`, a folder that timm loads (`local-dir:`). The accuracy in
`benchmarks/results/` is that of the half precision weights.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from fgvc_zoo._files import atomic_write, half_precision, sha256, without_folders, write_json
from fgvc_zoo._memory import keep_freed_memory
from fgvc_zoo.checkpoints import FOLDER, golden_input
from fgvc_zoo.data import open_dataset
from fgvc_zoo.evaluation import data_name, diagnose, evaluate, method_and_backbone, parts_of, result_record
from fgvc_zoo.loading import TimmModel, class_names, eval_transform_for
from fgvc_zoo.publishing import update_manifest
from fgvc_zoo.saving import portable_args, save_config
from fgvc_zoo.training.setup import restore_task

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('run', type=Path)
    parser.add_argument('--tag', required=True)
    parser.add_argument('--data', required=True, help='LAYOUT:PATH; its test split is measured')
    parser.add_argument('--license', required=True)
    parser.add_argument('--about', required=True, help='the training data, in words')
    parser.add_argument('--suffix', default='', help="suffix of the result file's name, for a second checkpoint of an architecture")
    parser.add_argument('--default', action='store_true', help='load this one with pretrained=True and no tag')
    parser.add_argument('--in-package', action='store_true', help='ship the weights in the wheel')
    parser.add_argument('--inference', action='append', default=[], metavar='KEY=VALUE',
                        help='an argument of inference, chosen after training on held-out images: refine_threshold=0.4')
    options = parser.parse_args()

    keep_freed_memory()
    begun = time.monotonic()
    config = json.loads((options.run / 'run.json').read_text(encoding='utf-8'))['config']
    task = restore_task(options.run)
    model = task.trainable_module.half().float()  # the values that the file will have
    for key, value in (item.split('=', 1) for item in options.inference):
        kind = type(getattr(model, key, None))
        if kind not in (float, str):
            raise SystemExit(f"{config['model']} has no number or choice '{key}'")
        setattr(model, key, kind(value))
        model._model_args[key] = kind(value)
    cfg = model.pretrained_cfg
    name = f"{cfg['architecture']}.{options.tag}"
    weights = FOLDER / f'{name}.safetensors' if options.in_package else write_folder(model, ROOT / 'hub' / 'checkpoints' / name)
    atomic_write(weights, lambda path: save_file(half_precision(model.state_dict()), path))

    dataset = open_dataset(options.data, 'test', transform=eval_transform_for(model))
    metrics = evaluate(model, dataset, workers=1)
    if diagnosis := diagnose(task, dataset, workers=1):
        metrics['diagnosis'] = diagnosis
    data = data_name(dataset)
    method, backbone = method_and_backbone(model, config['recipe']['task'])
    results = ROOT / 'benchmarks' / 'results' / f"{data}_{cfg['architecture']}{options.suffix}.json"
    record = result_record(
        model=name, method=method, backbone=backbone, data=data, split='test', seed=config['seed'], input_size=cfg['input_size'][-1],
        epochs=config['recipe']['epochs'], metrics=metrics, command=without_folders(shlex.join(['python', *sys.argv])),
        recipe=config['recipe'], weights=weights, seconds=time.monotonic() - begun)
    write_json(results, {**record, **dataset.info.reference(len(dataset))})

    names = '\n'.join(class_names(model)) + '\n'
    same = (path for path in sorted(FOLDER.glob('*.txt')) if path.read_text(encoding='utf-8') == names)
    labels = next(same, FOLDER / f'{options.tag}.txt')
    if labels.exists() and labels.read_text(encoding='utf-8') != names:
        raise SystemExit(f"'{labels}' has other class names, which checkpoints of this tag use: choose another --tag")
    labels.write_text(names, encoding='utf-8')
    with torch.inference_mode():
        golden = model(golden_input(cfg['input_size'][-1]))[0, :10]
    entry = dict(
        architecture=cfg['architecture'], tag=options.tag, path=weights.relative_to(FOLDER if options.in_package else ROOT).as_posix(),
        in_package=options.in_package, sha256=sha256(weights),
        size=weights.stat().st_size, labels=labels.name, num_classes=model.num_classes, input_size=cfg['input_size'][-1],
        crop_pct=cfg['crop_pct'], crop_mode=cfg.get('crop_mode') or 'center', model_args=own_args(model), license=options.license,
        data=options.about,
        recipe=config['recipe']['name'], seed=config['seed'], epochs=config['recipe']['epochs'],
        metrics={**{key: metrics[key] for key in ('top1', 'top5', 'mean_per_class')},
                 **{part: metrics[part]['top1'] for part in parts_of(metrics) if part != 'combined'}},
        results=results.relative_to(ROOT).as_posix(), default=options.default, golden=[round(value, 5) for value in golden.tolist()])
    update_manifest(entry)
    print(f"{name}: {weights.stat().st_size / 1e6:.1f} MB, top-1 {metrics['top1']:.2f} %")


def own_args(model: TimmModel) -> dict[str, Any]:
    """The model arguments that belong to these weights, without those that users may change."""
    return {key: value for key, value in portable_args(model._model_args).items() if key not in ('in_chans', 'global_pool')}


def write_folder(model: TimmModel, folder: Path) -> Path:
    """Write timm's local-dir folder without the weights, and return the path for them."""
    folder.mkdir(parents=True, exist_ok=True)
    save_config(model, folder / 'config.json', class_names(model))
    return folder / 'model.safetensors'


if __name__ == '__main__':
    main()
