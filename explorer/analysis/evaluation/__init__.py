"""Tables of papers: models x attacks x image sets x budgets, each cell kept on disk."""
