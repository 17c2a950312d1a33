"""What goes on in a call: its place in the schedule, whose rows, within which scope, what has acted. Imports errors."""
