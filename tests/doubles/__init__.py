"""Stand-ins for the children of the master that do what a test tells them."""
