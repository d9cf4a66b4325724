package config

import (
	"net/netip"
	"time"
)

var logKeys = section[Log]{
	path: "log",
	help: `ftproxy writes its log to standard error.`,
	rows: []row[Log]{{
		name:  "level",
		value: field(words("debug", "info", "warn", "error"), "info", func(l *Log) *string { return &l.Level }),
		help:  `The least severe events that are logged: "debug", "info", "warn" or "error".`,
	}, {
		name:  "format",
		value: field(words("json", "console"), "json", func(l *Log) *string { return &l.Format }),
		help: `The form of the log: "json", one object per line for programs, or "console", text for
			people.`,
	}},
}

var adminKeys = section[Admin]{
	path: "admin",
	help: `An HTTP server for operators: metrics for Prometheus (/metrics) and health (/healthz,
		/readyz).`,
	rows: []row[Admin]{{
		name:  "listen",
		value: field(loopback, netip.AddrPort{}, func(a *Admin) *netip.AddrPort { return &a.Listen }),
		help: `The address of this server, for example "127.0.0.1:9121". "" turns it off. It must be a
			loopback address, because the server asks for no password.`,
	}},
}

var controlKeys = section[Control]{
	path: "control",
	help: `Commands for the running service: "ftproxy reload", "ftproxy drain" and "ftproxy status"
		connect to this socket.`,
	rows: []row[Control]{{
		name:  "socket",
		value: field(socketPath, "", func(c *Control) *string { return &c.Socket }),
		help: `The absolute path of a Unix socket, at most 100 bytes long, for example
			"/run/ftproxy/control.sock". "" turns it off. The directory must exist. The socket has mode
			0660: the members of the service's group may use it. If this key is not written and systemd
			starts ftproxy with a RuntimeDirectory, the socket is control.sock in that directory.`,
	}},
}

var timeoutKeys = section[Timeouts]{
	path: "timeouts",
	help: `How long ftproxy waits. Every time is longer than zero, except shutdown_delay.`,
	rows: []row[Timeouts]{{
		name:  "connect",
		value: field(duration, 5*time.Second, func(t *Timeouts) *time.Duration { return &t.Connect }),
		help: `The time to connect to one server, DNS included. After that time ftproxy tries the next server.
			If none is left, the client gets 421.`,
	}, {
		name:  "greeting",
		value: field(duration, 30*time.Second, func(t *Timeouts) *time.Duration { return &t.Greeting }),
		help: `The time for a server to send its greeting. A 120 reply ("ready in nnn minutes") extends it
			once. After that time ftproxy tries the next server. If none is left, the client gets 421.`,
	}, {
		name:  "login",
		value: field(duration, time.Minute, func(t *Timeouts) *time.Duration { return &t.Login }),
		help:  `The time from a client's greeting until it is logged in. After that time the client gets 421.`,
	}, {
		name:  "idle",
		value: field(duration, 10*time.Minute, func(t *Timeouts) *time.Duration { return &t.Idle }),
		help:  `The time that a client may send nothing while no data moves. After that time the client gets 421.`,
	}, {
		name:  "reply",
		value: field(duration, 5*time.Minute, func(t *Timeouts) *time.Duration { return &t.Reply }),
		help: `The time for a server to reply to a command. After that time the client gets 421 and the session
			ends.`,
	}, {
		name:  "final_reply",
		value: field(duration, 10*time.Minute, func(t *Timeouts) *time.Duration { return &t.FinalReply }),
		help: `The time for a server to reply after the data of a transfer has ended. After
			that time the client gets 451 and the session ends. Some servers scan an upload before they
			reply.`,
	}, {
		name:  "port_wait",
		value: field(duration, 5*time.Second, func(t *Timeouts) *time.Duration { return &t.PortWait }),
		help: `The time to wait for a free data port. After that time the client gets 425 and may try again. If a
			client was told a port and did not connect to it, the port becomes free for that client's
			address 4s after the client's next PASV, EPSV, PORT or EPRT. With a time longer than 4s the
			other sessions of that address then get the port. If the client sends nothing more, the port
			becomes free after 32s.`,
	}, {
		name:  "data_connect",
		value: field(duration, 30*time.Second, func(t *Timeouts) *time.Duration { return &t.DataConnect }),
		help: `The time to establish a data connection, on either side. After that time the client gets 425 and
			may try again. If other sessions of its address need the port, a client that sends PASV and
			then nothing for this time gets 421 and is disconnected.`,
	}, {
		name:  "data_stall",
		value: field(duration, 5*time.Minute, func(t *Timeouts) *time.Duration { return &t.DataStall }),
		help: `The time that a transfer may move no byte. After that time ftproxy resets both data connections
			and the client gets 426.`,
	}, {
		name:  "client_write",
		value: field(duration, time.Minute, func(t *Timeouts) *time.Duration { return &t.ClientWrite }),
		help:  `The time that a client may leave its replies unread. After that time the session ends.`,
	}, {
		name:  "proxy_header",
		value: field(duration, 5*time.Second, func(t *Timeouts) *time.Duration { return &t.ProxyHeader }),
		help: `The time for the PROXY header of a connection, where a frontend expects one. After that time
			ftproxy resets the connection.`,
	}, {
		name:  "tls_handshake",
		value: field(duration, 10*time.Second, func(t *Timeouts) *time.Duration { return &t.TLSHandshake }),
		help: `The time for a TLS handshake. After that time ftproxy closes the control connection, or the client
			gets 425 for the data connection. For data the time begins when the server has accepted the
			transfer, because some clients and servers start the handshake only then.`,
	}, {
		name:  "linger",
		value: field(duration, 5*time.Second, func(t *Timeouts) *time.Duration { return &t.Linger }),
		help:  `The time for the other end to close a connection that ftproxy has closed.`,
	}, {
		name:  "shutdown_delay",
		value: field(durationOrZero, 0, func(t *Timeouts) *time.Duration { return &t.ShutdownDelay }),
		help: `The time after SIGTERM during which ftproxy still accepts new clients, so that a load
			balancer can notice. "0s" is no time.`,
	}, {
		name:  "drain",
		value: field(duration, 10*time.Minute, func(t *Timeouts) *time.Duration { return &t.Drain }),
		help:  `The time after shutdown_delay for running transfers to end. After that time ftproxy cuts them.`,
	}},
}

// As many sessions as the default, all with a transfer, fit into the 20000
// descriptors that many containers allow; see [Config.Descriptors].
var limitKeys = section[Limits]{
	path: "limits",
	help: `How much ftproxy does at once.`,
	rows: []row[Limits]{{
		name:  "sessions",
		value: field(whole(1), 2500, func(l *Limits) *int { return &l.Sessions }),
		help: `The most sessions at once, 1 or more. The next client gets 421. A session needs 6 file
			descriptors during a transfer and 2 otherwise, so 2500 sessions fit into the 20000 that many
			containers allow.`,
	}, {
		name:  "sessions_per_client",
		value: field(whole(0), 0, func(l *Limits) *int { return &l.SessionsPerClient }),
		help:  `The most sessions at once from one client address. 0 is no limit.`,
	}, {
		name:  "transfers",
		value: field(whole(0), 0, func(l *Limits) *int { return &l.Transfers }),
		help: `The most transfers at once. A client that begins one more gets 425 and may try again. 0 is
			as many as sessions.`,
	}},
}
