"""A web page that classifies photographs, on this machine or as a Hugging Face Space. It needs the extra `demo` (Gradio)."""

from fgvc_zoo.demo.page import build_demo, start_demo

__all__ = ['build_demo', 'start_demo']
