"""`fgvc-zoo export`: a trained model as one file for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fgvc_zoo_cli._terminal import console


def export(
        model: Annotated[str, typer.Argument(help='A name with weights (see `fgvc-zoo models`), or the folder of a run.')],
        file: Annotated[Path, typer.Argument(help='The file to write: NAME.onnx, or NAME.pt2 for torch.export.')],
        attention: Annotated[bool, typer.Option('--attention', help='Attention maps and boxes as further outputs.')] = False,
        force: Annotated[bool, typer.Option('--force', help='Write over an existing file.')] = False,
        license: Annotated[str, typer.Option(help="Licence of the weights, for the file's metadata; known for models of the package.")] = '',
) -> None:
    """Write a model with its whole inference, class names and preprocessing as one file."""
    from fgvc_zoo._device import choose_device
    from fgvc_zoo._errors import UserError
    from fgvc_zoo._files import check_folder
    from fgvc_zoo.checkpoints import load_manifest
    from fgvc_zoo.export import export_model
    from fgvc_zoo.loading import load_model

    if file.exists() and not force:
        raise UserError(f"'{file}' exists: choose another name, or write over it with --force")
    check_folder(file.parent)
    choose_device('cpu')
    network = load_model(model)
    known = {item.name: item.license for item in load_manifest()}
    gap = export_model(network, file, attention, license or known.get(model, ''))
    out = console(stderr=True)
    out.print(f'{file}: {file.stat().st_size / 1e6:.1f} MB, {network.num_classes} classes; its logits differ from the model\'s by at most '
              f'{gap:.1g}')
    if file.suffix == '.onnx':
        out.print(f'  fgvc-zoo predict --model {file} PHOTO...\n  python examples/onnx_predict.py {file} PHOTO...   # without torch')
