"""Measurements of speed and memory: `minihash bench`. Every figure is a ratio of two sides timed in turn."""
