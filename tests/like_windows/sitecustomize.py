"""Takes from Python what Windows lacks: signals, forks, locks, ``/proc``; workers are spawned.

``pytest --like-windows`` imports this module and puts its folder into ``PYTHONPATH``, so that Python imports it at the
start of every process that the tests start.
"""

import builtins
import multiprocessing.context
import os
import signal
import sys
from pathlib import Path

MODULES = ('fcntl', 'grp', 'pty', 'pwd', 'resource', 'syslog', 'termios', 'tty')
SIGNAL = """
    SIGALRM SIGBUS SIGCHLD SIGCLD SIGCONT SIGHUP SIGIO SIGIOT SIGKILL SIGPIPE SIGPOLL SIGPROF SIGPWR SIGQUIT SIGRTMAX
    SIGRTMIN SIGSTKFLT SIGSTOP SIGSYS SIGTRAP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGUSR1 SIGUSR2 SIGVTALRM SIGWINCH SIGXCPU
    SIGXFSZ alarm getitimer pause pthread_kill pthread_sigmask setitimer siginterrupt sigpending sigtimedwait sigwait
    sigwaitinfo
"""
OS = """
    O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK O_SYNC WEXITSTATUS WIFEXITED WIFSIGNALED WNOHANG WTERMSIG chown chroot
    copy_file_range environb fchdir fchmod fchown fdatasync fork forkpty fstatvfs getegid getenvb geteuid getgid
    getgroups getloadavg getpgid getpgrp getpriority getrandom getsid getuid getxattr killpg lchown listxattr lockf
    makedev mkfifo mknod nice openpty pathconf pipe2 posix_fadvise posix_fallocate posix_spawn posix_spawnp pread pwrite
    readv register_at_fork sched_getaffinity sched_setaffinity sched_yield sendfile setpgid setpriority setsid setuid
    setxattr spawnlp spawnvp statvfs sync sysconf ttyname uname wait wait3 wait4 waitid writev
"""
# Only these lack the names and modules. The standard library and others keep them: sys.platform still says Linux, and
# they do not ask again. pytest needs os.getuid, platformdirs os.geteuid, subprocess SIGKILL, asyncio fcntl, ...
LACKING = ('sdakd_plugin', 'basicsr', 'tests', '__main__', '__mp_main__', '_pytest.monkeypatch')
TORCH = 'torch.utils.data._utils.signal_handling'


def caller_lacks_them() -> bool:
    """Whether the code that asked the function which calls this one is among them."""
    caller = sys._getframe(2).f_globals.get('__name__', '')
    return caller in LACKING or caller.partition('.')[0] in LACKING


def remove(module, names):
    """Take names away from a module, as those who lack them see it."""
    kept = {name: module.__dict__.pop(name) for name in names.split() if name in vars(module)}
    if '__all__' in vars(module):
        module.__all__ = [name for name in module.__all__ if name not in kept]

    def __getattr__(name):
        if name in kept and not caller_lacks_them():
            return kept[name]
        raise AttributeError(f'module {module.__name__!r} has no attribute {name!r}')

    module.__getattr__ = __getattr__


def remove_modules():
    import_module = builtins.__import__

    def absent(name, *args, **kwargs):
        if name in MODULES and caller_lacks_them():
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)
        found = import_module(name, *args, **kwargs)
        if handling := sys.modules.get(TORCH):
            handling._set_SIGCHLD_handler = lambda: None  # torch's own for Windows, after a look at sys.platform
        return found

    builtins.__import__ = absent


def remove_proc():
    exists = Path.exists

    def refuse(event, arguments):
        if event in ('open', 'os.listdir', 'os.scandir') and str(arguments[0]).startswith('/proc'):
            raise FileNotFoundError(2, 'No such file or directory', str(arguments[0]))

    sys.addaudithook(refuse)  # os.stat has none
    Path.exists = lambda path, **kwargs: not str(path).startswith('/proc') and exists(path, **kwargs)


def spawn_only():
    """Leave one way to start workers. It is the default, but not yet set, as on Windows."""
    context = multiprocessing.context
    for name in ('fork', 'forkserver'):
        del context._concrete_contexts[name]
    context._default_context._default_context = context._concrete_contexts['spawn']


if 'fork' in vars(os):  # not yet imported under another name
    remove(signal, SIGNAL)
    remove(os, OS)
    remove_modules()
    remove_proc()
    spawn_only()
