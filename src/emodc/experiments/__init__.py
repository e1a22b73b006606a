"""Three commands that compare models; none imports another."""
