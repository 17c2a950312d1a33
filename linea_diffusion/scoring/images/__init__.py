"""Images: a user's pictures opened, others drawn side by side with words, and saved with what they were made from.

    opening (files -> RGB)
    cells (where pictures and captions are) -> lettering (text in a font that has it)
    saving (PNG, WebP, JPEG with a record inside)

Imports concepts (files).
"""
