"""The verbs of septool as Python functions, one file each, with the commands' parameters."""
