"""The command line: it parses, calls one workflow, and draws. Nothing heavy is imported before a command runs."""
