"""The Gradio app: one file per tab, and the shell around them."""
