"""Stands for timm's inference.py: its main calls of timm, and the few of its options that the tests use."""

import argparse
import csv
import os

import torch
from timm.data import CustomDatasetInfo, DatasetInfoLabelMapper, create_dataset, create_loader, resolve_input_data_config
from timm.models import create_model, resolve_model_input_args

parser = argparse.ArgumentParser()
parser.add_argument('data')
parser.add_argument('--model')
parser.add_argument('--pretrained', action='store_true')
parser.add_argument('--num-classes', type=int)
parser.add_argument('--img-size', type=int)
parser.add_argument('--device', default='cuda')
parser.add_argument('--workers', type=int, default=2)
parser.add_argument('--batch-size', type=int, default=256)
parser.add_argument('--results-dir')
parser.add_argument('--results-file')
parser.add_argument('--no-console-results', action='store_true')


def main():
    args = parser.parse_args()
    model = create_model(**resolve_model_input_args(
        args.model, vars(args), num_classes=args.num_classes, pretrained=args.pretrained, checkpoint_path=''))
    cfg = dict(model.pretrained_cfg)
    config = resolve_input_data_config(model, vars(args), use_test_size=True)
    model = model.to(device=args.device, dtype=None).eval()
    dataset = create_dataset(root=args.data, name='', split='validation', class_map='')
    loader = create_loader(
        dataset, batch_size=args.batch_size, use_prefetcher=True, num_workers=args.workers, device=torch.device(args.device), **config)
    names = DatasetInfoLabelMapper(
        CustomDatasetInfo(label_names=cfg['label_names'], label_descriptions=cfg.get('label_descriptions')), label_type='description')
    rows = []
    with torch.inference_mode():
        for images, _ in loader:
            scores, indices = model(images).softmax(-1).topk(1)
            rows += [(names(index), score) for index, score in zip(indices[:, 0].tolist(), scores[:, 0].tolist(), strict=True)]
    with open(os.path.join(args.results_dir, args.results_file), 'w') as file:
        writer = csv.writer(file)
        writer.writerow(['filename', 'label', 'prob'])
        writer.writerows((name, *row) for name, row in zip(loader.dataset.filenames(basename=True), rows, strict=True))


if __name__ == '__main__':
    main()
