"""`python -m fgvc_zoo_cli`, for torchrun and for environments without scripts on the path."""

from fgvc_zoo_cli import main

if __name__ == '__main__':
    main()
