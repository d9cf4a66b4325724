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
	"regexp"
	"strings"
	"sync"
	"testing"
)

// A rig is a server with ftproxy in front of it.
type rig struct {
	server *server
	proxy  *proxy // nil in direct mode
	place  place

	// direct6 starts the same server on ::1, for clients without ftproxy.
	direct6 func() *server
}

// bigFile is what gets aborted: more than all socket buffers on the way hold.
const (
	bigFile     = "big.bin"
	bigFileSize = 96 << 20
)

func newRig(t *testing.T, kind serverKind) *rig {
	t.Helper()
	r := &rig{place: newPlace(t)}
	root := folder(t)
	big := filepath.Join(root, bigFile)
	write(t, big, "")
	if err := os.Truncate(big, bigFileSize); err != nil {
		t.Fatal(err)
	}
	r.server = kind.start(t, kind.address(r.place), root)
	r.server.kind = kind
	r.direct6 = sync.OnceValue(func() *server { return kind.start(t, netip.IPv6Loopback(), root) })
	if !direct {
		r.proxy = startProxy(t, configure(t, r.place, r.server.addr))
	}
	return r
}

// target returns what a client connects to.
func (r *rig) target(t testing.TB, ipv6 bool) target {
	t.Helper()
	if ipv6 && !haveIPv6() {
		lack(t, "no IPv6 on loopback")
	}
	if direct {
		return r.without(ipv6)
	}
	to := target{addr: r.proxy.addr4, user: r.server.user, pass: r.server.pass, passive: r.place.passive}
	if ipv6 {
		to.addr = r.proxy.addr6
	} else {
		to.bind = r.place.client
	}
	if !r.server.kind.wildcardDial && r.server.addr.Addr() != to.addr.Addr() {
		to.hidden = r.server.addr.Addr()
	}
	return to
}

