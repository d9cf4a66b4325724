package config

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// Everybody who is asked what a key is has an answer in its row.
func TestRowsAreComplete(t *testing.T) {
	for _, table := range Tables() {
		seen := make(map[string]bool)
		if !strings.HasSuffix(table.Help, ".") {
			t.Errorf("[%s] is explained by %q", table.Path, table.Help)
		}
		for _, k := range table.Keys {
			where := table.Path + "." + k.Name
			if !strings.HasSuffix(k.Help, ".") || k.Kind == "" || strings.HasSuffix(k.Kind, ".") {
				t.Errorf("%s is explained by %q, its kind by %q", where, k.Help, k.Kind)
			}
			if (k.Default == "") == (k.Example == "") {
				t.Errorf("%s has the default %q and the example %q, want one of both", where, k.Default, k.Example)
			}
			for _, name := range []string{k.Name, k.Old} {
				if name != "" && seen[name] || !isName(k.Name) {
					t.Errorf("%s: the name %q is taken, or is none", where, name)
				}
				seen[name] = true
			}
		}
	}
}

// A thing is what the rows of the table [test] fill. It has what no real table has
// so far: keys with an old name.
type thing struct {
	Quiet time.Duration
	Words string
}

var thingKeys = section[thing]{
	path: "test",
	help: `A table for tests.`,
	rows: []row[thing]{{
		name:  "quiet",
		old:   "silence",
		value: field(duration, time.Minute, func(t *thing) *time.Duration { return &t.Quiet }),
		help:  `The time that nothing is heard.`,
	}, {
		name:     "words",
		old:      "text",
		value:    field(words("yes", "no"), "", func(t *thing) *string { return &t.Words }),
		example:  `"yes"`,
		required: `write words = "yes"`,
		help:     `What is said.`,
	}},
}

func TestOldKeys(t *testing.T) {
	for _, tt := range []struct {
		name, text       string
		want             thing
		faults, warnings []string // behind "config.toml:"
	}{
		{"new", "[test]\nquiet = '2s'\nwords = 'no'", thing{2 * time.Second, "no"}, nil, nil},
		{"old", "[test]\nsilence = '2s'\ntext = 'no'", thing{2 * time.Second, "no"}, nil, []string{
			"2: test.silence: is the old name of quiet; write quiet",
			"3: test.text: is the old name of words; write words",
		}},
		{"both", "[test]\nsilence = '2s'\nquiet = '3s'\ntext = 'no'", thing{3 * time.Second, "no"},
			[]string{"2: test.silence: is the old name of quiet, which stands in line 3; remove this key"},
			[]string{"4: test.text: is the old name of words; write words"}},
		{"old and wrong", "[test]\nsilence = 5\ntext = 'not'", thing{time.Minute, ""}, []string{
			`2: test.silence: must be a string like "10m", is the number 5; write quiet = "5s"`,
			`3: test.text: "not" is not known; write "no"; known are "yes", "no"`,
		}, []string{
			"2: test.silence: is the old name of quiet; write quiet",
			"3: test.text: is the old name of words; write words",
		}},
		{"neither", "[test]", thing{time.Minute, ""}, []string{`1: test.words: is missing; write words = "yes"`}, nil},
	} {
		doc, faults := parseDocument(tt.text, atOnce)
		r := &reader{doc: doc, problems: faults, lines: make(map[string]int)}
		got := thingKeys.defaults()
		thingKeys.read(r.table("test"), &got)
		if got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
		c := &Config{file: "config.toml", lines: r.lines, renamed: r.renamed}
		for i := range r.problems {
			r.problems[i].File = c.file
		}
		sortProblems(r.problems)
		for _, reports := range []struct {
			got  []Problem
			want []string
		}{{r.problems, tt.faults}, {Warnings(c, Sysctl{}), tt.warnings}} {
			var lines []string
			for _, p := range reports.got {
				lines = append(lines, strings.TrimPrefix(p.Error(), "config.toml:"))
			}
			if !slices.Equal(lines, reports.want) {
				t.Errorf("%s: got\n%s\nwant\n%s", tt.name, strings.Join(lines, "\n"), strings.Join(reports.want, "\n"))
			}
		}
		// Whoever asks where the key stands is shown the line that has it, whichever the name.
		if strings.Contains(tt.text, "silence") != (r.lines["test.silence"] > 0) || tt.name == "old" && c.line("test.quiet") != 2 {
			t.Errorf("%s: lines %v", tt.name, r.lines)
		}
	}
}

