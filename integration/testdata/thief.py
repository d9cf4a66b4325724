"""A thief with a session of its own. It logs in, prints a line, and then takes
"HOST PORT" from stdin for the data port of another, to which it shows the TLS
session of its own control connection. What it is given goes to stdout.
"""

import ftplib
import json
import socket
import ssl
import sys

order = json.loads(sys.stdin.readline())
context = ssl.create_default_context(cafile=order["ca"])
context.minimum_version = context.maximum_version = ssl.TLSVersion["TLSv" + order["version"].replace(".", "_")]
ftp = ftplib.FTP_TLS(context=context, timeout=90)
ftp.connect(order["host"], order["port"], source_address=(order["bind"], 0))
ftp.login(order["user"], order["password"])
ftp.prot_p()
print("ready", flush=True)
host, port = sys.stdin.readline().split()
conn = socket.create_connection((host, int(port)), 90, (order["bind"], 0))
try:
    conn = context.wrap_socket(conn, server_hostname=order["host"], session=ftp.sock.session)
    while data := conn.recv(65536):
        sys.stdout.buffer.write(data)
except OSError as e:
    print(e, file=sys.stderr)
