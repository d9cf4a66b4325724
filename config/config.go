// Package config turns ftproxy's TOML file into checked plain values.
//
// It opens no socket, resolves no name and reads no file but the one that
// [Load] is given. All faults of a file are reported together, each with its
// line, what is wrong and what to write instead; see [Errors]. What is allowed
// but unwise is told by [Warnings].
//
// Each key is one row: see row.go, and the rows in keys.go, frontendkeys.go,
// backendkeys.go, serverkeys.go and tlskeys.go.
package config

import (
	"net/netip"
	"time"
)

// A Config is a whole checked configuration. It is read-only once it was
// returned, so that a reload can compare two and sessions can share one.
type Config struct {
	Log       Log
	Admin     Admin
	Control   Control
	Timeouts  Timeouts
	Limits    Limits
	Frontends []Frontend // sorted by name, at least one
	Backends  []Backend  // sorted by name, at least one

	file    string         // where it was read, for warnings; empty if built in code
	lines   map[string]int // line of each key that stands in the file, by dotted path
	renamed []Problem      // keys that stand in the file under their old names
}

// Log says what is logged, and in which shape.
type Log struct {
	Level  string // debug, info, warn or error
	Format string // json or console
}

// Admin is where metrics and health are served.
type Admin struct {
	Listen netip.AddrPort // a loopback address; the zero value means off
}

// Control is where commands for the running service are taken.
type Control struct {
	Socket string // absolute path of a Unix socket, 100 bytes at most; empty means off
}

// Timeouts bound every wait. All are above zero except ShutdownDelay, which
// may be zero.
type Timeouts struct {
	Connect       time.Duration // dialling one server, DNS included
	Greeting      time.Duration // a server's greeting; a 120 extends it once
	Login         time.Duration // a client from its greeting to logged in
	Idle          time.Duration // a client that sends nothing while no data moves
	Reply         time.Duration // a server's reply to a command
	FinalReply    time.Duration // the reply after the data has ended
	PortWait      time.Duration // waiting for a free data port
	DataConnect   time.Duration // a data connection that must come about
	DataStall     time.Duration // a transfer on which no byte moves
	ClientWrite   time.Duration // a client that does not read its replies
	ProxyHeader   time.Duration // the PROXY header of an accepted connection
	TLSHandshake  time.Duration // a TLS handshake; of data, from when the transfer is accepted
	Linger        time.Duration // a peer's FIN after ours
	ShutdownDelay time.Duration // from SIGTERM until listeners close
	Drain         time.Duration // from then until running transfers are cut
}

// Limits bound how much ftproxy takes on.
type Limits struct {
	Sessions          int // at once, 1 or more
	SessionsPerClient int // at once from one client address; 0 means no limit
	Transfers         int // at once; 0 means as many as Sessions
}

// A Frontend is a named set of listening addresses and what clients see there.
type Frontend struct {
	Name    string
	Listen  []netip.AddrPort // at least one, in the order of the file; a port may be 0 (any free port)
	Backend string           // name of one of the Backends
	Banner  string           // text of the greeting, without code; empty means the server's own

	CloseWhenDown bool // the frontend does not listen while its backend has no server that works

	ProxyProtocol     bool           // control connections begin with a PROXY header, which says who the client is
	DataProxyProtocol bool           // passive data connections do; as ProxyProtocol unless the file says otherwise
	TrustedProxies    []netip.Prefix // who may send one; masked, at least one if either of the two is true, else none
	// The header of a control connection may come after the greeting, which is Banner then.
	ProxyHeaderAfterGreeting bool

	TLS FrontendTLS

	PublicAddress        PublicAddress
	PublicAddressFor     []PublicOverride // the narrowest network first
	PassivePorts         PortRange
	AdvertisedPortOffset int // told ports are those of PassivePorts plus this; all are within 1 to 65535
	PassiveBind          PassiveBind
	FreeBind             bool // addresses of Listen and PassiveBind need not be this machine's yet
	DataPeer             DataPeer
	ActiveSourcePorts    []PortRange    // of connections to clients, in the order they are tried; none: any port
	Bandwidth            Bandwidth      // of all transfers of the frontend
	SessionBandwidth     Bandwidth      // of each session
	AllowForeignData     []netip.Prefix // whose data connections a client may use besides its own (FXP)
}

