"""An FTP server of pyftpdlib. What to do comes as JSON on stdin."""

import json
import logging
import sys
import warnings

warnings.simplefilter("ignore", DeprecationWarning)

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import MultiprocessFTPServer

order = json.load(sys.stdin)
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)


class Handler(FTPHandler):
    authorizer = DummyAuthorizer()
    banner = "ready"
    use_sendfile = False


Handler.authorizer.add_user(order["user"], order["password"], order["root"], perm="elradfmwMT")
# One process for each session: in the default server, with sessions in one event
# loop, a data connection that is closed twice unregisters the socket that has got
# its number in the meantime, and that session hangs (1.5.7).
MultiprocessFTPServer((order["host"], order["port"]), Handler).serve_forever(handle_exit=False)
