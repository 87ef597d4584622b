"""The mathematics of corruption: processes, what a network predicts, and the forgetting clock."""
