"""Networks and checkpoints of other toolkits: how their layouts map onto ours, in both directions.

What belongs here is knowledge of foreign file layouts and parameter names. Nothing here opens a network connection.
"""

CONVERSION_VERSION = 1  # what an older conversion has put into the cache is made again
