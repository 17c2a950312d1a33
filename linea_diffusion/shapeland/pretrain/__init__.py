"""Recipes that make the Shapeland models from nothing: ``python -m linea_diffusion.shapeland.pretrain``."""
