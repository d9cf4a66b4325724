package servers

import (
	"net/netip"
	"slices"
	"strings"
	"sync"

	"ftproxy/internal/balance"
	"ftproxy/internal/ftp"
)

// features are what checks have learned of the servers of a backend by FEAT.
type features struct {
	mu      sync.Mutex
	servers []netip.AddrPort
	of      map[netip.AddrPort][]string
}

// maxFeatures is how many lines of a server's FEAT count.
const maxFeatures = 64

// keep sets the servers, and forgets others.
func (f *features) keep(all []balance.Target) {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.of
	f.servers, f.of = nil, make(map[netip.AddrPort][]string)
	for _, t := range all {
		f.servers = append(f.servers, t.Addr)
		if known, is := before[t.Addr]; is {
			f.of[t.Addr] = known
		}
	}
}

// note keeps a server's reply to FEAT (RFC 2389). One that refuses it before the login is
// taken to have none.
func (f *features) note(server netip.AddrPort, reply ftp.Reply) {
	var list []string
	if reply.Code == 211 && len(reply.Lines) > 2 {
		for _, line := range reply.Lines[1 : len(reply.Lines)-1] {
			line = strings.TrimSpace(strings.TrimPrefix(line, "211-"))
			if line != "" && len(list) < maxFeatures {
				list = append(list, line)
			}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if slices.Contains(f.servers, server) {
		f.of[server] = list
	}
}

// common are the features that every server was seen to have, in the order of the first.
func (f *features) common() (list []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.servers) == 0 {
		return nil
	}
	list = slices.Clone(f.of[f.servers[0]])
	for _, server := range f.servers[1:] {
		has := f.of[server]
		list = slices.DeleteFunc(list, func(feature string) bool { return !slices.Contains(has, feature) })
	}
	return list
}
