"""`python -m fgvc_zoo` is the command `fgvc-zoo`. The one import upwards, since Python looks for it here (see setup.cfg)."""

from fgvc_zoo_cli import main

if __name__ == '__main__':
    main()
