package integration

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// TestClients runs every scenario with every client and mode on every server.
func TestClients(t *testing.T) {
	for _, kind := range serverKinds {
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			rig := newRig(t, kind)
			t.Run("clients", func(t *testing.T) { // ends before the checks below
				for _, c := range []struct {
					name   string
					client func(t *testing.T) client
				}{
					{"curl", func(t *testing.T) client { return curl{command(t, "curl")} }},
					{"lftp", func(t *testing.T) client { return lftp{command(t, "lftp")} }},
					{"ftplib", func(t *testing.T) client { return ftplib{python(t)} }},
				} {
					t.Run(c.name, func(t *testing.T) {
						client := c.client(t)
						for _, m := range client.modes() {
							t.Run(m.String(), func(t *testing.T) {
								t.Parallel()
								runScenarios(t, rig, client, m, c.name+"-"+m.String())
							})
						}
					})
				}
			})
			rig.checkServerLog(t)
		})
	}
}

// A rig is a server with ftproxy in front of it.
type rig struct {
	server  *server
	server6 *server // in direct mode, the same on ::1
	proxy   *proxy  // nil in direct mode
	place   place
}

// bigFile is what gets aborted: more than all socket buffers on the way hold.
const bigFile = "big.bin"

func newRig(t *testing.T, kind serverKind) *rig {
	t.Helper()
	r := &rig{place: newPlace(t)}
	root := folder(t)
	big := filepath.Join(root, bigFile)
	write(t, big, "")
	if err := os.Truncate(big, 96<<20); err != nil {
		t.Fatal(err)
	}
	r.server = kind.start(t, kind.address(r.place), root)
	r.server.kind = kind
	if direct {
		if haveIPv6() {
			r.server6 = kind.start(t, netip.IPv6Loopback(), root)
		}
		return r
	}
	r.proxy = startProxy(t, configure(t, r.place, r.server.addr))
	return r
}

// target returns what a client connects to.
func (r *rig) target(t *testing.T, ipv6 bool) target {
	t.Helper()
	if ipv6 && !haveIPv6() {
		t.Skip("no IPv6 on loopback")
	}
	to := target{user: r.server.user, pass: r.server.pass}
	if !ipv6 {
		to.bind = r.place.client
	}
	switch {
	case direct && ipv6:
		to.addr = r.server6.addr
	case direct:
		to.addr = r.server.addr
		if r.server.kind.wildcardDial {
			to.bind = r.server.addr.Addr()
		}
	case ipv6:
		to.addr, to.passive = r.proxy.addr6, r.place.passive
	default:
		to.addr, to.passive = r.proxy.addr4, r.place.passive
	}
	if !direct && !r.server.kind.wildcardDial && r.server.addr.Addr() != to.addr.Addr() {
		to.hidden = r.server.addr.Addr()
	}
	return to
}

// checkServerLog makes sure that the server has never seen a client's address.
func (r *rig) checkServerLog(t *testing.T) {
	t.Helper()
	if direct {
		return
	}
	log := r.server.log()
	for _, a := range []string{r.place.client.String(), comma(r.place.client)} {
		if i := strings.Index(log, a); i >= 0 {
			t.Errorf("the server saw the client's address:\n%s", log[max(0, i-200):min(len(log), i+200)])
		}
	}
}

// A bench is what a scenario works with: a session, and a folder on the server
// that no other scenario uses at the same time.
type bench struct {
	*session
	server *server
	client client
	dir    string // below the login folder
}

func newBench(t *testing.T, r *rig, to target, m mode, c client, dir string) *bench {
	t.Helper()
	b := &bench{&session{t, to, m}, r.server, c, dir}
	if err := os.Mkdir(b.disk(""), 0o755); err != nil {
		t.Fatal(err)
	}
	own(t, b.disk(""))
	return b
}

func runScenarios(t *testing.T, r *rig, c client, m mode, dir string) {
	to := r.target(t, m.ipv6)
	for _, sc := range scenarios {
		t.Run(sc.name, func(t *testing.T) {
			sc.run(newBench(t, r, to, m, c, dir+"-"+sc.name))
		})
	}
}

