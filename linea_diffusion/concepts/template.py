"""The file of a concept, to be filled in: what `linea concepts --template` writes."""

CONCEPT_FILE = """\
# A concept: two lists of prompts that differ by one thing. Fill in your own, then: linea train mine.toml --out mine
name = "neon"

# What pictures are scored against by CLIP, and what that is weighed against (the second may be left out).
text = "a picture in neon style"
neutral = "a picture of something"

# "style" or "perspective" (the targets have it), or "object removal" (the sources have it).
kind = "style"

# Prompts without it, about 32, as different as what you are going to draw; four are enough to try.
source = [
  "a red star",
  "a yellow heart on paper",
  "a green house",
  "a blue fish",
]

# The same prompts with it, row by row: then the picture keeps what the prompt says. Vary the wording.
target = [
  "a red star in neon style",
  "a yellow heart on paper, glowing neon",
  "neon style green house",
  "a neon picture of a blue fish",
]

# Less of it, at strengths between 0 and 1, makes the dial more even: a template, or a target for each source.
# [[levels]]
# strength = 0.5
# template = "{prompt}, slightly neon"
"""
