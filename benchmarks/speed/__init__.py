"""Speed and memory: `python -m benchmarks.speed`. Every figure is a ratio of two sides timed in turn."""
