"""What can be asked of the explorer without its page: attack, evaluate, project.

One library for notebooks, the API and MCP: plain values in, plain data out.
"""
