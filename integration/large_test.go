package integration

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestLarge moves 300 MB and 500 small files to and from every server.
func TestLarge(t *testing.T) {
	const size = 300 << 20
	source := filepath.Join(folder(t), "large")
	want := randomFile(t, source, size)
	t.Run("servers", func(t *testing.T) { // source stays until they have ended
		for _, kind := range serverKinds {
			t.Run(kind.name, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, kind)
				t.Run("300MB", func(t *testing.T) { largeFile(t, r, source, want) })
				t.Run("500files", func(t *testing.T) { manyFiles(t, r) })
			})
		}
	})
}

func largeFile(t *testing.T, r *rig, source, want string) {
	c := curl{command(t, "curl")}
	b := &bench{&session{t, r.target(t, false), mode{"EPSV", false}}, r.server, c, ""}
	if err := os.Link(source, b.disk("large")); err != nil {
		t.Fatal(err)
	}
	b.must(c.get(b.session, plain("large"), b.local("got"), whole))
	b.same(want, b.local("got"))
	os.Remove(b.local("got"))
	for _, verb := range []string{"PASV", "PORT"} {
		b.session.mode = mode{verb, false}
		b.must(c.put(b.session, source, plain("sent"), whole))
		b.same(want, b.disk("sent"))
		os.Remove(b.disk("sent"))
	}
}

func manyFiles(t *testing.T, r *rig) {
	l := lftp{command(t, "lftp")}
	b := &bench{&session{t, r.target(t, false), mode{"PASV", false}}, r.server, l, ""}
	if err := os.Mkdir(b.disk("many"), 0o755); err != nil {
		t.Fatal(err)
	}
	own(t, b.disk("many"))
	want := make(map[string]string)
	for i := range 500 {
		n := fmt.Sprintf("many/%03d", i)
		want[filepath.Base(n)] = b.serve(n, int64(i*i%9000))
	}
	_, err := l.run(b.session, true, false, "mirror --parallel=4 many "+word(b.local("many")))
	b.must(err)
	sameTree(t, b.local("many"), want)
	b.session.mode = mode{"PORT", false}
	_, err = l.run(b.session, true, false, "mirror --reverse --parallel=4 "+word(b.local("many"))+" again")
	b.must(err)
	sameTree(t, b.disk("again"), want)
}

// sameTree compares the files of a folder with their checksums.
func sameTree(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	seen := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		seen++
		if got := checksum(t, path); got != want[d.Name()] {
			t.Errorf("%s: sha256 %s, want %s", d.Name(), got, want[d.Name()])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen != len(want) {
		t.Errorf("%d files in %s, want %d", seen, filepath.Base(dir), len(want))
	}
}
