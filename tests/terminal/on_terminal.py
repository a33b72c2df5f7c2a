"""Runs a program on a terminal of its own: COLUMNS, the number of steps, for each a pattern and keys, then the program.

Each step waits for its pattern and types its keys. Prints all that the terminal got, then whether it echoes.
"""
import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time

columns, count = int(sys.argv[1]), int(sys.argv[2])
steps = [(sys.argv[3 + 2 * n], sys.argv[4 + 2 * n]) for n in range(count)]
program = sys.argv[3 + 2 * count :]
pid, fd = pty.fork()
if pid == 0:
    time.sleep(0.2)  # until the width is set
    os.execv(program[0], program)
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))


def read():
    """What the terminal gets; nothing more once the program has left it."""
    try:
        return os.read(fd, 65536)
    except OSError:
        return b""


out, seen, status, end = b"", 0, None, time.time() + 120
while time.time() < end:
    if select.select([fd], [], [], 0.1)[0]:
        more = read()
        out += more
        if more:
            continue
    if steps and (found := re.search(steps[0][0].encode(), out[seen:])):
        seen += found.end()
        os.write(fd, steps.pop(0)[1].encode())
        continue
    done, status = os.waitpid(pid, os.WNOHANG)
    if done:
        break
else:
    os.kill(pid, 9)
    _, status = os.waitpid(pid, 0)
while more := (read() if select.select([fd], [], [], 0.1)[0] else b""):
    out += more
echo = "on" if termios.tcgetattr(fd)[3] & termios.ECHO else "off"
sys.stdout.write(out.decode(errors="replace").replace("\r\n", "\n") + f"\nECHO is {echo}\n")
sys.exit(os.waitstatus_to_exitcode(status) & 255)
