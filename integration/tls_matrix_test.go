package integration

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// What TestTLS combines: how each side is protected, and with whom.
var (
	tlsServers = []string{"vsftpd", "proftpd", "pure-ftpd"}
	tlsClients = []string{"curl", "lftp", "ftplib", "tnftp", "ncftp"}
	tlsFronts  = []string{"off", "PROT P", "PROT C", "implicit"}
	tlsBacks   = []string{"off", "private", "clear", "implicit"}
	tlsModes   = []mode{{"PASV", false}, {"PORT", false}}
	tlsData    = []string{"client", "passive", "active"}
)

// A tlsCase is one combination.
type tlsCase struct {
	server, client string
	front          string // off, explicit with PROT P or PROT C, implicit
	back           string // off, explicit with private or clear data, implicit
	mode           mode
	data           string // the backend's
}

func (c tlsCase) String() string {
	name := strings.Join([]string{c.client, c.front, c.mode.String(), c.server, c.back, c.data}, "-")
	return strings.ReplaceAll(name, " ", "")
}

// frontend is the name of the frontend that the client connects to. One serves both
// levels of data connections.
func (c tlsCase) frontend() string {
	front := map[string]string{"PROT P": "explicit", "PROT C": "explicit"}[c.front]
	if front == "" {
		front = c.front
	}
	return strings.Join([]string{front, c.back, c.data}, "-")
}

func (c tlsCase) clientTLS(ca string) clientTLS {
	switch c.front {
	case "PROT P", "PROT C":
		return clientTLS{mode: "explicit", clear: c.front == "PROT C", ca: ca}
	case "implicit":
		return clientTLS{mode: "implicit", ca: ca}
	}
	return clientTLS{}
}

func allTLS() (all []tlsCase) {
	for _, server := range tlsServers {
		for _, client := range tlsClients {
			for _, front := range tlsFronts {
				for _, back := range tlsBacks {
					for _, m := range tlsModes {
						for _, data := range tlsData {
							all = append(all, tlsCase{server, client, front, back, m, data})
						}
					}
				}
			}
		}
	}
	return all
}

// A tlsLimit is what a peer has no means for. The patterns are those of failure.
type tlsLimit struct{ server, client, front, back, mode, reason string }

var tlsLimits = []tlsLimit{
	{client: "tnftp|ncftp", front: "PROT ?|implicit", reason: "these clients have no TLS for FTP"},
	{server: "pure-ftpd", back: "implicit", reason: "pure-ftpd has no implicit TLS"},
	{client: "curl", front: "PROT P|implicit", mode: "PORT",
		reason: "curl 7.87 and 7.88 begin no TLS on data connections in active mode (curl issue 10666, mended in 8.0); without ftproxy neither"},
}

// limit is why a case cannot be, nil where it can.
func (c tlsCase) limit() *tlsLimit {
	for i := range tlsLimits {
		l := &tlsLimits[i]
		if matches(l.server, c.server) && matches(l.client, c.client) && matches(l.front, c.front) && matches(l.back, c.back) && matches(l.mode, c.mode.String()) {
			return l
		}
	}
	return nil
}

// meets are what comes together in a case: every two of its choices, and both sides'
// protection with the backend's data mode, and with the server.
func (c tlsCase) meets() (all []string) {
	choices := []string{c.server, c.client, "front " + c.front, "back " + c.back, c.mode.String(), "data " + c.data}
	all = append(all, "front "+c.front+" back "+c.back+" data "+c.data, c.server+" front "+c.front+" back "+c.back)
	for i, a := range choices {
		for _, b := range choices[i+1:] {
			all = append(all, a+" "+b)
		}
	}
	return all
}

// sampleTLS chooses cases so that all that can come together does so in one.
func sampleTLS() (sample []tlsCase) {
	left := make(map[string]bool)
	var possible []tlsCase
	for _, c := range allTLS() {
		if c.limit() == nil {
			possible = append(possible, c)
			for _, p := range c.meets() {
				left[p] = true
			}
		}
	}
	for len(left) > 0 {
		var best tlsCase
		most := 0
		for _, c := range possible {
			n := 0
			for _, p := range c.meets() {
				if left[p] {
					n++
				}
			}
			if n > most {
				best, most = c, n
			}
		}
		sample = append(sample, best)
		for _, p := range best.meets() {
			delete(left, p)
		}
	}
	return sample
}

