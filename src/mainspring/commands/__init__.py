"""The verbs of `manage.py mainspring`, one module each: `HELP`, `EXAMPLES`, `add_arguments(parser)`, `handle(...)`."""
