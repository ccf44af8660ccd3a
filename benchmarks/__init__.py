"""Measurements of Placewright, each a module with a command line: ``python -m benchmarks.<name>``."""