// A tlsHouse is one kind of server, once as clear as the client likes and once with
// implicit TLS, and one ftproxy with a frontend for each combination of the sides.
type tlsHouse struct {
	place  place
	root   string
	server *server
	proxy  *proxy
	at     map[string]netip.AddrPort // by frontend
	ca     string                    // of ftproxy's certificate
}

func newTLSHouse(t *testing.T, name string) *tlsHouse {
	t.Helper()
	throughProxy(t)
	p := newPlace(t)
	h := &tlsHouse{place: p, root: folder(t), at: make(map[string]netip.AddrPort)}
	inside, outside := certificateFor(t, p.server), certificateFor(t, p.proxy)
	h.ca = outside.File
	addr := serverNamed(name).address(p)
	h.server = startProtected(t, name, addr, h.root, serverTLS{file: inside.File})
	servers := map[string]*server{"off": h.server, "private": h.server, "clear": h.server}
	if name != "pure-ftpd" {
		servers["implicit"] = startProtected(t, name, addr, h.root, serverTLS{file: inside.File, implicit: true})
	}
	places.Lock()
	control := freeRange(t, p.proxy)
	places.Unlock()
	var more strings.Builder
	for back, s := range servers {
		for _, data := range tlsData {
			for _, front := range []string{"off", "explicit", "implicit"} {
				name := strings.Join([]string{front, back, data}, "-")
				h.at[name] = netip.AddrPortFrom(p.proxy, control.first)
				control.first++
				fmt.Fprintf(&more, "[frontend.%[1]s]\nlisten = %[2]q\npassive_ports = %[3]q\nbackend = \"%[4]s-%[5]s\"\n",
					name, h.at[name], p.passive, back, data)
				switch front {
				case "explicit": // A login is then proof enough of TLS.
					fmt.Fprintf(&more, "tls = { mode = \"required\", certificate = %q, require_data = false }\n", outside.File)
				case "implicit":
					fmt.Fprintf(&more, "tls = { mode = \"implicit\", certificate = %q }\n", outside.File)
				}
			}
			fmt.Fprintf(&more, "[backend.%[1]s-%[2]s]\nservers = %[3]q\ndata = %[2]q\ndata_ports = %[4]q\n", back, data, s.addr, p.data)
			switch back {
			case "private", "clear":
				fmt.Fprintf(&more, "tls = { mode = \"explicit\", data = %q, ca = %q }\n", back, inside.File)
			case "implicit":
				fmt.Fprintf(&more, "tls = { mode = \"implicit\", ca = %q }\n", inside.File)
			}
		}
	}
	c := configure(t, p, h.server.addr) // its own frontend has no part
	c.more = more.String()
	h.proxy = startProxy(t, c)
	return h
}

// run has a client download a file of its own and upload another.
func (h *tlsHouse) run(t testing.TB, cl client, c tlsCase) error {
	to := target{
		addr: h.at[c.frontend()], user: h.server.user, pass: h.server.pass, bind: h.place.client,
		passive: h.place.passive, hidden: h.place.server, tls: c.clientTLS(h.ca),
	}
	down, up := content(c.String()+" down", 100_003), content(c.String()+" up", 200_017)
	remote, local := plain(c.String()+"-down"), filepath.Join(t.TempDir(), "down")
	if err := os.WriteFile(filepath.Join(h.root, remote.wire), down, 0o644); err != nil {
		return err
	}
	if err := cl.get(newSession(t, to, c.mode), remote, local, whole); err != nil {
		return fmt.Errorf("download: %w", err)
	}
	if got, err := os.ReadFile(local); err != nil || !bytes.Equal(got, down) {
		return fmt.Errorf("download: %d bytes that are not the file's %d, %v", len(got), len(down), err)
	}
	remote, local = plain(c.String()+"-up"), filepath.Join(t.TempDir(), "up")
	if err := os.WriteFile(local, up, 0o644); err != nil {
		return err
	}
	if err := cl.put(newSession(t, to, c.mode), local, remote, whole); err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	if got, err := os.ReadFile(filepath.Join(h.root, remote.wire)); err != nil || !bytes.Equal(got, up) {
		return fmt.Errorf("upload: the server has %d bytes that are not the file's %d, %v", len(got), len(up), err)
	}
	return nil
}