var scenarios = []struct {
	name string
	run  func(*bench)
}{
	{"list", (*bench).lists},
	{"download", (*bench).downloads},
	{"upload", (*bench).uploads},
	{"empty", (*bench).transfersNothing},
	{"resume-download", (*bench).resumesDownload},
	{"resume-upload", (*bench).resumesUpload},
	{"append", (*bench).appends},
	{"rename", (*bench).renames},
	{"delete", (*bench).deletes},
	{"mkdir", (*bench).makesFolders},
	{"abort", (*bench).aborts},
	{"spaces", func(b *bench) { b.names(plain("two  words and more.txt"), plain("other name")) }},
	{"utf8", func(b *bench) { b.names(plain("grün 日本語.txt"), plain("größer.txt")) }},
	{"latin1", func(b *bench) { b.names(name{"caf\xe9 \xfcber.txt", "café über.txt"}, name{"\xe4.txt", "ä.txt"}) }},
}

func (b *bench) lists() {
	want := []string{"alpha.txt", "beta.txt", "gamma.txt"}
	for _, n := range want {
		b.serve(n, 10)
	}
	for _, verb := range []string{"LIST", "NLST", "MLSD"} {
		if verb == "MLSD" && !b.server.kind.mlsd {
			continue
		}
		got, err := b.client.list(b.session, verb, plain(b.dir))
		b.must(err)
		for _, n := range want {
			if strings.Count(got, n) != 1 {
				b.t.Errorf("%s: want one %s in:\n%s", verb, n, got)
			}
		}
	}
}

func (b *bench) downloads() {
	want := b.serve("file", 1<<20+7)
	b.must(b.client.get(b.session, b.remote("file"), b.local("got"), whole))
	b.same(want, b.local("got"))
}

func (b *bench) uploads() {
	want := b.prepare("file", 1<<20+7)
	b.must(b.client.put(b.session, b.local("file"), b.remote("file"), whole))
	b.same(want, b.disk("file"))
	want = b.prepare("file", 1<<10) // over the longer one
	b.must(b.client.put(b.session, b.local("file"), b.remote("file"), whole))
	b.same(want, b.disk("file"))
}

func (b *bench) transfersNothing() {
	want := b.serve("empty", 0)
	b.must(b.client.get(b.session, b.remote("empty"), b.local("got"), whole))
	if _, err := os.Stat(b.local("got")); err == nil { // an old curl makes no file
		b.same(want, b.local("got"))
	}
	b.prepare("empty", 0)
	b.must(b.client.put(b.session, b.local("empty"), b.remote("sent"), whole))
	b.same(want, b.disk("sent"))
}

func (b *bench) resumesDownload() {
	want := b.serve("file", 1<<20)
	b.part(b.disk("file"), b.local("got"), 300_001)
	b.must(b.client.get(b.session, b.remote("file"), b.local("got"), resume))
	b.same(want, b.local("got"))
}

func (b *bench) resumesUpload() {
	want := b.prepare("file", 1<<20)
	b.part(b.local("file"), b.disk("file"), 300_001)
	own(b.t, b.disk("file"))
	b.must(b.client.put(b.session, b.local("file"), b.remote("file"), resume))
	b.same(want, b.disk("file"))
}

func (b *bench) appends() {
	b.serve("file", 1000)
	b.prepare("more", 2000)
	first, err := os.ReadFile(b.disk("file"))
	b.must(err)
	more, err := os.ReadFile(b.local("more"))
	b.must(err)
	b.must(b.client.put(b.session, b.local("more"), b.remote("file"), appending))
	got, err := os.ReadFile(b.disk("file"))
	b.must(err)
	if !bytes.Equal(got, append(first, more...)) {
		b.t.Errorf("%d bytes that are not the two parts", len(got))
	}
}

func (b *bench) renames() {
	want := b.serve("old", 100)
	b.must(b.client.rename(b.session, b.remote("old"), b.remote("new")))
	b.same(want, b.disk("new"))
	b.gone("old")
}

