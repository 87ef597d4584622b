"""How far samples are from the target: features of a named network, distances over them, and weight drift."""
