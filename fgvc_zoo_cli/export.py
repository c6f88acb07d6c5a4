"""`fgvc-zoo export`: a trained model as one file for other runtimes."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from fgvc_zoo_cli._terminal import console


def export(
        model: Annotated[str, typer.Argument(help='A name with weights (see `fgvc-zoo models`), a run folder or hf-hub:ORG/NAME.')],
        file: Annotated[Path, typer.Argument(help='The file to write: NAME.onnx, or NAME.pt2 for torch.export.')],
        attention: Annotated[bool, typer.Option('--attention', help='Attention maps and boxes as further outputs.')] = False,
        force: Annotated[bool, typer.Option('--force', help='Write over an existing file.')] = False,
        license: Annotated[str, typer.Option(help='Licence of the weights, for the metadata; that of the model, if not given.')] = '',
) -> None:
    """Write a model with its whole inference, class names and preprocessing as one file."""
    from fgvc_zoo._device import choose_device
    from fgvc_zoo._errors import UserError
    from fgvc_zoo._files import check_folder
    from fgvc_zoo.export import export_model
    from fgvc_zoo.loading import load_model
    from fgvc_zoo.onnx_model import OnnxModel

    if file.is_dir() or (file.exists() and not force):
        raise UserError(f"'{file}' is a folder: give the name of a file" if file.is_dir()
                        else f"'{file}' exists: choose another name, or write over it with --force")
    check_folder(file.parent)
    network = load_model(model, choose_device('cpu'))
    if isinstance(network, OnnxModel):
        raise UserError(f"'{model}' is an exported file: give the model that it was made from")
    difference = export_model(network, file, attention, license or network.pretrained_cfg.get('license') or '')
    err = console(stderr=True)
    err.print(f'{file}: {file.stat().st_size / 1e6:.1f} MB, {network.num_classes} classes; logits differ from the model\'s by at most '
              f'{difference.logits:.1g}, probabilities by {difference.probabilities:.1g}')
    if file.suffix == '.onnx' and network.pretrained_cfg['input_size'][0] == 3:  # photographs have 3 channels
        place = shlex.quote(str(file))
        err.print(f'predict with it: fgvc-zoo predict --model {place} PHOTO...')
        err.print(f'without torch:   python examples/onnx_predict.py {place} PHOTO...')
