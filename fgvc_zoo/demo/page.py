"""The demo's page in Gradio: a photograph and examples on one side, the answer on the other, all methods below."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from fgvc_zoo._errors import UserError
from fgvc_zoo.demo.answers import MAX_BYTES, MAX_PIXELS, label, load_once, packaged_models
from fgvc_zoo.demo.rendering import NO_PHOTO, render_answer, render_comparison
from fgvc_zoo.explain import panels_css

TITLE = 'fgvc-zoo: fine-grained image recognition'
_INTRODUCTION = '''# Which apple, which warbler?

Give a photograph. The answer shows the most probable classes, and where the model looked.'''
_COMPARISON = '''## Five methods

Five methods, trained on the same photographs of 200 bird species, answer your photograph. They know birds only.'''
_LIMITS = f'''At most {MAX_BYTES // 2**20} MB and {MAX_PIXELS // 10**6} million pixels. Photographs are deleted after an hour.'''
_WAITING = 20  # requests that may wait; a further one is refused
_DELETE = (600, 3600)  # every 600 s, files older than 3600 s
_FONT = ['system-ui', 'sans-serif']  # of the device: nothing is fetched from elsewhere

# screen readers read an answer when it comes
_ANNOUNCE = "() => document.querySelectorAll('.answer').forEach(element => element.setAttribute('aria-live', 'polite'))"


def build_demo(models: Sequence[str] = (), examples: Path | None = None) -> gr.Blocks:
    """The page, not started yet.

    Args:
        models: What `load_model` loads, to choose from before the packaged checkpoints. The first one is loaded at once.
        examples: A folder of JPEG files to try, named by what they show; none if None or if there is no such folder.

    Raises:
        UserError: The first model cannot be loaded.
    """
    names = list(dict.fromkeys([*models, *packaged_models()]))
    load_once(names[0])
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=_DELETE, fill_width=True) as demo:
        gr.Markdown(_INTRODUCTION)
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                photo: Any = gr.Image(
                    label='Photograph', sources=['upload', 'webcam', 'clipboard'], height=320, buttons=[], alt_text='Your photograph')
                photo.preprocess = _path_of  # Gradio's own decodes the file, without our limits and messages
                files = sorted(examples.glob('*.jpg')) if examples is not None else []
                if files:
                    gr.Markdown('## Examples')
                    with gr.Row(elem_classes='examples'):
                        for file in files:
                            button = gr.Button(file.stem.replace('_', ' ').title(), icon=file, min_width=90)
                            button.click(partial(str, file), None, photo, queue=False, api_visibility='private')
                gr.Markdown(_LIMITS, elem_classes='limits')
            with gr.Column(scale=3, min_width=300):
                model = gr.Radio([(label(name), name) for name in names], value=names[0], label='Model', elem_classes='model')
                answer = gr.HTML(NO_PHOTO, elem_classes='answer')
        gr.Markdown(_COMPARISON)
        compare = gr.Button('Ask all five methods', variant='primary', elem_classes='compare')
        answers = gr.HTML(elem_classes='answer')
        _on([photo.change, model.change], render_answer, [model, photo], answer)
        photo.change(str, None, answers, queue=False, api_visibility='private')  # those to the photograph before
        _on([compare.click], render_comparison, [photo], answers)
        demo.load(js=_ANNOUNCE)
    return demo.queue(max_size=_WAITING, api_open=False)


def start_demo(demo: gr.Blocks, host: str | None = None, port: int | None = None) -> str:
    """Start the server in a thread and return its URL. `demo.block_thread()` waits until it is interrupted.

    Args:
        demo: From `build_demo`.
        host: Address to listen on; that of the environment variable GRADIO_SERVER_NAME if None, else 127.0.0.1.
        port: Port to listen on; the first free one from 7860 on if None.

    Raises:
        UserError: Nothing can listen there.
    """
    try:
        if host is not None:
            socket.create_server((host, port or 0)).close()  # Gradio would log an error for each of a hundred ports
        _, url, _ = demo.launch(
            server_name=host, server_port=port, share=False, quiet=True, prevent_thread_lock=True, max_file_size=MAX_BYTES,
            footer_links=[], run_history=False, enable_monitoring=False, ssr_mode=False, pwa=False, mcp_server=False,
            theme=gr.themes.Soft(font=_FONT, font_mono=['monospace']), css=panels_css(), css_paths=Path(__file__).with_name('page.css'))
    except OSError as error:
        where = ', '.join([*([host] if host else []), *([f'port {port}'] if port else [])]) or 'this machine'
        reason = (error.strerror or str(error)).partition(' (')[0]
        raise UserError(f'the demo cannot listen on {where} ({reason}): choose another --host or --port') from error
    return url


def _path_of(upload: Any) -> str | None:
    return upload.path if upload is not None else None


def _on(events: list[Any], answer: Callable[..., str], inputs: list[Any], output: gr.HTML) -> None:
    """Call `answer`, one request at a time over all events of the page: the models share the processor's cores."""
    gr.on(events, answer, inputs, output, concurrency_id='model', concurrency_limit=1, api_visibility='private')