func (b *bench) deletes() {
	b.serve("file", 100)
	b.must(b.client.remove(b.session, b.remote("file")))
	b.gone("file")
}

func (b *bench) makesFolders() {
	b.must(b.client.mkdir(b.session, b.remote("folder")))
	if info, err := os.Stat(b.disk("folder")); err != nil || !info.IsDir() {
		b.t.Fatalf("mkdir: %v, %v", info, err)
	}
	b.must(b.client.rmdir(b.session, b.remote("folder")))
	b.gone("folder")
}

func (b *bench) aborts() {
	want := b.serve("small", 5000)
	b.must(b.client.abort(b.session, plain(bigFile), b.remote("small"), b.local("got")))
	b.same(want, b.local("got"))
}

// names does all that a name is good for.
func (b *bench) names(n, other name) {
	want := b.prepare("file", 3000)
	at := func(n name) name { return name{path.Join(b.dir, n.wire), path.Join(b.dir, n.text)} }
	b.must(b.client.put(b.session, b.local("file"), at(n), whole))
	b.same(want, b.disk(n.wire))
	b.must(b.client.get(b.session, at(n), b.local("got"), whole))
	b.same(want, b.local("got"))
	b.must(b.client.rename(b.session, at(n), at(other)))
	b.same(want, b.disk(other.wire))
	b.must(b.client.remove(b.session, at(other)))
	b.gone(other.wire)
	b.must(b.client.mkdir(b.session, at(n)))
	if err := os.WriteFile(b.disk(path.Join(n.wire, n.wire)), nil, 0o644); err != nil {
		b.t.Fatal(err)
	}
	list, err := b.client.list(b.session, "NLST", at(n))
	b.must(err)
	// A client may print the name as it came or in its own character set.
	if !strings.Contains(list, n.wire) && !strings.Contains(list, n.text) {
		b.t.Errorf("no %q in the listing %q", n.wire, list)
	}
}

func (b *bench) must(err error) {
	b.t.Helper()
	if errors.Is(err, errCannot) {
		b.t.Skip(err)
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

// remote is a file of the bench as the client names it, disk the same on the
// server's disk, local a file of the client's.
func (b *bench) remote(n string) name { return plain(path.Join(b.dir, n)) }
func (b *bench) disk(n string) string { return filepath.Join(b.server.root, b.dir, n) }
func (b *bench) local(n string) string {
	return filepath.Join(b.t.TempDir(), "..", n) // one folder for the whole scenario
}

// serve puts a file of random bytes on the server and returns its checksum.
func (b *bench) serve(n string, size int64) string {
	b.t.Helper()
	sum := randomFile(b.t, b.disk(n), size)
	own(b.t, b.disk(n))
	return sum
}

// prepare makes a file of random bytes for the client to upload.
func (b *bench) prepare(n string, size int64) string {
	b.t.Helper()
	return randomFile(b.t, b.local(n), size)
}

// part copies the first n bytes of a file.
func (b *bench) part(from, to string, n int64) {
	b.t.Helper()
	data, err := os.ReadFile(from)
	b.must(err)
	b.must(os.WriteFile(to, data[:n], 0o644))
}

func (b *bench) same(want, file string) {
	b.t.Helper()
	if got := checksum(b.t, file); got != want {
		b.t.Errorf("%s: sha256 %s, want %s", filepath.Base(file), got, want)
	}
}

func (b *bench) gone(n string) {
	b.t.Helper()
	if _, err := os.Lstat(b.disk(n)); !errors.Is(err, fs.ErrNotExist) {
		b.t.Errorf("%s is still there: %v", n, err)
	}
}

// randomFile writes size random bytes and returns their SHA-256.
func randomFile(t *testing.T, file string, size int64) string {
	t.Helper()
	var seed [32]byte
	for i := range seed {
		seed[i] = byte(rand.Uint32())
	}
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(f, sum), rand.NewChaCha8(seed), size); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

func checksum(t *testing.T, file string) string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		t.Error(fmt.Errorf("%s: %w", file, err))
	}
	return hex.EncodeToString(sum.Sum(nil))
}
