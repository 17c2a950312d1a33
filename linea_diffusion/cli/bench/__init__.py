"""`linea bench`: what steering costs, measured in rounds, on a model of any size."""
