"""A model for others: its card and its export."""
