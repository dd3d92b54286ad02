"""Framing, overlap-add, spectra and levels: pure functions on tensors."""
