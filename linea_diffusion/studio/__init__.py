"""Studio: a page in the browser where styles are turned, compared, learned and kept; `explore` for notebooks.

    scenes (which picture, and pictures that were made), workbench (what one window has), turns (who may run the model),
    learning, study (a blind comparison), words (a picture as Python and as a command)
    page/ (what of it is Gradio, which nothing else imports)

Imports grids, training, pipelines, scoring, maps, shapeland, steering, concepts.
"""