// What is written back, and so what Changes compares, has the new names.
func TestOldKeysAreNotWritten(t *testing.T) {
	want := []setting{{"quiet", `"2s"`}, {"words", `"no"`}}
	if got := thingKeys.settings(&thing{2 * time.Second, "no"}); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := thingKeys.written(&thing{time.Minute, "no"}); !slices.Equal(got, want[1:]) {
		t.Errorf("written: got %v, want %v", got, want[1:])
	}
}

// A key below another, in whose place it stands, has the default that the other
// gives it.
func TestDefaultsThatFollow(t *testing.T) {
	f := NewFrontend("f")
	f.ProxyProtocol, f.DataProxyProtocol = true, true
	if got := frontendKeys.written(&f); !slices.Equal(got, []setting{{"proxy_protocol", "true"}}) {
		t.Errorf("got %v", got)
	}
	f.DataProxyProtocol = false
	if got := frontendKeys.written(&f); !slices.Equal(got, []setting{{"proxy_protocol", "true"}, {"data_proxy_protocol", "false"}}) {
		t.Errorf("got %v", got)
	}
	pairs := []KeyPair{{"/a.pem", "/a.key"}}
	tls := FrontendTLS{Mode: TLSRequired, Certificates: pairs, RequireData: true}
	want := []setting{{"mode", `"required"`}, {"certificate", `["/a.pem"]`}, {"key", `["/a.key"]`}}
	if got := frontendTLSKeys.written(&tls); !slices.Equal(got, want) || pairs[0].Key != "/a.key" {
		t.Errorf("got %v, and %v is left", got, pairs)
	}
}

// Every key is explained by its path and by its name, and what is no key proposes one.
func TestExplain(t *testing.T) {
	for _, table := range Tables() {
		for _, k := range table.Keys {
			path := table.Path + "." + k.Name
			for _, name := range []string{path, strings.ReplaceAll(path, "NAME", "public"), strings.NewReplacer("NAME.", "", "LABEL.", "").Replace(path), k.Name} {
				if text, err := Explain(name); err != nil || !strings.Contains("\n"+text, "\n"+path+"\n\n  ") || !strings.HasSuffix(text, "\n") {
					t.Errorf("%s: %v\n%s", name, err, text)
				}
			}
		}
		if text, err := Explain(table.Path); err != nil || !strings.HasPrefix(text, "["+table.Path+"]") {
			t.Errorf("%s: %v\n%s", table.Path, err, text)
		}
	}
	for name, want := range map[string]string{
		"timeouts.idel": `there is no key "timeouts.idel"; did you mean timeouts.idle?`,
		"a.b.c.d":       `there is no key "a.b.c.d"; "ftproxy check -example" prints every key`,
		"":              `there is no key ""; "ftproxy check -example" prints every key`,
	} {
		if text, err := Explain(name); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s\n%s", name, err, want, text)
		}
	}
	k := Key{Name: "quiet", Old: "silence", Kind: "a time", Default: `"1m"`, Help: "The time that nothing is heard."}
	const want = "test.quiet\n\n  The time that nothing is heard.\n\n  Kind:     a time\n  Default:  \"1m\"\n  Table:    [test]\n  Old name: silence, which still works\n"
	if got := k.explain("test"); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
