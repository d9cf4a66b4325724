package integration

import (
	"bytes"
	wire "encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestNamespaces: clients and servers that have no route to each other, with
// both modes and both address families on either side. What was captured on the
// two links proves that neither sees an address of the other.
func TestNamespaces(t *testing.T) {
	throughProxy(t)
	needNamespaces(t)
	for _, tt := range []struct {
		name   string
		server func(t *testing.T, addr netip.Addr, root string) *server
		family string // of the server
	}{
		{"vsftpd", startVsftpd, "IPv4"},
		{"vsftpd-IPv6", startVsftpd, "IPv6"},
		{"proftpd", startProFTPD, "IPv4"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			ends, ok := l.ends[tt.family]
			if !ok {
				lack(t, "no IPv6 on this machine")
			}
			var s *server
			l.server.do(t, func() { s = tt.server(t, ends.server, folder(t)) })
			ftproxy := l.startProxy(t, nil, s.addr)
			outside := l.client.capture(t)
			inside := l.server.capture(t)
			for family, e := range l.ends {
				for _, verb := range []string{"PASV", "EPSV", "PORT", "EPRT"} {
					if family == "IPv6" && (verb == "PASV" || verb == "PORT") {
						continue // These are for IPv4 alone.
					}
					t.Run(verb+"-"+family, func(t *testing.T) {
						l.client.do(t, func() { everyWay(t, s, e, verb) })
					})
				}
			}
			l.check(t, outside.end(t, l.client, l.ends), inside.end(t, l.server, l.ends), tt.family)
			if t.Failed() {
				t.Log(ftproxy.out.tail(50))
			}
		})
	}
}

// everyWay lists, downloads and uploads with curl.
func everyWay(t *testing.T, s *server, e labEnds, verb string) {
	const size = 100_000 // of which every byte is searched
	dir := t.TempDir()
	want := randomFile(t, filepath.Join(s.root, verb+"-file"), size)
	own(t, filepath.Join(s.root, verb+"-file"))
	sum := randomFile(t, filepath.Join(dir, "upload"), size)
	url := "ftp://" + netip.AddrPortFrom(e.outside, 21).String() + "/"
	options := map[string][]string{
		"PASV": {"--ftp-pasv", "--disable-epsv"}, "EPSV": {"--ftp-pasv", "--epsv"},
		"PORT": {"--ftp-port", "-", "--disable-eprt"}, "EPRT": {"--ftp-port", "-", "--eprt"},
	}[verb]
	curl := func(args ...string) string {
		t.Helper()
		base := append([]string{"-q", "-sS", "-v", "-g", "--max-time", "60", "-u", s.user + ":" + s.pass}, options...)
		cmd := exec.CommandContext(t.Context(), command(t, "curl"), append(base, args...)...)
		cmd.Env = environ(dir)
		var said bytes.Buffer
		cmd.Stderr = &said
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v\n%s", args, err, tail(said.String(), 40))
		}
		if !strings.Contains(said.String(), "\n> "+verb) {
			t.Fatalf("curl did not send %s:\n%s", verb, tail(said.String(), 40))
		}
		return string(out)
	}
	if list := curl(url); !strings.Contains(list, verb+"-file") {
		t.Errorf("no %s-file in the listing:\n%s", verb, list)
	}
	curl("-o", filepath.Join(dir, "download"), url+verb+"-file")
	if got := checksum(t, filepath.Join(dir, "download")); got != want {
		t.Errorf("download: sha256 %s, want %s", got, want)
	}
	sent := verb + "-sent-to-" + map[bool]string{true: "6", false: "4"}[e.client.Is6()]
	curl("-T", filepath.Join(dir, "upload"), url+sent)
	if got := checksum(t, filepath.Join(s.root, sent)); got != sum {
		t.Errorf("upload: sha256 %s, want %s", got, sum)
	}
}

