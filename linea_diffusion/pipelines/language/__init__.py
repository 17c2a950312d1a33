"""Language models with a strength: loading, and `generate` with maps at work. Imports maps, shapeland, steering."""
