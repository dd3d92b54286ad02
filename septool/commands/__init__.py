"""One thin file per verb: arguments, help and printing. Heavy imports are inside the functions."""
