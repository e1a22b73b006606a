"""Networks that predict noise under several prompts at once."""
