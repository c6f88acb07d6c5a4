"""Stands for timm's train.py: its main calls of timm, and the few of its options that the tests use."""

import argparse
import os

import torch
from timm.data import create_dataset, create_loader, resolve_data_config
from timm.models import create_model
from timm.optim import create_optimizer_v2, optimizer_kwargs
from timm.utils import CheckpointSaver, ParseKwargs

parser = argparse.ArgumentParser()
parser.add_argument('data')
parser.add_argument('--model')
parser.add_argument('--model-kwargs', nargs='*', default={}, action=ParseKwargs)
parser.add_argument('--val-split', default='validation')
parser.add_argument('--num-classes', type=int)
parser.add_argument('--img-size', type=int)
parser.add_argument('--opt', default='sgd')
parser.add_argument('--weight-decay', type=float, default=2e-5)
parser.add_argument('--momentum', type=float, default=0.9)
parser.add_argument('--lr', type=float)
parser.add_argument('--layer-decay', type=float)
parser.add_argument('--epochs', type=int)
parser.add_argument('--warmup-epochs', type=int)
parser.add_argument('--device', default='cuda')
parser.add_argument('--workers', type=int, default=4)
parser.add_argument('--batch-size', type=int, default=128)
parser.add_argument('--output')
parser.add_argument('--experiment')


def main():
    args = parser.parse_args()
    model = create_model(args.model, pretrained=False, num_classes=args.num_classes, **args.model_kwargs)
    config = resolve_data_config(vars(args), model=model)
    optimizer = create_optimizer_v2(model, **optimizer_kwargs(cfg=args))
    dataset = create_dataset('', root=args.data, split='train', is_training=True, batch_size=args.batch_size)
    loader = create_loader(
        dataset, input_size=config['input_size'], batch_size=args.batch_size, is_training=True, mean=config['mean'], std=config['std'],
        num_workers=args.workers, device=torch.device(args.device))
    folder = os.path.join(args.output, args.experiment)
    os.makedirs(folder)
    saver = CheckpointSaver(model, optimizer, args=args, checkpoint_dir=folder, recovery_dir=folder)
    for epoch in range(args.epochs):
        model.train()
        for images, target in loader:
            torch.nn.functional.cross_entropy(model(images), target).backward()
            optimizer.step()
            optimizer.zero_grad()
        saver.save_checkpoint(epoch, metric=0.0)


if __name__ == '__main__':
    main()
