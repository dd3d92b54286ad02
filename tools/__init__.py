"""What maintainers of septool run: ``python -m tools.NAME``, from the root of the tree."""
