"""Jobs of a batch: read, expanded, checked, resolved, named by digest, grouped. Imports pipelines, scoring, maps."""
