"""The state of a training: its optimiser, on disk, of which model, in which processes, until when. Imports maps."""
