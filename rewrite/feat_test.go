package rewrite

import (
	"slices"
	"strings"
	"testing"
)

// keepPlain refuses what a proxy without TLS and compression must refuse.
func keepPlain(name, params string) (string, bool) {
	switch strings.ToUpper(name) {
	case "AUTH", "PBSZ", "PROT":
		return "", false
	case "MODE":
		return strings.ReplaceAll(params, "Z", ""), params != "Z"
	}
	return params, true
}

func TestEditFEAT(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lines []string
		add   []string
		want  []string
	}{
		{"vsftpd",
			[]string{"211-Features:", " AUTH TLS", " EPRT", " EPSV", " MDTM", " PASV", " PBSZ", " PROT", " REST STREAM", " SIZE", " TVFS", " UTF8", "211 End"},
			nil,
			[]string{"211-Features:", " EPRT", " EPSV", " MDTM", " PASV", " REST STREAM", " SIZE", " TVFS", " UTF8", "211 End"}},
		{"RFC 2389 §3.2: its example keeps parameters",
			[]string{"211-Extensions supported:", " MLST size*;create;modify*;perm;media-type", " SIZE", " COMPRESSION", " MDTM", "211 END"},
			nil,
			[]string{"211-Extensions supported:", " MLST size*;create;modify*;perm;media-type", " SIZE", " COMPRESSION", " MDTM", "211 END"}},
		{"H21: IIS has four spaces", []string{"211-Extended features supported:", "    LANG EN*", "    UTF8", "211 END"}, nil,
			[]string{"211-Extended features supported:", " LANG EN*", " UTF8", "211 END"}},
		{"H21: no space", []string{"211-Features", "SIZE", "\tMDTM", "211 End"}, nil, []string{"211-Features", " SIZE", " MDTM", "211 End"}},
		{"H21: the code on every line", []string{"211-Features", "211-SIZE", "211- MDTM", "211 End"}, nil,
			[]string{"211-Features", " SIZE", " MDTM", "211 End"}},
		{"H21: one line says no features", []string{"211 no-features"}, nil, []string{"211 no-features"}},
		{"H21: it has some then", []string{"211 no-features"}, []string{"EPSV", "AUTH TLS"},
			[]string{"211-Features:", " EPSV", " AUTH TLS", "211 End"}},
		{"H21: none are left", []string{"211-Features:", " AUTH TLS", "211 End"}, nil, []string{"211 No features"}},
		{"H21: an empty list", []string{"211-Features:", "211 End"}, nil, []string{"211 No features"}},
		{"H21: MODE Z goes", []string{"211-Features:", " MODE Z", " SIZE", "211 End"}, nil, []string{"211-Features:", " SIZE", "211 End"}},
		{"H21: parameters change", []string{"211-Features:", " MODE SZ", "211 End"}, nil, []string{"211-Features:", " MODE S", "211 End"}},
		{"H21: dropped and added", []string{"211-Features:", " auth TLS;SSL", " SIZE", "211 End"}, []string{"AUTH TLS"},
			[]string{"211-Features:", " SIZE", " AUTH TLS", "211 End"}},
		{"H21: added once", []string{"211-Features:", " epsv", " REST STREAM", "211 End"}, []string{"EPSV", "REST STREAM", "EPRT", "EPRT"},
			[]string{"211-Features:", " epsv", " REST STREAM", " EPRT", "211 End"}},
		{"H21: blank lines go", []string{"211-Features:", "", "  ", " SIZE", "211 End"}, nil, []string{"211-Features:", " SIZE", "211 End"}},
		{"H25: no line end gets in or out", []string{"211-a\rb", " SI\x00ZE", "211 End\n"}, []string{"X\r\nQUIT"},
			[]string{"211-a?b", " SI?ZE", " X??QUIT", "211 End?"}},
		{"H28: bytes are kept", []string{"211-\xe4", " X-\xff\xc3 \xe4  b ", "211 \xe4"}, nil, []string{"211-\xe4", " X-\xff\xc3 \xe4  b ", "211 \xe4"}},
		{"another reply", []string{"502 FEAT not implemented"}, []string{"EPSV"}, []string{"502 FEAT not implemented"}},
		{"no lines", nil, []string{"EPSV"}, []string{"211-Features:", " EPSV", "211 End"}},
		{"no lines, nothing to add", nil, nil, []string{"211 No features"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := slices.Clone(tt.lines)
			if got := EditFEAT(tt.lines, keepPlain, tt.add); !slices.Equal(got, tt.want) {
				t.Errorf("EditFEAT(%q, add %q) = %q; want %q", tt.lines, tt.add, got, tt.want)
			}
			if !slices.Equal(tt.lines, before) {
				t.Errorf("EditFEAT changed its argument to %q", tt.lines)
			}
		})
	}
}

func TestEditFEATWithoutKeep(t *testing.T) {
	lines := []string{"211-Features:", " AUTH TLS", "211 End"}
	if got := EditFEAT(lines, nil, nil); !slices.Equal(got, lines) {
		t.Errorf("EditFEAT(%q) = %q; want no change", lines, got)
	}
}
