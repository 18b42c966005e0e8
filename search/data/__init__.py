"""FER2013 in memory and its faults."""