// runAll runs cases, several at a time, and returns how each went.
func (h *tlsHouse) runAll(t *testing.T, clients map[string]client, cases []tlsCase) map[tlsCase]error {
	t.Helper()
	var (
		all  sync.WaitGroup
		mu   sync.Mutex
		went = make(map[tlsCase]error)
		work = make(chan tlsCase)
	)
	for range 4 {
		all.Go(func() {
			for c := range work {
				err := h.run(t, clients[c.client], c)
				mu.Lock()
				went[c] = err
				mu.Unlock()
			}
		})
	}
	for _, c := range cases {
		work <- c
	}
	close(work)
	all.Wait()
	return went
}

// confirm looks at ftproxy's log of a transfer: what each side was told, and whether
// its data connection was protected.
func (c tlsCase) confirm(got *crossedLine) error {
	told, _ := crossing{client: c.mode, data: c.data}.want()
	client, server := c.front == "PROT P" || c.front == "implicit", c.back == "private" || c.back == "implicit"
	switch {
	case got == nil:
		return errors.New("ftproxy has not logged it")
	case got.Result != "ok":
		return fmt.Errorf("result %s", got.Result)
	case got.ClientMode != c.mode.verb || got.ServerMode != told:
		return fmt.Errorf("modes %s and %s, want %s and %s", got.ClientMode, got.ServerMode, c.mode.verb, told)
	case (got.ClientDataTLS != "") != client || (got.ServerDataTLS != "") != server:
		return fmt.Errorf("data connections with %q and %q, want TLS %t and %t", got.ClientDataTLS, got.ServerDataTLS, client, server)
	}
	return nil
}

// TestTLS: what both sides are protected by, in all modes, with a download and an
// upload each; a sample of it, or all.
func TestTLS(t *testing.T) {
	cases := sampleTLS()
	if full {
		cases = allTLS()
	}
	clients := make(map[string]client)
	for _, k := range clientKinds {
		if slices.Contains(tlsClients, k.name) {
			clients[k.name] = k.find(t)
		}
	}
	t.Run("servers", func(t *testing.T) {
		for _, name := range tlsServers {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				h := newTLSHouse(t, name)
				var ours []tlsCase
				for _, c := range cases {
					if c.server == name && c.limit() == nil {
						ours = append(ours, c)
					}
				}
				h.judge(t, h.runAll(t, clients, ours))
			})
		}
	})
	if !t.Failed() {
		protected.checkPage(t)
	}
}

func (h *tlsHouse) judge(t *testing.T, went map[tlsCase]error) {
	t.Helper()
	worked := 0
	for _, err := range went {
		if err == nil {
			worked++
		}
	}
	lines := make(map[string]*crossedLine)
	for name, line := range h.proxy.transfers(t, 2*worked) {
		lines[path.Base(name)] = line // Some clients name files by their whole path.
	}
	for c, err := range went {
		for _, file := range []string{c.String() + "-down", c.String() + "-up"} {
			if err == nil {
				err = c.confirm(lines[file])
			}
		}
		if err != nil {
			t.Errorf("%s: %v", c, err)
		}
		protected.add(c, err == nil)
	}
	t.Logf("%d combinations", len(went))
}

// TestTLSSample: the sample has every server, client and protection of each side.
func TestTLSSample(t *testing.T) {
	seen := make(map[string]bool)
	for _, c := range sampleTLS() {
		for _, choice := range []string{c.server, c.client, "front " + c.front, "back " + c.back, c.mode.String(), "data " + c.data} {
			seen[choice] = true
		}
	}
	if want := len(tlsServers) + len(tlsClients) + len(tlsFronts) + len(tlsBacks) + len(tlsModes) + len(tlsData); len(seen) != want {
		t.Errorf("it has %v, want %d", slices.Sorted(maps.Keys(seen)), want)
	}
	t.Logf("%d of %d", len(sampleTLS()), len(allTLS()))
}
