"""The `fgvc-zoo` command: its words and options.

It stands beside the package, not in it: importing anything from `fgvc_zoo` registers the models and so imports torch and timm, which takes
seconds, and `--help` should not. Each command imports its part of `fgvc_zoo.cli` when it runs.
"""

from __future__ import annotations

import os
import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Optional

import typer

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help='Fine-grained image recognition: which apple, which warbler, which aircraft variant.')

Device = Annotated[Optional[str], typer.Option(help='cpu, cuda, mps ...; what there is if not given.')]
Json = Annotated[bool, typer.Option('--json', help='Write JSON to standard output, and nothing else.')]
DEFAULT_MODEL = 'wsdan_tf_efficientnet_lite0.grocery81'


@app.callback(invoke_without_command=True)
def options(
        show_version: Annotated[bool, typer.Option('--version', help='Show the version and exit.')] = False,
        modules: Annotated[Optional[list[str]], typer.Option(
            '--import', metavar='MODULE', help='Import a module that registers a method; may be repeated.')] = None) -> None:
    """Fine-grained image recognition: which apple, which warbler, which aircraft variant."""
    if modules:
        from fgvc_zoo.models.registry import import_methods

        for module in modules:
            import_methods(module)
    if show_version:
        typer.echo(version('fgvc-zoo'))
        raise typer.Exit


@app.command()
def predict(
        paths: Annotated[list[Path], typer.Argument(help='Image files, and folders of them.')],
        model: Annotated[str, typer.Option(help='A name with weights (see `fgvc-zoo models`), or the folder of a run.')] = DEFAULT_MODEL,
        top: Annotated[int, typer.Option(min=1, help='How many names to give.')] = 5,
        as_json: Json = False,
        save: Annotated[Optional[Path], typer.Option(help='Folder for pictures of what the model looked at.')] = None,
        device: Device = None,
) -> None:
    """Name what is on photographs."""
    from fgvc_zoo.cli.predict import run

    raise typer.Exit(run(paths, model, top, as_json, save, device))


@app.command()
def evaluate(
        model: Annotated[str, typer.Argument(help='A name with weights, or the folder of a run.')],
        data: Annotated[str, typer.Option(help='cub200:PATH, grocery:PATH, folder:PATH or PATH.')],
        split: Annotated[str, typer.Option(help='test, train, holdout ...')] = 'test',
        batch_size: Annotated[int, typer.Option(min=1)] = 32,
        workers: Annotated[int, typer.Option(min=0, help='Processes that load images.')] = 2,
        json_file: Annotated[Optional[Path], typer.Option('--json', help='Write the result to this file.')] = None,
        device: Device = None,
) -> None:
    """Measure a model: accuracies of each pass, localisation, calibration."""
    from fgvc_zoo.cli.evaluate import run

    run(model, data, split, batch_size, workers, json_file, device)


@app.command()
def models(
        pattern: Annotated[str, typer.Argument(help="Such as '*resnet*'.")] = '*',
        as_json: Json = False,
) -> None:
    """List the registered models and which have weights."""
    from fgvc_zoo.cli.models import run

    run(pattern, as_json)


@app.command()
def train(
        model: Annotated[str, typer.Option(help='A registered name, or any timm model for the baseline.')],
        data: Annotated[str, typer.Option(help='cub200:PATH, grocery:PATH, folder:PATH or PATH.')],
        output: Annotated[Path, typer.Option(help='The run folder.')],
        recipe: Annotated[Optional[str], typer.Option(help="A recipe's name or a YAML file; the model's own if not given.")] = None,
        changes: Annotated[Optional[list[str]], typer.Option('--set', help='key=value of the recipe; may be repeated.')] = None,
        epochs: Annotated[Optional[int], typer.Option()] = None,
        batch_size: Annotated[Optional[int], typer.Option(help='Images a step and process.')] = None,
        lr: Annotated[Optional[float], typer.Option(help='Peak learning rate.')] = None,
        input_size: Annotated[Optional[int], typer.Option(help='Side of the input in pixels.')] = None,
        seed: Annotated[int, typer.Option(help='Fixes everything random.')] = 0,
        train_split: Annotated[str, typer.Option(help="'fit' leaves a fifth out.")] = 'train',
        eval_split: Annotated[Optional[str], typer.Option(help="Measured while training; 'holdout' for choosing settings.")] = None,
        eval_every: Annotated[int, typer.Option(min=1, help='In epochs.')] = 1,
        pretrained_backbone: Annotated[str, typer.Option(help='true, false, or a .safetensors file with timm keys.')] = 'true',
        workers: Annotated[int, typer.Option(min=0, help='Processes that load images.')] = 2,
        cache: Annotated[Optional[bool], typer.Option(help='Keep decoded images in memory; if they fit when not given.')] = None,
        resume: Annotated[bool, typer.Option(help="Go on from the run folder's checkpoint.")] = False,
        amp: Annotated[Optional[str], typer.Option(help='bf16 or fp16.')] = None,
        device: Device = None,
) -> None:
    """Train a model on your own photographs or on a benchmark."""
    from fgvc_zoo.cli.train import run

    shortcuts = dict(epochs=epochs, batch_size=batch_size, lr=lr, input_size=input_size)
    run(model=model, data=data, output=output, recipe=recipe, changes=changes or [], shortcuts=shortcuts, seed=seed,
        train_split=train_split, eval_split=eval_split, eval_every=eval_every, pretrained_backbone=pretrained_backbone,
        workers=workers, cache=cache, resume=resume, amp=amp, device=device)


