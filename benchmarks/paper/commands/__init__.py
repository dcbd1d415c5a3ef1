"""The commands of `python -m benchmarks.paper`, one file each."""
