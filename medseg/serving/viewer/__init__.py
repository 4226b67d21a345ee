"""Pages on this machine only: cases to look at, pictures to segment."""
