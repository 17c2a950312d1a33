"""Scripts that measure what the project claims; results lie beside them."""
