"""The state process: the one place that decides, publishes and stores what is bound, who is known, what dialogs are."""
