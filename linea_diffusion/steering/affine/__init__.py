"""One affine map: its numbers, its algebra, and the `Move` that it makes of an activation. Imports errors."""
