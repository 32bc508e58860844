"""The app as a server that strangers may use: limits, turns, guards, health, logs."""
