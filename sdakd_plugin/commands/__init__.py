"""The subcommands of ``sdakd``, one module for each with ``run(arguments)``, which returns the exit code.

It reads the arguments, which ``arguments/`` declares, and prints the results; other packages do the work.
"""