@app.command()
def publish(
        run: Annotated[Path, typer.Argument(
            help='The folder of a run, a staged folder, or a checkpoint that `fgvc-zoo models` lists.')],
        repo_id: Annotated[str, typer.Argument(help='ORG/NAME on the Hugging Face Hub.')],
        license: Annotated[Optional[str], typer.Option(help="Of the weights: an SPDX identifier such as 'MIT', or a sentence.")] = None,
        about: Annotated[str, typer.Option(help='What the model was trained on, in words.')] = '',
        result: Annotated[Optional[Path], typer.Option(help='What `evaluate --json` wrote; RUN/result.json if not given.')] = None,
        baseline: Annotated[Optional[Path], typer.Option(help="The baseline's result file; RUN/baseline.json if there is one.")] = None,
        picture: Annotated[Optional[Path], typer.Option(help='Of its attention, for the card; RUN/attention.png if there is one.')] = None,
        benchmark: Annotated[Optional[str], typer.Option(
            help='ORG/DATASET or ORG/DATASET:TASK of the Hub whose leaderboard takes the accuracy.')] = None,
        full: Annotated[bool, typer.Option('--full', help='Keep single precision weights; half precision if not given.')] = False,
        output: Annotated[Optional[Path], typer.Option(
            help='Where the repository is staged; RUN/hub, for a checkpoint published/NAME, if not given.')] = None,
        dry_run: Annotated[bool, typer.Option('--dry-run', help='Stage it and show what publishing would change.')] = False,
        private: Annotated[bool, typer.Option('--private', help='Create the repository private.')] = False,
        revision: Annotated[Optional[str], typer.Option(help='Branch to publish to; main if not given.')] = None,
        tag: Annotated[Optional[str], typer.Option(help='Name for the published revision.')] = None,
) -> None:
    """Publish a trained model on the Hugging Face Hub, with a card, checksums and its measured figures."""
    from fgvc_zoo.cli.publish import run as publish_run

    publish_run(run, repo_id, license, about, result, baseline, picture, benchmark, full, output, dry_run, private, revision, tag)


@app.command()
def verify(
        model: Annotated[str, typer.Argument(help='ORG/NAME or ORG/NAME@REVISION on the Hugging Face Hub, or a staged folder.')],
        data: Annotated[Optional[str], typer.Option(help='Measure its figures again on cub200:PATH, grocery:PATH, folder:PATH ...')] = None,
        split: Annotated[Optional[str], typer.Option(help='The split that was measured if not given.')] = None,
        tolerance: Annotated[float, typer.Option(min=0, help='Percentage points a figure may differ.')] = 0.2,
        batch_size: Annotated[int, typer.Option(min=1)] = 32,
        workers: Annotated[int, typer.Option(min=0, help='Processes that load images.')] = 2,
        device: Device = None,
) -> None:
    """Check that a published model is intact, answers as it did, and reaches its figures."""
    from fgvc_zoo.cli.verify import run

    raise typer.Exit(run(model, data, split, tolerance, batch_size, workers, device))


def main() -> None:
    """Run the command; what the user can mend is one line on standard error and exit status 2.

    Typer itself ends with status 130 when the user interrupts.
    """
    warnings.formatwarning = lambda message, *_: f'fgvc-zoo: note: {message}\n'
    if not sys.stderr.isatty():
        os.environ.setdefault('HF_HUB_DISABLE_PROGRESS_BARS', '1')  # huggingface_hub draws them into files too
    try:
        app()
    except BrokenPipeError:  # the reader of our output has gone, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except ValueError as error:
        from fgvc_zoo import UserError

        if not isinstance(error, UserError):
            raise
        typer.echo(f'fgvc-zoo: error: {error}', err=True)
        raise SystemExit(2) from None


if __name__ == '__main__':
    main()