// check reads what was captured on the two links.
func (l *lab) check(t *testing.T, outside, inside *traces, server string) {
	t.Helper()
	for _, e := range l.ends {
		for _, hidden := range []netip.Addr{e.server, e.inside} {
			outside.wantNo(t, "the client's link", hidden)
		}
		for _, hidden := range []netip.Addr{e.client, e.outside} {
			inside.wantNo(t, "the server's link", hidden)
		}
	}
	// What must be there proves that the search finds what is there.
	ip4 := l.ends["IPv4"]
	outside.want(t, "227 Entering Passive Mode ("+comma(ip4.outside)+",")
	outside.want(t, "PORT "+comma(ip4.client)+",")
	outside.want(t, "EPRT |1|"+ip4.client.String()+"|")
	if ip6, ok := l.ends["IPv6"]; ok {
		outside.want(t, "EPRT |2|"+ip6.client.String()+"|")
	}
	if server == "IPv6" {
		inside.want(t, "EPRT |2|"+l.ends["IPv6"].inside.String()+"|")
	} else {
		inside.want(t, "PORT "+comma(ip4.inside)+",")
		inside.want(t, "227 Entering Passive Mode ("+comma(ip4.server)+",")
	}
}

// A capture is a running tcpdump.
type capture struct {
	*process
	file string
}

// capture records what passes the namespace's link.
func (n *netns) capture(t *testing.T) *capture {
	t.Helper()
	c := &capture{file: filepath.Join(t.TempDir(), "pcap")}
	n.do(t, func() {
		c.process = start(t, "tcpdump", exec.Command(command(t, "tcpdump"), "-i", labLink, "-s", "0", "-B", "32768",
			"-n", "-U", "--immediate-mode", "-Z", "root", "-w", c.file))
	})
	waitFor(t, "tcpdump listens", patience, func() bool { return strings.Contains(c.out.String(), "listening on") })
	return c
}

