"""Measurements: each module is a command that writes JSON (``python -m benchmarks.NAME``); see README.md."""
