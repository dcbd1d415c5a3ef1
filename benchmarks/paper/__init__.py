"""The paper: its methods at equal storage, data, grids, searches, ledger and report."""
