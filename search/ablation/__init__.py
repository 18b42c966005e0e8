"""What each idea is worth."""
