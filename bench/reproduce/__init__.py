"""The paper's table on a model of one's own: python -m bench.reproduce, or make reproduce."""
