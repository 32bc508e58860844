"""What can be asked of a set: which caption fits a picture, or the nearest of all, both ways."""

CLASSES, RETRIEVAL = "classification", "retrieval"
KS = (1, 5, 10)  # among how many nearest ones the right one counts as found
