"""The subcommands of ``sdakd``, one module for each.

A module has ``add_arguments(parser)`` and ``run(arguments)``, which returns the exit code. It reads the arguments and
prints the results; other packages do the work.
"""
