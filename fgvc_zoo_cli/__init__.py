"""The `fgvc-zoo` command.

It is a package beside `fgvc_zoo` because importing anything from `fgvc_zoo` registers the models and so imports torch and timm, which
takes seconds. Each command is one file with its options and what it does; it imports `fgvc_zoo` inside its functions, so that `--help`
stays fast.
"""

from __future__ import annotations

import errno
import os
import sys
import warnings
from importlib.metadata import version
from typing import Annotated, NoReturn, Optional

import typer

from fgvc_zoo_cli import calibrate, classes, data, demo, evaluate, explain, export, models, predict, publish, timm_scripts, train, verify
from fgvc_zoo_cli._common import is_main_process
from fgvc_zoo_cli._terminal import accept_any_text, forget_output

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    context_settings=dict(help_option_names=['-h', '--help']),
    help='Fine-grained image recognition: which apple, which warbler, which aircraft variant.')


@app.callback(invoke_without_command=True)
def options(
        context: typer.Context,
        show_version: Annotated[bool, typer.Option('--version', help='Show the version and exit.')] = False,
        modules: Annotated[Optional[list[str]], typer.Option(
            '--import', metavar='MODULE', help='Import a module that registers a method; may be repeated.')] = None) -> None:
    """Fine-grained image recognition: which apple, which warbler, which aircraft variant."""
    if show_version:
        typer.echo(version('fgvc-zoo'))
        raise typer.Exit
    warnings.filterwarnings('ignore', module='PIL')  # of metadata, which do not matter here, without the file's name
    if not is_main_process():
        warnings.simplefilter('ignore')
    if context.invoked_subcommand != 'timm':  # timm's scripts keep Python's format
        warnings.formatwarning = _note  # type: ignore[assignment]  # the place in the code is for developers
    if modules:
        from fgvc_zoo.models.registry import import_methods

        for module in modules:
            import_methods(module)


app.command()(predict.predict)
app.command()(explain.explain)
app.command()(evaluate.evaluate)
app.command()(demo.demo)
app.command()(models.models)
app.command()(classes.classes)
app.command()(train.train)
app.command()(data.data)
app.command()(export.export)
app.command()(calibrate.calibrate)
app.command()(publish.publish)
app.command()(verify.verify)
# the script's own options, --help included, are not options of this command
app.command('timm', context_settings=dict(allow_interspersed_args=False))(timm_scripts.run_script)


def _note(message: Warning | str, *_: object) -> str:
    from fgvc_zoo._errors import plain

    return f'fgvc-zoo: note: {plain(str(message))}\n'


def main() -> None:
    """Run the command. An error that the user can fix is one line on standard error and exit status 2.

    Typer itself exits with status 130 when the user interrupts. When the reader of the output has exited, as with `| head`, the status is
    0.
    """
    if not sys.stderr.isatty():
        os.environ.setdefault('HF_HUB_DISABLE_PROGRESS_BARS', '1')  # huggingface_hub draws them into files too
    accept_any_text()
    output = sys.stdout
    try:
        try:
            app()
        finally:
            output.flush()
    except BrokenPipeError:
        forget_output()
        raise SystemExit(0) from None
    except SystemExit:
        if sys.stdout is not output:  # typer met the broken pipe first: it replaces the stream and exits with status 1
            forget_output()
            raise SystemExit(0) from None
        raise
    except OSError as error:
        forget_output()
        reason = error.strerror or str(error)
        place = error.filename or ('the output' if error.errno == errno.ENOSPC else '')
        _fail(f'{place} cannot be read or written: {reason}' if place else reason)
    except ValueError as error:
        from fgvc_zoo._errors import UserError, sentence

        if not isinstance(error, UserError):
            raise
        _fail(sentence(error))


def _fail(sentence: str) -> NoReturn:
    from fgvc_zoo._errors import plain

    typer.echo(f'fgvc-zoo: error: {plain(sentence)}', err=True)
    raise SystemExit(2) from None
