"""What `import medseg` offers: each name a call of one line, typed and documented."""
