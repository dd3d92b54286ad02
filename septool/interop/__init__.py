"""Conversion of other toolkits' networks and checkpoints, in both directions.

What belongs here is knowledge of foreign file layouts and parameter names. Nothing here opens a network connection.
"""

WEIGHTS = (".bin", ".pth", ".pt", ".ckpt", ".th")  # how names of files with weights of other toolkits end
CONVERSION_VERSION = 1  # what an older conversion has put into the cache is made again
