"""From figures to text and charts; no model code."""
