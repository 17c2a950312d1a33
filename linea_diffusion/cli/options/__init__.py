"""Options: blocks of them that commands share, and what is refused while they are read. Imports all rooms."""
