"""Concepts: what to steer from and to, in prompts, and how people's files and texts are read.

    concept <- prompt_files (TOML, JSON lines, CSV, text) <- prompt_values, prompt_checks; levels, pairing
    template (a file to fill in)
    files (regular ones, and their text); notices; signs; words

The packaged concepts lie beside the code as TOML. Imports errors.
"""
