"""Pictures, tables and one self-contained page about what a model does."""
