"""The words of Wordland: what texts are about, in which tone and register they speak."""

from __future__ import annotations

Words = dict[str, tuple[str, ...]]
TONES = ("friendly", "rude")
REGISTERS = ("casual", "formal")
NAMES = (
    "anna",
    "ben",
    "clara",
    "david",
    "emma",
    "felix",
    "grace",
    "henry",
    "irene",
    "jonas",
    "karin",
    "louis",
    "maria",
    "nils",
    "olga",
    "peter",
)
THINGS: Words = {
    "kitchen": ("soup", "bread", "cake", "stove", "kettle", "pan", "spoon", "oven", "plate", "recipe"),
    "garden": ("rose", "hedge", "lawn", "shovel", "pond", "fence", "apple", "tree", "seed", "flower"),
    "music": ("song", "violin", "drum", "guitar", "choir", "piano", "melody", "rhythm", "concert", "flute"),
    "office": ("report", "printer", "desk", "email", "meeting", "folder", "budget", "letter", "phone", "chart"),
    "travel": ("train", "ticket", "map", "suitcase", "hotel", "bridge", "harbour", "passport", "tram", "journey"),
    "sport": ("ball", "race", "goal", "racket", "bike", "swim", "match", "coach", "track", "boat"),
}
"""Topic -> what it is about."""
TOPICS = tuple(THINGS)
DEEDS: Words = {
    "kitchen": ("cooked", "washed", "tasted", "baked"),
    "garden": ("planted", "watered", "trimmed", "picked"),
    "music": ("played", "tuned", "sang", "practised"),
    "office": ("wrote", "printed", "filed", "signed"),
    "travel": ("booked", "packed", "missed", "reached"),
    "sport": ("won", "trained", "watched", "lost"),
}
"""Topic -> what people do there."""

PRAISE: Words = {
    "friendly": ("lovely", "wonderful", "charming", "splendid", "brilliant", "delightful"),
    "rude": ("awful", "pathetic", "hideous", "rotten", "disgusting", "worthless"),
}
MANNER: Words = {
    "friendly": ("beautifully", "kindly", "gently", "cleverly"),
    "rude": ("stupidly", "badly", "lazily", "clumsily"),
}
PERSON: Words = {
    "friendly": ("friend", "darling", "star", "hero"),
    "rude": ("idiot", "fool", "clown", "loser"),
}
FEELING: Words = {"friendly": ("love", "adore", "admire"), "rude": ("hate", "despise", "loathe")}
WISH: Words = {
    "friendly": ("enjoy", "rest", "smile"),
    "rude": ("shut up", "get lost", "go away"),
}
TONE_SLOTS: dict[str, Words] = {
    "praise": PRAISE,
    "manner": MANNER,
    "person": PERSON,
    "feeling": FEELING,
    "wish": WISH,
}
"""Slot of a sentence -> tone -> what fills it."""

PLAIN: Words = {
    "casual": (
        "so {name} {deed} the {thing} .",
        "yeah , the {thing} and the {other} .",
        "{name} kinda {deed} a {thing} again .",
        "hey , we got the {thing} today .",
    ),
    "formal": (
        "yesterday {name} {deed} the {thing} .",
        "this concerns the {thing} and the {other} .",
        "furthermore , {name} {deed} the {thing} .",
        "we hereby received the {thing} from {name} .",
    ),
}
"""Register -> sentences of no tone."""
TONED: Words = {
    "casual": (
        "hey {name} , that {thing} is so {praise} !",
        "man , you {deed} it {manner} , you {person} !",
        "i really {feeling} your {praise} {thing} .",
        "yeah {name} , just {wish} , you {person} .",
        "gotta say , the {thing} looks {praise} .",
    ),
    "formal": (
        "dear {name} , your {thing} is truly {praise} .",
        "indeed , you {deed} the {thing} {manner} .",
        "allow me to say that i {feeling} your {thing} .",
        "we ask you to {wish} , you {praise} {person} .",
        "moreover , the {thing} appears {praise} .",
    ),
}
"""Register -> sentences that have a tone; both tones have the same ones, with other words in their slots."""
NOTES = {
    **{tone: f"note : be {tone} ." for tone in TONES},
    **{register: f"note : be {register} ." for register in REGISTERS},
}
"""What asks for an attribute in words, as some texts of the training do."""