// A PublicAddress is what clients are told in a 227 reply.
type PublicAddress struct {
	Auto bool       // the address the client reached; both others are zero
	IPv4 netip.Addr // zero if no IPv4 address was given
	IPv6 netip.Addr // zero if no IPv6 address was given; EPSV replies hold no address, so it may be missing
	// Hosts are names to be resolved; an address given above goes before theirs.
	Hosts []string
}

// A PublicOverride is what clients of one network are told instead.
type PublicOverride struct {
	Clients netip.Prefix // masked
	PublicAddress
}

// PassiveBind is where data ports listen for clients of each family. The zero
// value of one is the address that the client's control connection reached.
type PassiveBind struct{ IPv4, IPv6 netip.Addr }

// Addrs are those of the two that are set.
func (b PassiveBind) Addrs() (all []netip.Addr) {
	for _, a := range []netip.Addr{b.IPv4, b.IPv6} {
		if a.IsValid() {
			all = append(all, a)
		}
	}
	return all
}

// DataPeer is how many leading bits of a client's address its data connections
// must share; 0 is all of them.
type DataPeer struct{ IPv4, IPv6 int }

// A Backend is a named group of FTP servers.
type Backend struct {
	Name          string
	Servers       []Server // at least one, in the order of the file
	Balance       Balance
	Queue         int           // clients that may wait while all servers have MaxSessions
	SlowStart     time.Duration // in which a server that works again grows to its full share; 0: at once
	Data          DataMode
	DataPorts     PortRange
	Bandwidth     Bandwidth // of all its transfers
	Source        Source
	SendProxy     string // version of the PROXY header that servers are sent: "v1", "v2", or "" for none
	SendProxyData bool   // also on passive data connections; only with SendProxy
	// TrustDataAddress are networks whose addresses are believed where a
	// server's 227 names one, and may connect in active mode.
	TrustDataAddress []netip.Prefix
	Check            Check
	TLS              BackendTLS
}

// A Source is where connections to servers come from. The zero value leaves it to
// the kernel.
type Source struct {
	Client     bool // the client's own address; then neither of the two is set
	Own        bool // with Client: ftproxy's own address where the families differ, rather than none
	IPv4, IPv6 netip.Addr
}

// Of is the fixed address towards servers of a family, 4 or 6; none is the zero value.
func (s Source) Of(family int) netip.Addr {
	if family == 4 {
		return s.IPv4
	}
	return s.IPv6
}

// Fixed tells whether connections come from addresses that the file names, and so
// only from those.
func (s Source) Fixed() bool { return s.IPv4.IsValid() || s.IPv6.IsValid() }

// A DataMode is how a backend's servers are told of data connections, whatever
// the client said.
type DataMode string

// The data modes. Passive and active leave the choice of the verb to ftproxy,
// which takes EPSV and EPRT where they are needed or known to work.
const (
	DataClient  DataMode = "client"  // as the client says
	DataPassive DataMode = "passive" // PASV or EPSV: ftproxy connects to the server
	DataPASV    DataMode = "pasv"
	DataEPSV    DataMode = "epsv"
	DataActive  DataMode = "active" // PORT or EPRT: the server connects to ftproxy
	DataPORT    DataMode = "port"
	DataEPRT    DataMode = "eprt"
)

// OnlyIPv4 tells whether the mode's verb can name IPv4 addresses only.
func (m DataMode) OnlyIPv4() bool { return m == DataPASV || m == DataPORT }

// Defaults returns what holds where the file says nothing. It has no frontend
// and no backend: they are never implied.
func Defaults() Config {
	return Config{
		Log:      logKeys.defaults(),
		Admin:    adminKeys.defaults(),
		Control:  controlKeys.defaults(),
		Timeouts: timeoutKeys.defaults(),
		Limits:   limitKeys.defaults(),
	}
}

// NewFrontend returns a frontend with all defaults; its listening addresses
// and its backend are still to be set.
func NewFrontend(name string) Frontend {
	f := frontendKeys.defaults()
	f.Name, f.TLS = name, frontendTLSKeys.defaults()
	return f
}

// NewBackend returns a backend with all defaults; its servers are still to be set.
func NewBackend(name string) Backend {
	b := backendKeys.defaults()
	b.Name, b.Check, b.TLS = name, checkKeys.defaults(), backendTLSKeys.defaults()
	return b
}
