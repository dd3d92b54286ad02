"""septool: takes apart recordings in which people talk over each other."""

__version__ = "0.1.0"
