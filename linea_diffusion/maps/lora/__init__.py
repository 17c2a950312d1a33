"""LoRA files: steering maps as an ordinary weight change, for programs that have a slider, and back.

    export (a file for a program) -> changes (what maps add to layers) <- users; parts <- names, programs; biases, probe
    reading (a file -> maps)

Imports steering, maps and, for files, concepts.
"""
