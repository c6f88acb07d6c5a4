"""What the commands do; their words and options are in `fgvc_zoo_cli`, which loads without torch."""
