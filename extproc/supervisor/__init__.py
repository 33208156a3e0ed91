"""The small process that starts the others, restarts what dies and stops them in order."""