// without is the target of a client that talks to the server itself, from an
// address that checkServerLog does not look for.
func (r *rig) without(ipv6 bool) target {
	to := target{addr: r.server.addr, user: r.server.user, pass: r.server.pass, bind: r.place.client.Next()}
	switch {
	case ipv6:
		to.addr, to.bind = r.direct6().addr, netip.Addr{}
	case r.server.kind.wildcardDial:
		to.bind = r.server.addr.Addr()
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

func newBench(t testing.TB, r *rig, to target, m mode, c client, dir string) *bench {
	t.Helper()
	b := &bench{newSession(t, to, m), r.server, c, dir}
	if err := os.Mkdir(b.disk(""), 0o755); err != nil {
		t.Fatal(err)
	}
	own(t, b.disk(""))
	return b
}

// A scenario is something that users do with FTP.
type scenario struct {
	name  string
	data  bool // it needs a data connection
	means string
	run   func(*bench)
}

var scenarios = []scenario{
	{"list", true, "LIST of a folder", func(b *bench) { b.listsWith("LIST") }},
	{"nlst", true, "NLST of a folder", func(b *bench) { b.listsWith("NLST") }},
	{"mlsd", true, "MLSD of a folder", func(b *bench) { b.listsWith("MLSD") }},
	{"download", true, "1 MB", (*bench).downloads},
	{"upload", true, "1 MB, and a shorter file over it", (*bench).uploads},
	{"empty", true, "a file of no bytes down, and one up", (*bench).transfersNothing},
	{"resume-download", true, "the rest of a file of which a part is there", (*bench).resumesDownload},
	{"resume-upload", true, "the same the other way, with REST and STOR, or SIZE and APPE", (*bench).resumesUpload},
	{"append", true, "APPE to a file", (*bench).appends},
	{"stou", true, "STOU next to a file that has the name", (*bench).storesUnique},
	{"rename", false, "RNFR, RNTO", (*bench).renames},
	{"delete", false, "DELE", (*bench).deletes},
	{"mkdir", false, "MKD, and RMD of the same", (*bench).makesFolders},
	{"abort", true, "the download of 96 MB ended after 100 kB as the client does that (ABOR, closing, ending the program), then a small file", (*bench).aborts},
	{"parallel", true, "12 files, several at a time (lftp: `mirror --parallel=4`)", (*bench).inParallel},
	{"tree-get", true, "a folder with its folders, an empty file and a name with a space", (*bench).getsTree},
	{"tree-put", true, "the same up", (*bench).putsTree},
	{"odd-folder", true, "LIST of a folder with a space and an ö in its name", (*bench).listsOddFolder},
	{"spaces", true, "upload, download, rename, delete, mkdir and LIST with spaces in the names, two in a row", func(b *bench) { b.names(plain("two  words and more.txt"), plain("other name")) }},
	{"utf8", true, "the same with letters that are not ASCII, in UTF-8", func(b *bench) { b.names(plain("grün 日本語.txt"), plain("größer.txt")) }},
	{"latin1", true, "the same in ISO 8859-1", func(b *bench) { b.names(name{"caf\xe9 \xfcber.txt", "café über.txt"}, name{"\xe4.txt", "ä.txt"}) }},
}

// lists tells whether listings work at all.
func (b *bench) lists() {
	for i, verb := range []string{"LIST", "NLST"} {
		if i > 0 {
			b = &bench{b.session, b.server, b.client, b.dir + "/" + verb}
			b.must(os.Mkdir(b.disk(""), 0o755))
		}
		b.listsWith(verb)
	}
}

// sentMLSD is how the clients print that they send it; one may fall back to LIST.
var sentMLSD = regexp.MustCompile(`(?m)(?:^|---> |> |Cmd: |Tx: "|\*cmd\* ')MLSD\b`)

func (b *bench) listsWith(verb string) {
	want := []string{"alpha.txt", "beta.txt", "gamma.txt"}
	for _, n := range want {
		b.serve(n, 10)
	}
	got, err := b.client.list(b.session, verb, plain(b.dir))
	b.must(err)
	// Some clients print the listing amid the dialogue, so a name may come twice.
	for _, n := range want {
		if strings.Count(got, n) != 1 {
			b.t.Errorf("%s: want one %s in:\n%s", verb, n, got)
		}
	}
	if verb == "MLSD" && !sentMLSD.MatchString(b.said) {
		b.t.Errorf("no MLSD was sent:\n%s", tail(b.said, 40))
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
	if err := b.client.put(b.session, b.local("empty"), b.remote("sent"), whole); !errors.Is(err, errCannot) {
		b.must(err)
		b.same(want, b.disk("sent"))
	}
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

// storesUnique uploads to a name of the server's choice, next to a file that has
// the name that the client would choose.
func (b *bench) storesUnique() {
	old := b.serve("file", 500)
	want := b.prepare("file", 20_000)
	b.must(b.client.unique(b.session, b.local("file"), plain(b.dir)))
	b.same(old, b.disk("file"))
	entries, err := os.ReadDir(b.disk(""))
	b.must(err)
	for _, e := range entries {
		if e.Name() != "file" {
			b.same(want, b.disk(e.Name()))
		}
	}
	if len(entries) != 2 {
		b.t.Errorf("%d files after STOU, want 2", len(entries))
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

// inParallel downloads 12 files, several at a time.
func (b *bench) inParallel() {
	want := b.serveMany("many", 12, func(i int) int64 { return int64(i * 40_000) })
	b.must(b.client.getParallel(b.session, b.remote("many"), b.local("many")))
	sameTree(b.t, b.local("many"), want)
}

// serveMany fills a new folder on the server.
func (b *bench) serveMany(dir string, n int, size func(i int) int64) map[string]string {
	b.t.Helper()
	b.must(os.Mkdir(b.disk(dir), 0o755))
	own(b.t, b.disk(dir))
	sums := make(map[string]string)
	for i := range n {
		file := fmt.Sprintf("%03d", i)
		sums[file] = b.serve(filepath.Join(dir, file), size(i))
	}
	return sums
}

// treeFiles are the files of the recursive scenarios, with an empty one and one
// that has a space.
var treeFiles = []string{"one", "two words", "a/three", "a/empty", "a/b/four", "c/five"}

func treeSize(i int) int64 {
	if treeFiles[i] == "a/empty" {
		return 0
	}
	return int64(1000 + 7000*i)
}

func (b *bench) getsTree() {
	want := make(map[string]string)
	for i, f := range treeFiles {
		b.must(os.MkdirAll(filepath.Dir(b.disk("tree/"+f)), 0o755))
		want[filepath.Base(f)] = b.serve("tree/"+f, treeSize(i))
	}
	b.must(b.client.getTree(b.session, b.remote("tree"), b.local("tree")))
	sameTree(b.t, b.local("tree"), want)
}

func (b *bench) putsTree() {
	want := make(map[string]string)
	for i, f := range treeFiles {
		b.must(os.MkdirAll(filepath.Dir(b.local("tree/"+f)), 0o755))
		want[filepath.Base(f)] = b.prepare("tree/"+f, treeSize(i))
	}
	b.must(b.client.putTree(b.session, b.local("tree"), b.remote("tree")))
	sameTree(b.t, b.disk("tree"), want)
}

// names does all that a name is good for, as far as the client can.
func (b *bench) names(n, other name) {
	did := 0
	can := func(err error) bool {
		b.t.Helper()
		if errors.Is(err, errCannot) {
			return false
		}
		b.must(err)
		did++
		return true
	}
	want := b.prepare("file", 3000)
	at := func(n name) name { return name{path.Join(b.dir, n.wire), path.Join(b.dir, n.text)} }
	if !can(b.client.put(b.session, b.local("file"), at(n), whole)) {
		want = b.serve(n.wire, 3000)
	}
	b.same(want, b.disk(n.wire))
	if can(b.client.get(b.session, at(n), b.local("got"), whole)) {
		b.same(want, b.local("got"))
	}
	if !can(b.client.rename(b.session, at(n), at(other))) {
		b.must(os.Rename(b.disk(n.wire), b.disk(other.wire)))
	}
	b.same(want, b.disk(other.wire))
	if !can(b.client.remove(b.session, at(other))) {
		b.must(os.Remove(b.disk(other.wire)))
	}
	b.gone(other.wire)
	if !can(b.client.mkdir(b.session, at(n))) {
		b.must(os.Mkdir(b.disk(n.wire), 0o755))
	}
	in := plain(b.dir)
	if n.latin1() { // for the client to choose its character set; the folder is ASCII
		in.text += "/"
	}
	list, err := b.client.list(b.session, "LIST", in)
	// A client may print the name as it came or in its own character set.
	if can(err) && !strings.Contains(list, n.wire) && !strings.Contains(list, n.text) {
		b.t.Errorf("no %q in the listing %q", n.wire, list)
	}
	if did == 0 {
		b.must(errCannot)
	}
}

// listsOddFolder lists a folder whose name is the argument of LIST, where the
// client does not change to it first.
func (b *bench) listsOddFolder() {
	odd := path.Join(b.dir, "größe 2")
	b.must(os.Mkdir(b.disk("größe 2"), 0o755))
	own(b.t, b.disk("größe 2"))
	b.serve("größe 2/kernel", 10)
	list, err := b.client.list(b.session, "LIST", plain(odd))
	b.must(err)
	if strings.Count(list, "kernel") != 1 {
		b.t.Errorf("want one kernel in the listing %q", list)
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
func randomFile(t testing.TB, file string, size int64) string {
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

func checksum(t testing.TB, file string) string {
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
