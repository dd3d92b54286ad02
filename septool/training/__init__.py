"""Training runs: recipes, the trainer and its state, batches, optimizers, processes, logs.

What belongs here is anything between a recipe and its checkpoints. A model role (separator, extractor, speaker
network) is a strategy that defines the samples, the loss, the validation set and the score.
"""
