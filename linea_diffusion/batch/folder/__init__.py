"""The folder that a batch fills: its layout, lines, index, shards, locks and saved images. Imports scoring."""
