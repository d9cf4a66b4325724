"""One session of Python's ftplib. What to do comes as JSON on stdin.

Listings go to stdout, the dialogue to stderr.
"""

import ftplib
import json
import os
import socket
import ssl
import sys

order = json.load(sys.stdin)
listing = sys.stdout
sys.stdout = sys.stderr  # where ftplib's debugging goes


class FTP(ftplib.FTP_TLS if order.get("tls") else ftplib.FTP):
    def makepasv(self):
        if order["mode"] == "EPSV":
            host, port = ftplib.parse229(self.sendcmd("EPSV"), self.sock.getpeername())
        else:
            host, port = super().makepasv()
        print("data connection to", host, "port", port)
        return host, port

    def makeport(self):
        if order["mode"] != "EPRT" or self.af == socket.AF_INET6:
            return super().makeport()
        sock = socket.create_server(("", 0), family=self.af, backlog=1)
        host, port = self.sock.getsockname()[0], sock.getsockname()[1]
        self.sendcmd("EPRT |1|%s|%d|" % (host, port))
        sock.settimeout(self.timeout)
        return sock

    def ntransfercmd(self, cmd, rest=None):
        """ftplib resumes no session on data connections; this is how others do it."""
        if not order.get("reuse"):
            return super().ntransfercmd(cmd, rest)
        conn, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        return self.context.wrap_socket(conn, server_hostname=self.host, session=self.sock.session), size


class ImplicitFTP(FTP):
    """ftplib wraps its connection at AUTH; this one does so at once."""

    @property
    def sock(self):
        return self._sock

    @sock.setter
    def sock(self, sock):
        if sock is not None and not isinstance(sock, ssl.SSLSocket):
            sock = self.context.wrap_socket(sock, server_hostname=self.host)
        self._sock = sock


def main(ftp, verb, *args):
    if verb == "list":
        how, path = args
        command = how + " " + path
        ftp.retrlines(command, lambda line: print(line, file=listing))
    elif verb == "get":
        remote, local, how = args
        rest = os.path.getsize(local) if how == "resume" else None
        with open(local, "ab" if rest else "wb") as f:
            ftp.retrbinary("RETR " + remote, f.write, 64 * 1024, rest)
    elif verb == "put":
        local, remote, how = args
        with open(local, "rb") as f:
            rest = None
            if how == "resume":
                ftp.voidcmd("TYPE I")
                rest = ftp.size(remote)
                f.seek(rest)
            ftp.storbinary(("APPE " if how == "append" else "STOR ") + remote, f, 64 * 1024, None, rest)
    elif verb == "get-all":
        for remote, local in zip(args[0::2], args[1::2]):
            main(ftp, "get", remote, local, "whole")
    elif verb == "put-all":
        for local, remote in zip(args[0::2], args[1::2]):
            main(ftp, "put", local, remote, "whole")
    elif verb == "unique":
        local, path = args
        ftp.cwd(path)
        with open(local, "rb") as f:
            ftp.storbinary("STOU", f)
    elif verb == "rename":
        ftp.rename(*args)
    elif verb == "delete":
        ftp.delete(*args)
    elif verb == "mkdir":
        ftp.mkd(*args)
    elif verb == "rmdir":
        ftp.rmd(*args)
    elif verb == "abort":
        abort(ftp, *args)
    else:
        raise ValueError(verb)


def abort(ftp, big, small, local):
    """Aborts a download with ftplib's urgent ABOR and goes on."""
    ftp.voidcmd("TYPE I")
    conn = ftp.transfercmd("RETR " + big)
    conn.recv(100000)
    ftp.abort()
    conn.close()
    # An abort has one or two replies; NOOP's tells where they end.
    ftp.putcmd("NOOP")
    extra = 0
    while True:
        reply = ftp.getmultiline()
        if reply.startswith("200"):
            break
        if reply[:3] not in ("225", "226", "426"):
            raise ftplib.Error("after ABOR: " + reply)
        extra += 1
    if extra > 1:
        raise ftplib.Error("%d replies too many after ABOR" % (extra - 1))
    with open(local, "wb") as f:
        ftp.retrbinary("RETR " + small, f.write)


options = {"timeout": 90, "encoding": order["encoding"]}
if order.get("tls"):
    options["context"] = context = ssl.create_default_context(cafile=order["ca"])
    if order["version"]:
        context.minimum_version = context.maximum_version = ssl.TLSVersion["TLSv" + order["version"].replace(".", "_")]
ftp = (ImplicitFTP if order.get("tls") == "implicit" else FTP)(**options)
ftp.set_debuglevel(1)
source = (order["bind"], 0) if order["bind"] else None
ftp.connect(order["host"], order["port"], source_address=source)
ftp.login(order["user"], order["password"])
if order.get("tls"):
    ftp.prot_c() if order["clear"] else ftp.prot_p()  # prot_c says no PBSZ
ftp.set_pasv(order["mode"] in ("PASV", "EPSV"))
main(ftp, *order["args"])
ftp.quit()
