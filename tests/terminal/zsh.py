"""Types `mirror-bundle LINE` and Tab into zsh, and prints what zsh lists."""
import os
import pty
import re
import select
import sys
import time

pid, fd = pty.fork()
if pid == 0:
    os.environ.update(TERM="dumb", HOME=os.getcwd(), ZDOTDIR=os.getcwd())
    os.execvp("zsh", ["zsh", "-f", "-i"])


def until(mark, seconds):
    out, end = b"", time.time() + seconds
    while time.time() < end and not re.search(mark, out):
        if select.select([fd], [], [], 0.2)[0]:
            try:
                out += os.read(fd, 65536)
            except OSError:
                break
    return out


setup = (
    "stty cols 300; PROMPT='> '; autoload -Uz compinit; compinit -D -u; source ./script; "
    "compdef _mirror-bundle mirror-bundle; zstyle ':completion:*' verbose no; echo REA''DY\n"
)
os.write(fd, setup.encode())
until(rb"READY", 60)
# The first Tab completes what is common, the second lists.
os.write(fd, f"mirror-bundle {sys.argv[1]}\t\t".encode())
out = until(rb"\n.*\n> mirror-bundle", 20) + until(rb"\0", 1)
os.kill(pid, 9)
os.waitpid(pid, 0)
print(out.decode(errors="replace").split("\n", 1)[-1])
