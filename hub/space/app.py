"""The Hugging Face Space: the page of `fgvc-zoo demo` with a few example photographs."""

from pathlib import Path

from fgvc_zoo.demo import build_demo, start_demo

if __name__ == '__main__':
    demo = build_demo(examples=Path(__file__).with_name('examples'))
    start_demo(demo)
    demo.block_thread()
