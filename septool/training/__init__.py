"""Training runs: recipes, the trainer and its state, batches, optimizers, processes, logs.

What belongs here is anything between a recipe and the checkpoints that come out of it. A model role (separator,
extractor, speaker network) is a strategy: what a sample is, its loss, its validation set and its score.
"""
