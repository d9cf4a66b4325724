// Package ftptest lets tests speak FTP without a network and without time
// passing: a fake network for use inside testing/synctest, and dialogues,
// which are text files that say what each peer of a proxy sends and receives.
//
// # Dialogues
//
// A dialogue has one step per line. Blank lines, and lines that begin with #,
// are skipped. Nothing may follow a step on its line; blanks at its end do not
// count.
//
//	# The server's private address never reaches the client.
//	config> [timeouts]
//	config> idle = "30s"
//	login
//	client>  PASV
//	server<  PASV
//	server-data: listen 50000
//	server>  227 Entering Passive Mode (10,0,0,5,195,80).
//	client<  227 Entering Passive Mode (203,0,113,9,...
//	client-data: connect
//
// config> lines come first. They are appended to the configuration that the
// test has, so they may open tables.
//
// # Reloading
//
// reload> lines gather what the reload step after them changes:
//
//	reload> [frontend.public]
//	reload> passive_ports = "41000"
//	reload
//
// A key that its table has gets the new value; keys and tables that are not there
// are added. A value is on one line. "without KEY" takes a key out of the table
// before it, "without [TABLE]" a table. Each reload begins from the configuration
// that is in force, so what an earlier one changed stays so.
//
//	reload                    puts the changed configuration in force; without reload> lines the
//	                          same again
//	reload-refused: in use    the proxy refuses it, with an error that has this text
//
// # Who
//
// client and server are the two ends of a session, client-data and server-data
// the far ends of its data connection. stranger and stranger-data are somebody
// with no session. A number tells more of them apart: client2, server2,
// client2-data are a second session, client-data2 is one more data connection
// of the first. A name stands for the connection it connected or accepted
// last.
//
// The clients are 198.51.100.7 and 2001:db8:1::7, client2 198.51.100.8 and so
// on, the stranger is 198.51.100.66. The proxy has 203.0.113.9 and 2001:db8::9
// (public), 10.0.0.2 and fd00::2 (inside). The servers, all listening on port
// 21, are 10.0.0.5 with fd00::5 (names ftp.internal and ftp6.internal), and
// 10.0.0.6 with fd00::6 (ftp2.internal and ftp62.internal).
//
// # Sending and receiving
//
//	client>  PASV             sends the line and CRLF
//	client>  "PASV\r\nRETR"   a Go string sends exactly these bytes, in one write
//	client-data> "x" * 70000  the same many times over
//	client<  200 OK           this line and CRLF were received next, in one write of the proxy's
//	client<  227 Entering...  any line that begins so
//	client-data< "bytes"      exactly these bytes were received next; * works, too
//	client: silent            no byte and no end that an earlier step did not expect; before
//	                          there is a connection: none waits to be accepted
//	client: eof               the peer sent all it had to send, and all of it was expected
//	client: gone              the peer reset the connection, likewise
//	client: closed            either of them
//	server: urgent            since the last urgent, something was sent as urgent data;
//	server: urgent "\xff\xf2" that was exactly this
//	client: discard           forgets what was received and not expected so far
//
// # Connecting
//
//	login                     client connects, server accepts and greets "220 ready", USER anna, 331,
//	                          PASS secret, 230; login2 is client2 and server2; what follows login is
//	                          for connect
//	client: connect           to 203.0.113.9:21; connect6 is from and to IPv6
//	client: connect 198.51.100.8                from another address
//	client: connect 203.0.113.9:2121            to another address; both may be given, source first
//	client: refused           connect, but nobody listens; takes the same addresses
//	client-data: connect      to the address of the last 227 that client received, or the port of the
//	                          last 229; stranger-data goes there, too (stranger2-data where client2 would)
//	server-data: connect      to the address of the last PORT or EPRT that server received
//	client-data: listen 5001  on the address of the control connection; or listen 198.51.100.7:5001
//	client-data: refuse       listens no more
//	client-data: accept       a connection waits to be accepted; "accept from 203.0.113.9" checks its
//	                          source address (for every accept); client-data2 takes from the listener
//	                          of client-data when it has none itself
//	server: accept            the proxy has dialled a server; "accept at 10.0.0.6" if it must be that one
//	server: refuse-dials      nobody listens on port 21 of 10.0.0.5, or of the address given
//	server: accept-dials      listens there again
//	server: drop-dials        the machine of this name (or with the address given) answers no dial,
//	server: answer-dials      until now
//
// # Ending
//
//	client: half-close        ends the sending direction, after what is still being sent
//	client: close             likewise closes
//	client: reset             at once
//	client: stop-reading      received bytes stay in the connection's buffer, which is 64 KiB,
//	client: start-reading     until now; expectations see what was read only
//
// # Everything else
//
//	wait: 30s                 lets time pass
//	network: buffer 1024      connections made from now on hold so many bytes per direction
//	log: transfer result=client path="/a b" peer=10....
//	                          a log line so far has this message and these fields; a field that is not
//	                          there equals ""; ... matches any rest
//	no-log: transfer          no log line so far has; no-log: "secret" looks anywhere in the log
//	drain                     has the proxy stopped, and goes on
//	draining                  it has not stopped yet
//	drained                   it has stopped
//
// Whatever a step causes has happened before the next step begins, but no time
// passes except in wait: what is expected and is not there yet is a failure.
// At the end no peer may have received anything that no step expected, and no
// dial may wait to be accepted. Then the peers close, the proxy is stopped, and
// it must have closed all its connections and listeners and ended its
// goroutines. What clients said behind PASS must not be in its log.
package ftptest
