"""What a pipeline needs, counted without its numbers: shapes, memory of calls. Imports maps, shapeland, errors."""
