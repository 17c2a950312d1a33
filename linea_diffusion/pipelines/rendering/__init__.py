"""Rendering: requests in, a picture or an error for each out, by one engine. Imports maps, steering, concepts."""
