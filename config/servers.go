package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Server is one FTP server's control address, or a name that stands for several.
type Server struct {
	Label       string // the name of its table; empty if it stands in the list servers
	Host        string // an IP address in its canonical form, or a host name; with SRV the name of SRV records
	Port        uint16 // 0 with SRV, and never else
	SRV         bool   // hosts and ports come from SRV records
	Weight      int    // 1 to MaxWeight from a file; 0, as code may leave it, is 1
	Backup      bool   // used while none of the others works
	MaxSessions int    // at once; 0 means no limit
}

// MaxWeight is the largest weight of a server.
const MaxWeight = 256

// srvPrefix is what stands before the name of SRV records.
const srvPrefix = "srv:"

// String returns host:port, with brackets around an IPv6 address, or srv:name.
func (s Server) String() string {
	if s.SRV {
		return srvPrefix + s.Host
	}
	if ip, err := netip.ParseAddr(s.Host); err == nil {
		return netip.AddrPortFrom(ip, s.Port).String()
	}
	return s.Host + ":" + strconv.Itoa(int(s.Port))
}

// Name is what the server is called in metrics, in the status and by commands: its
// label, or else its text. No two servers of a backend have the same.
func (s Server) Name() string {
	if s.Label != "" {
		return s.Label
	}
	return s.String()
}

// A Balance is how one of a backend's servers is chosen. Its zero value is BalanceFirst.
type Balance string

// The ways to choose. The weights of servers count in all but the first.
const (
	BalanceFirst      Balance = "first" // the first in the order of the file
	BalanceRoundRobin Balance = "roundrobin"
	BalanceLeastConn  Balance = "leastconn"
	BalanceRandom     Balance = "random" // of two the one with less load
	BalanceSource     Balance = "source" // by a hash of the client's address
	BalanceUser       Balance = "user"   // by a hash of the user's name
)

// A CheckKind is what ftproxy does to find out whether a server works. Its zero value
// is CheckOff.
type CheckKind string

// What a check does.
const (
	CheckOff   CheckKind = "off"
	CheckTCP   CheckKind = "tcp"   // it connects
	CheckFTP   CheckKind = "ftp"   // it reads a greeting of 2xx, and sends QUIT
	CheckLogin CheckKind = "login" // it logs in
)

// On tells whether there are checks.
func (k CheckKind) On() bool { return k != "" && k != CheckOff }

// A Check is how ftproxy finds out whether servers work. Fall holds for sessions that
// fail, too, whatever Kind is.
type Check struct {
	Kind         CheckKind
	Interval     time.Duration // between two checks of a server, and two questions to its agent
	Timeout      time.Duration // of one check, and of one question to the agent
	Rise         int           // successes in a row that bring a server back, 1 or more
	Fall         int           // failures in a row that take a server out, 1 or more
	User         string        // of CheckLogin, else empty
	PasswordFile string        // of CheckLogin, an absolute path; else empty
	AgentPort    int           // where each server's agent listens; 0: there is none
}

// keyOf is the key that names a server.
func (b *Backend) keyOf(s Server) string {
	if s.Label != "" {
		return "backend." + b.Name + ".server." + s.Label + ".address"
	}
	return "backend." + b.Name + ".servers"
}

// quoteServers returns the list of those that have no table of their own.
func quoteServers(all []Server) string {
	return quoteList(slices.DeleteFunc(slices.Clone(all), func(s Server) bool { return s.Label != "" }))
}

// cutSRV returns the name of SRV records. "srv:21" is the port of a host.
func cutSRV(s string) (name string, found bool) {
	if len(s) < len(srvPrefix) || !strings.EqualFold(s[:len(srvPrefix)], srvPrefix) {
		return "", false
	}
	name = s[len(srvPrefix):]
	return name, !bareNumber.MatchString(name)
}

// parseSRV reads the name of SRV records.
func parseSRV(name string) (Server, *wrong) {
	const example = `write "srv:" and the name of the SRV records, for example "srv:_ftp._tcp.example.net"`
	host, port, _ := strings.Cut(name, ":")
	switch {
	case isHostName(name) && strings.Contains(strings.TrimSuffix(name, "."), "."):
		return Server{Host: name, SRV: true, Weight: 1}, nil
	case port != "" && isHostName(host):
		return Server{}, finalf(fmt.Sprintf("write %q", srvPrefix+host), "%q has a port, and SRV records have their own", srvPrefix+name)
	}
	return Server{}, finalf(example, "%q has no name of SRV records", srvPrefix+name)
}

// servers reads the tables of a backend's servers, in the order of the file. Those on
// one line are in the order of their names.
func (r *reader) servers(t table) (all []Server) {
	tables := r.within(t.entry.table["server"], t.entry.path+".server", serverKeys.path)
	slices.SortStableFunc(tables, func(a, b table) int { return a.entry.line - b.entry.line })
	for _, in := range tables {
		s := serverKeys.defaults()
		s.Label = in.entry.name
		serverKeys.read(in, &s)
		if i := slices.IndexFunc(all, func(o Server) bool { return o.Host != "" && o.String() == s.String() }); i >= 0 {
			in.faultAt(in.line("address"), "address", wrongf("write each server once", "%q is the address of server %s, too", s, all[i].Label))
		}
		all = append(all, s)
	}
	return all
}

// serversRule reports a backend that has no server, or has them in both ways, and adds
// those in tables to the others.
func (t table) serversRule(b *Backend) {
	const key = "servers"
	listed := t.count(key) > 0
	switch e := t.entry.table["server"]; {
	case listed && len(t.servers) > 0:
		t.faultAt(t.line(key), key, wrongf(fmt.Sprintf("write a table like [%s.server.%s] for each of these servers, too, and remove this key", t.entry.path, t.servers[0].Label),
			"stands beside tables of servers, line %d: the backend has the ones or the others", e.line))
	case listed || len(t.servers) > 0 || e != nil && len(e.table) > 0: // or was reported
	case t.entry.table[key] != nil:
		t.faultAt(t.line(key), key, wrongf(`write servers = "10.0.0.5:21"`, "the list is empty"))
	case e == nil || e.table != nil:
		t.faultAt(t.entry.line, key, wrongf(`write servers = ["10.0.0.5:21"] with the addresses of yours`, "is missing"))
	}
	b.Servers = append(b.Servers, t.servers...)
}

// doubtBalance warns of what the servers of a backend give no effect.
func doubtBalance(b *Backend, warn func(key, message, hint string)) {
	key := "backend." + b.Name + "."
	limited := func(s Server) bool { return s.MaxSessions > 0 }
	normal := func(s Server) bool { return !s.Backup }
	if len(b.Servers) > 0 && !slices.ContainsFunc(b.Servers, normal) {
		warn(key+"server."+b.Servers[0].Label+".backup", "is true for every server of the backend, so it has no effect",
			"remove it from those that clients normally use")
	}
	if b.Queue != backendKeys.defaults().Queue && !slices.ContainsFunc(b.Servers, limited) {
		warn(key+"queue", "has no effect, because no server has max_sessions", fmt.Sprintf("write max_sessions in [backend.%s.server.LABEL]", b.Name))
	}
}
