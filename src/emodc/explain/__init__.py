"""What a model has learnt, shown."""
