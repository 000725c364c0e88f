"""A scan in the browser: `fusing` and `shapes` make what is drawn, `conversation` asks, `viewer` is the page."""
