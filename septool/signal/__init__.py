"""Signal processing without networks: framing, spectra, levels, stitching of segments, speaker turns.

Functions are pure. Most take tensors; the active level takes NumPy arrays, and so does the Stitcher, which keeps state.
"""
