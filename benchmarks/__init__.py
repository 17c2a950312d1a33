"""Measurements of what the project claims, each run as ``python -m benchmarks NAME``; results lie beside them."""
