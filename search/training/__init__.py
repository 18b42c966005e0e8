"""Training of one network: what it is made from, and the loop."""
