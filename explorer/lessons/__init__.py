"""Ten short lessons: their texts by language, the live demonstration in each, the answer that
its numbers give, and how all of it is drawn. No Gradio here."""
