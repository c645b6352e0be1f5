"""The arguments of the subcommands, one module for each with ``add_arguments(parser)``.

They import nothing heavy: a mistake in the arguments, or ``--help``, need not wait for torch.
"""
