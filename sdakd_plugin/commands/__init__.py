"""The subcommands of ``sdakd``, one file each, named as the command: ``add_arguments(parser)`` and
``run(arguments) -> int``, the exit code. They read arguments and print; the work is done in the rooms below."""
import basicsr  # noqa: F401 - first: it imports all of the plugin, in an order that works
