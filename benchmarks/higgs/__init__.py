"""HIGGS: 11 million rows, trained on from a file."""
