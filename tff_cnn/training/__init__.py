"""The round loop and what hangs on it: records, checkpoints, export."""
