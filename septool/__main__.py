"""``python -m septool``."""

from septool.cli import main

main()
