"""Speed, memory and learning, measured; the results are committed beside the scripts."""
