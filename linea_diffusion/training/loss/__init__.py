"""What training compares: places and their samples, targets, distances, where maps begin. Imports steering, maps."""