// end ends a capture when all that was sent before is in it.
func (c *capture) end(t *testing.T, at *netns, ends map[string]labEnds) *traces {
	t.Helper()
	to := ends["IPv4"].outside
	if strings.HasSuffix(at.name, "server") {
		to = ends["IPv4"].inside
	}
	const last = "the last datagram of all"
	at.do(t, func() {
		conn, err := net.Dial("udp", netip.AddrPortFrom(to, 9).String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := conn.Write([]byte(last)); err != nil {
			t.Fatal(err)
		}
	})
	waitFor(t, "the last datagram is captured", patience, func() bool {
		b, _ := os.ReadFile(c.file)
		return bytes.Contains(b, []byte(last))
	})
	c.stop(t, syscall.SIGINT)
	if !strings.Contains(c.out.String(), "\n0 packets dropped by kernel") {
		t.Errorf("packets are missing from the capture:\n%s", c.out)
	}
	b, err := os.ReadFile(c.file)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := readCapture(b)
	if err != nil {
		t.Fatalf("%s: %v", c.file, err)
	}
	// Three runs of two verbs at least, both ways; and their data, where that of
	// a server's port 20 to the same port of ours looks like one stream.
	if len(tr.streams) < 16 {
		t.Errorf("%d TCP streams captured", len(tr.streams))
	}
	return tr
}

// traces is what a capture holds: the addresses in the headers, what each direction
// of each TCP connection carried, in lower case, and all frames that are not TCP.
type traces struct {
	addrs   map[netip.Addr]int
	streams map[[2]netip.AddrPort][]byte
	others  [][]byte
}

// readCapture reads a pcap file of Ethernet frames.
func readCapture(b []byte) (*traces, error) {
	const fileHeader, frameHeader = 24, 16
	if len(b) < fileHeader || wire.LittleEndian.Uint32(b) != 0xa1b2c3d4 || wire.LittleEndian.Uint32(b[20:]) != 1 {
		return nil, errors.New("not a pcap file of Ethernet frames")
	}
	tr := &traces{addrs: make(map[netip.Addr]int), streams: make(map[[2]netip.AddrPort][]byte)}
	for b = b[fileHeader:]; len(b) >= frameHeader; {
		n := int(wire.LittleEndian.Uint32(b[8:]))
		if whole := int(wire.LittleEndian.Uint32(b[12:])); n != whole || len(b) < frameHeader+n {
			return nil, fmt.Errorf("frame of %d bytes has %d", whole, n)
		}
		if err := tr.add(b[frameHeader : frameHeader+n]); err != nil {
			return nil, err
		}
		b = b[frameHeader+n:]
	}
	return tr, nil
}

func (tr *traces) add(frame []byte) error {
	const ethernet, tcp = 14, 6
	if len(frame) < ethernet {
		return errors.New("short frame")
	}
	packet := frame[ethernet:]
	var src, dst netip.Addr
	var protocol byte
	switch kind := wire.BigEndian.Uint16(frame[12:]); {
	case kind == 0x0800 && len(packet) >= 20:
		src, _ = netip.AddrFromSlice(packet[12:16])
		dst, _ = netip.AddrFromSlice(packet[16:20])
		protocol = packet[9]
		packet = packet[min(len(packet), int(packet[0]&15)*4):min(len(packet), int(wire.BigEndian.Uint16(packet[2:])))]
	case kind == 0x86dd && len(packet) >= 40:
		src, _ = netip.AddrFromSlice(packet[8:24])
		dst, _ = netip.AddrFromSlice(packet[24:40])
		protocol = packet[6]
		packet = packet[40:min(len(packet), 40+int(wire.BigEndian.Uint16(packet[4:])))]
	default: // ARP and the like
		tr.others = append(tr.others, frame)
		return nil
	}
	tr.addrs[src]++
	tr.addrs[dst]++
	if protocol != tcp {
		tr.others = append(tr.others, frame)
		return nil
	}
	if len(packet) < 20 || len(packet) < int(packet[12]>>4)*4 {
		return errors.New("short segment")
	}
	key := [2]netip.AddrPort{
		netip.AddrPortFrom(src, wire.BigEndian.Uint16(packet)), netip.AddrPortFrom(dst, wire.BigEndian.Uint16(packet[2:])),
	}
	// On a veth nothing is lost or overtaken; and what comes twice does no harm.
	stream := tr.streams[key]
	for _, c := range packet[int(packet[12]>>4)*4:] {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		stream = append(stream, c)
	}
	tr.streams[key] = stream
	return nil
}

// wantNo expects an address nowhere: not in a header, not in any text form in
// what TCP carries, not as bytes in the rest.
func (tr *traces) wantNo(t *testing.T, where string, hidden netip.Addr) {
	t.Helper()
	if n := tr.addrs[hidden]; n > 0 {
		t.Errorf("%s: %s is in %d headers", where, hidden, n)
	}
	for _, form := range forms(hidden) {
		for key, stream := range tr.streams {
			if i := bytes.Index(stream, []byte(form)); i >= 0 {
				t.Errorf("%s: %v: %q", where, key, stream[max(0, i-60):min(len(stream), i+60)])
			}
		}
	}
	for _, frame := range tr.others {
		if bytes.Contains(frame, hidden.AsSlice()) || bytes.Contains(frame, []byte(hidden.String())) {
			t.Errorf("%s: %s is in the frame %x", where, hidden, frame)
		}
	}
}

// forms are the texts that an address is known by, in lower case.
func forms(a netip.Addr) []string {
	if a.Is4() {
		b := a.As4()
		return []string{a.String(), comma(a), fmt.Sprintf("%02x%02x:%02x%02x", b[0], b[1], b[2], b[3])}
	}
	return []string{a.String(), a.StringExpanded()}
}

func (tr *traces) want(t *testing.T, text string) {
	t.Helper()
	for _, stream := range tr.streams {
		if bytes.Contains(stream, []byte(strings.ToLower(text))) {
			return
		}
	}
	t.Errorf("no %q in the capture", text)
}
