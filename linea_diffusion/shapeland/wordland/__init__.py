"""Wordland: texts with known tone, topic and register, and the grammar that writes and judges them."""
