"""The command that says what is here: doctor. It only looks, loads no weights and asks no network."""
