"""Servers that segment what they are sent."""
