"""One file per user's job; what the command line calls."""
