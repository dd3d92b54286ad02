"""What septool does, one file per verb, callable from Python with the command's parameters."""
