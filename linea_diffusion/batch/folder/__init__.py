"""The folder that a batch fills: lines, what is known of jobs, the lock, saved images. Imports scoring."""
