"""Label maps against references: tables, summary, pictures and a page."""
