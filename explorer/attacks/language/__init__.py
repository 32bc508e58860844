"""Words: where they are in a caption, what may stand in their place, how alike two texts are."""
