"""Moves in a layer's own weight and bias: for the length of a call, or fused. Imports steering."""
