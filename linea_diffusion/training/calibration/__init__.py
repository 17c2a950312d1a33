"""An even dial: what is seen at a strength, how far 1 goes, and the curve stored with maps. Imports pipelines, maps."""
