"""Runs what README.md and the site tell a newcomer to type, from a fresh wheel."""
