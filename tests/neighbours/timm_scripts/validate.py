"""Stands for timm's validate.py: its main calls of timm, and the few of its options that the tests use."""

import argparse
import json

import torch
from timm.data import create_dataset, create_loader, resolve_input_data_config
from timm.models import create_model, resolve_model_input_args
from timm.utils import AverageMeter, accuracy

parser = argparse.ArgumentParser()
parser.add_argument('data')
parser.add_argument('--model')
parser.add_argument('--pretrained', action='store_true')
parser.add_argument('--num-classes', type=int)
parser.add_argument('--img-size', type=int)
parser.add_argument('--class-map', default='')
parser.add_argument('--device', default='cuda')
parser.add_argument('--workers', type=int, default=4)
parser.add_argument('--batch-size', type=int, default=256)
parser.add_argument('--results-file')
parser.add_argument('--results-format', default='csv')


def main():
    args = parser.parse_args()
    assert args.results_format == 'json'
    model = create_model(**resolve_model_input_args(
        args.model, vars(args), pretrained=args.pretrained, num_classes=args.num_classes, global_pool=None, scriptable=False))
    config = resolve_input_data_config(model, vars(args), use_test_size=True)
    model = model.to(device=args.device, dtype=None).eval()
    dataset = create_dataset(root=args.data, name='', split='validation', class_map=args.class_map)
    loader = create_loader(
        dataset, batch_size=args.batch_size, use_prefetcher=True, num_workers=args.workers, device=torch.device(args.device), **config)
    top1 = AverageMeter()
    with torch.inference_mode():
        for images, target in loader:
            top1.update(accuracy(model(images), target, topk=(1, 5))[0].item(), len(target))
    with open(args.results_file, 'w') as file:
        json.dump(dict(model=args.model, top1=round(top1.avg, 4), img_size=config['input_size'][-1]), file)


if __name__ == '__main__':
    main()
