"""Series of numbers over time: files, windows, baselines, scores, and what users work with."""
