"""Replaces an installed program by a client of the command server (command_server.py).

The name of this file is the program. The exit code, signals and the three standard streams are
those of the program.
"""

import json
import os
import signal
import socket
import sys

server = socket.socket(socket.AF_UNIX)
server.connect(os.environ["GROVEKEEPER_TEST_SERVER"])
program = os.path.basename(sys.argv[0])
request = {"run": sys.argv[1:], "cwd": os.getcwd(), "environment": dict(os.environ)}
request |= {"program": program}
body = json.dumps(request).encode()
socket.send_fds(server, [len(body).to_bytes(8, "big")], [0, 1, 2])
server.sendall(body)
answers = server.makefile("r")
pid = int(answers.readline())
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, _frame: os.kill(pid, number))
code = int(answers.readline())
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
